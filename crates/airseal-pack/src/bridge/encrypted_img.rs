//! Espressif's pre-encrypted image (`esp_encrypted_img`): made and opened in both of its schemes.
//!
//! The container keeps firmware secret on its way and says nothing of where it comes from: whoever has the public key can
//! make one. Sign the firmware, or seal it.

use std::collections::HashSet;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use airseal_esp::encrypted_img::{
    DEVICE_KEY_ITERATIONS, DEVICE_KEY_SALT, HEADER_LEN, Header, KEY_BLOCK_LEN, KEY_INFO, KeyBlock,
};
use aws_lc_rs::pbkdf2;
use aws_lc_rs::rsa::{
    Pkcs1PrivateDecryptingKey, Pkcs1PublicEncryptingKey, PrivateDecryptingKey, PublicEncryptingKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hkdf::Hkdf;
use p256::elliptic_curve::sec1::ToSec1Point as _;
use pkcs8::{EncodePublicKey as _, LineEnding};
use serde::Deserialize;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::gcm::Gcm;
use super::keys::BridgeKey;
use crate::bundle::read_small;
use crate::entropy::Entropy;
use crate::key::read_key_text;
use crate::output::{Access, Existing, check_target};
use crate::recognise::{FileKind, HEAD_LEN, recognise};
use crate::source::Source;
use crate::{Error, OutputFile};

/// How many bytes are in memory at a time.
const CHUNK: usize = 1 << 20;
/// Longest list of devices that is read, bytes.
const MAX_LIST: u64 = 1 << 30;

/// What an image is encrypted to.
pub enum SealKey {
    /// RSA-3072, one key for a fleet.
    Rsa(PublicEncryptingKey),
    /// ECIES on P-256, usually one key per device.
    Ecies(p256::PublicKey),
}

/// What opens an image.
pub enum OpenKey {
    /// RSA-3072.
    Rsa(PrivateDecryptingKey),
    /// ECIES on P-256.
    Ecies(p256::SecretKey),
}

impl SealKey {
    /// The scheme's name in listings.
    pub fn scheme(&self) -> &'static str {
        match self {
            SealKey::Rsa(_) => "rsa-3072",
            SealKey::Ecies(_) => "ecies-p256",
        }
    }

    /// Reads a PEM file; of a private key the public half is taken.
    ///
    /// # Errors
    /// `Io`; refused if it is no RSA-3072 or P-256 key.
    pub fn read(path: &Path) -> Result<SealKey, Error> {
        let (text, _) = read_key_text(path)?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// Reads PEM text; `name` is for messages.
    ///
    /// # Errors
    /// Refused if it is no RSA-3072 or P-256 key.
    pub fn parse(name: &str, text: &[u8]) -> Result<SealKey, Error> {
        match BridgeKey::from_pem(name, text)?.public()? {
            BridgeKey::RsaPublic(der) => {
                let key = PublicEncryptingKey::from_der(&der).map_err(|_| damaged(name))?;
                check_bits(name, key.key_size_bits())?;
                Ok(SealKey::Rsa(key))
            }
            BridgeKey::P256Public(point) => Ok(SealKey::Ecies(point)),
            _ => Err(wrong_kind(name)),
        }
    }
}

impl OpenKey {
    /// Reads a PEM file with a private key.
    ///
    /// # Errors
    /// `Io`; refused if it is no private RSA-3072 or P-256 key.
    pub fn read(path: &Path) -> Result<OpenKey, Error> {
        let (text, _) = read_key_text(path)?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// Reads PEM text; `name` is for messages.
    ///
    /// # Errors
    /// Refused if it is no private RSA-3072 or P-256 key.
    pub fn parse(name: &str, text: &[u8]) -> Result<OpenKey, Error> {
        match BridgeKey::from_pem(name, text)? {
            BridgeKey::RsaPrivate(der) => {
                let key = PrivateDecryptingKey::from_pkcs8(&der).map_err(|_| damaged(name))?;
                check_bits(name, key.key_size_bits())?;
                Ok(OpenKey::Rsa(key))
            }
            BridgeKey::P256Private(secret) => Ok(OpenKey::Ecies(secret)),
            BridgeKey::RsaPublic(_) | BridgeKey::P256Public(_) => Err(Error::refused(
                name,
                "is a public key and opens nothing",
                "name the private key",
            )),
            _ => Err(wrong_kind(name)),
        }
    }
}

/// The ECIES key that a device derives from its HMAC key (eFuse purpose HMAC_UP).
///
/// # Errors
/// Refused for the few keys (about one of 2^32) that lead to no scalar of the curve: the device refuses them as well.
pub fn device_key(name: &str, hmac_key: &[u8; 32]) -> Result<p256::SecretKey, Error> {
    let rounds = NonZeroU32::new(DEVICE_KEY_ITERATIONS).expect("a constant above zero");
    let mut scalar = Zeroizing::new([0; 32]);
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        rounds,
        &DEVICE_KEY_SALT,
        hmac_key,
        scalar.as_mut(),
    );
    p256::SecretKey::from_slice(scalar.as_ref()).map_err(|_| {
        Error::refused(
            name,
            "no key on P-256 follows from this HMAC key, on the device neither",
            "make another HMAC key",
        )
    })
}

/// Reads the HMAC key of a device: 32 raw bytes.
///
/// # Errors
/// `Io`; refused for another length.
pub fn read_hmac_key(path: &Path) -> Result<Zeroizing<[u8; 32]>, Error> {
    let bytes = Zeroizing::new(read_small(path, 4096, "an HMAC key")?);
    match <[u8; 32]>::try_from(bytes.as_slice()) {
        Ok(key) => Ok(Zeroizing::new(key)),
        Err(_) => Err(Error::refused(
            path.display().to_string(),
            format!("has {} bytes, an HMAC key has 32", bytes.len()),
            "give the file that is burned with purpose HMAC_UP",
        )),
    }
}

/// Encrypts `input` into `output`, which is left for the caller to commit.
///
/// # Errors
/// `Io`; refused if the input is such an image already, or longer than 4 GiB.
pub fn encrypt(
    input: &Source,
    key: &SealKey,
    entropy: &dyn Entropy,
    output: &mut OutputFile,
) -> Result<(), Error> {
    let kind = recognise(&input.head(0, HEAD_LEN)?);
    if kind == Some(FileKind::EncryptedImg) {
        return Err(Error::refused(
            input.name(),
            "is encrypted already (esp_encrypted_img)",
            "give the firmware that was built",
        ));
    }
    let bin_size = u32::try_from(input.len()).map_err(|_| {
        Error::refused(
            input.name(),
            format!(
                "has {} bytes, the container holds at most 4 GiB",
                input.len()
            ),
            "",
        )
    })?;
    let (gcm_key, key_block) = wrap(key, entropy)?;
    let mut header = Header {
        key_block,
        iv: [0; 16],
        size: bin_size,
        tag: [0; 16],
        reserved_zero: true,
    };
    entropy.fill(&mut header.iv)?;
    let mut gcm = Gcm::new(&gcm_key, &header.iv);
    let put = |output: &mut OutputFile, bytes: &[u8]| {
        output
            .write_all(bytes)
            .map_err(|error| output.write_error(error))
    };
    put(output, &header.to_bytes())?;
    each_chunk(input, 0, |chunk| {
        gcm.encrypt(chunk);
        put(output, chunk)
    })?;
    header.tag = gcm.tag();
    output
        .seek(SeekFrom::Start(0))
        .map_err(|error| output.write_error(error))?;
    put(output, &header.to_bytes())?;
    output
        .seek(SeekFrom::End(0))
        .map_err(|error| output.write_error(error))?;
    Ok(())
}

/// Opens `input` into `output`, which is left for the caller to commit. Says what is odd but accepted by devices.
///
/// # Errors
/// `Io`; refused if it is no such image, has another length than it says, was made for another key, or was changed.
/// Nothing of `output` may be used then.
pub fn decrypt(
    input: &Source,
    key: &OpenKey,
    output: &mut OutputFile,
) -> Result<Vec<&'static str>, Error> {
    let head = input.head(0, HEAD_LEN)?;
    let header = Header::from_bytes(&head).map_err(|error| match recognise(&head) {
        Some(kind) if kind != FileKind::EncryptedImg => Error::refused(
            input.name(),
            format!("is {kind}, no pre-encrypted image"),
            "give what esp encrypted-img encrypt or esp_enc_img_gen.py made",
        ),
        _ => Error::refused(
            input.name(),
            error.to_string(),
            "copy or download the file again",
        ),
    })?;
    check_size(input, &header)?;
    let gcm_key = unwrap(input.name(), key, &header.key_block)?;
    let mut gcm = Gcm::new(&gcm_key, &header.iv);
    each_chunk(input, HEADER_LEN as u64, |chunk| {
        gcm.decrypt(chunk);
        output
            .write_all(chunk)
            .map_err(|error| output.write_error(error))
    })?;
    if !gcm.verify(&header.tag) {
        return Err(Error::refused(
            input.name(),
            "tag at offset 408: does not fit the data",
            "it was made for another key, or changed on its way",
        ));
    }
    let unused = match key {
        OpenKey::Ecies(_) => header.key_block.get(96..).unwrap_or_default(),
        OpenKey::Rsa(_) => &[],
    };
    let mut odd = Vec::new();
    if !header.reserved_zero {
        odd.push("reserved bytes from offset 424 are not zero; nothing protects them");
    }
    if unused.iter().any(|byte| *byte != 0) {
        odd.push(
            "unused bytes of the key block from offset 100 are not zero; nothing protects them",
        );
    }
    Ok(odd)
}

/// Encrypts `input` for each device into `dir`, as `SERIAL.enc`; returns the files.
///
/// Every target is looked at before the first is written, and each appears whole or not at all.
///
/// # Errors
/// As [`encrypt`]; refused if a target exists and may not be replaced.
pub fn encrypt_each(
    input: &Source,
    devices: &[VendorDevice],
    dir: &Path,
    existing: Existing,
    entropy: &dyn Entropy,
) -> Result<Vec<PathBuf>, Error> {
    let targets: Vec<PathBuf> = devices
        .iter()
        .map(|device| dir.join(format!("{}.enc", device.serial)))
        .collect();
    for target in &targets {
        check_target(target, existing)?;
    }
    for (device, target) in devices.iter().zip(&targets) {
        let mut output = OutputFile::create(target, existing, Access::Public)?;
        encrypt(input, &device.key, entropy, &mut output)?;
        output.commit()?;
    }
    Ok(targets)
}

/// The PEM text (SubjectPublicKeyInfo) of a device's public key, as the vendor's tool reads it.
///
/// # Errors
/// Refused if it can't be encoded.
pub fn public_pem(secret: &p256::SecretKey) -> Result<String, Error> {
    secret
        .public_key()
        .to_public_key_pem(LineEnding::LF)
        .map_err(|error| Error::refused("device key", error.to_string(), ""))
}

/// One device that gets an image of its own.
pub struct VendorDevice {
    /// The name people know it by.
    pub serial: String,
    /// Its ECIES key.
    pub key: SealKey,
}

/// Reads who gets images: JSON lines with `serial` and `keys.vendor_image`, or CSV with the columns `serial` and
/// `vendor_image`; a key is `p256:BASE64` of the point, as a device record has it.
///
/// # Errors
/// `Io`; refused with the number of the line that is wrong, or if a serial stands twice.
pub fn read_vendor_devices(path: &Path) -> Result<Vec<VendorDevice>, Error> {
    let text = read_small(path, MAX_LIST, "a device list")?;
    parse_vendor_devices(&path.display().to_string(), &text)
}

/// Reads the text of such a list; `name` is for messages.
///
/// # Errors
/// As [`read_vendor_devices`].
pub fn parse_vendor_devices(name: &str, text: &[u8]) -> Result<Vec<VendorDevice>, Error> {
    let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
    let text = std::str::from_utf8(text)
        .map_err(|_| Error::refused(name, "is no device list: it is not text", ""))?;
    let rows = if text.trim_start().starts_with('{') {
        json_rows(name, text)?
    } else {
        csv_rows(name, text)?
    };
    let mut seen = HashSet::new();
    let mut devices = Vec::new();
    for (line, serial, key) in rows {
        let place = format!("{name} line {line}");
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if serial.is_empty() || serial.starts_with('.') || !serial.chars().all(plain) {
            return Err(Error::refused(
                place,
                format!("serial {serial:?} can't name a file"),
                "use letters, digits, - _ and .",
            ));
        }
        if !seen.insert(serial.clone()) {
            return Err(Error::refused(
                place,
                format!("serial {serial} stands twice"),
                "",
            ));
        }
        let bytes = key
            .strip_prefix("p256:")
            .and_then(|key| STANDARD.decode(key).ok())
            .ok_or_else(|| {
                Error::refused(
                    &place,
                    "vendor_image is not p256: and the point in base64",
                    "",
                )
            })?;
        let key = SealKey::Ecies(point_of(&place, &bytes)?);
        devices.push(VendorDevice { serial, key });
    }
    if devices.is_empty() {
        return Err(Error::refused(name, "lists no device", ""));
    }
    Ok(devices)
}

#[derive(Deserialize)]
struct JsonDevice {
    serial: String,
    keys: JsonKeys,
}

#[derive(Deserialize)]
struct JsonKeys {
    vendor_image: String,
}

#[derive(Deserialize)]
struct CsvDevice {
    serial: String,
    vendor_image: String,
}

fn json_rows(name: &str, text: &str) -> Result<Vec<(usize, String, String)>, Error> {
    let lines = text.lines().enumerate();
    lines
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(index, line)| {
            let device: JsonDevice = serde_json::from_str(line).map_err(|error| {
                Error::refused(format!("{name} line {}", index + 1), error.to_string(), "")
            })?;
            Ok((index + 1, device.serial, device.keys.vendor_image))
        })
        .collect()
}

fn csv_rows(name: &str, text: &str) -> Result<Vec<(usize, String, String)>, Error> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    reader
        .deserialize::<CsvDevice>()
        .enumerate()
        .map(|(index, row)| {
            let device = row.map_err(|error| Error::refused(name, error.to_string(), ""))?;
            Ok((index + 2, device.serial, device.vendor_image))
        })
        .collect()
}

fn check_size(input: &Source, header: &Header) -> Result<(), Error> {
    let found = input.len().saturating_sub(HEADER_LEN as u64);
    let said = u64::from(header.size);
    if found == said {
        return Ok(());
    }
    let remedy = if found < said {
        "the file is cut off: copy or download it again"
    } else {
        "a device would wait for ever behind the last byte: remove what follows"
    };
    Err(Error::refused(
        input.name(),
        format!("size: bin_size at offset 404 is {said}, but {found} bytes follow the header"),
        remedy,
    ))
}

fn wrap(
    key: &SealKey,
    entropy: &dyn Entropy,
) -> Result<(Zeroizing<[u8; 32]>, [u8; KEY_BLOCK_LEN]), Error> {
    let mut gcm_key = Zeroizing::new([0; 32]);
    match key {
        SealKey::Rsa(key) => {
            entropy.fill(gcm_key.as_mut())?;
            let mut block = [0; KEY_BLOCK_LEN];
            let failed = || Error::refused("RSA key", "can't encrypt", "");
            Pkcs1PublicEncryptingKey::new(key.clone())
                .and_then(|key| key.encrypt(gcm_key.as_ref(), &mut block).map(|_| ()))
                .map_err(|_| failed())?;
            Ok((gcm_key, block))
        }
        SealKey::Ecies(device) => {
            let ephemeral = random_scalar(entropy)?;
            let mut kdf_salt = [0; 32];
            entropy.fill(&mut kdf_salt)?;
            let point = ephemeral.public_key().to_sec1_point(false);
            let mut block = KeyBlock {
                point: [0; 64],
                salt: kdf_salt,
            };
            let (_, coordinates) = point.as_bytes().split_at(1);
            block.point.copy_from_slice(coordinates);
            derive(&ephemeral, device, &kdf_salt, &mut gcm_key);
            Ok((gcm_key, block.to_bytes()))
        }
    }
}

fn unwrap(
    name: &str,
    key: &OpenKey,
    block: &[u8; KEY_BLOCK_LEN],
) -> Result<Zeroizing<[u8; 32]>, Error> {
    let refuse = || {
        Error::refused(
            name,
            "key block at offset 4: does not open with this key",
            "it was made for another key or in the other scheme, or it is damaged",
        )
    };
    let mut gcm_key = Zeroizing::new([0; 32]);
    match key {
        OpenKey::Rsa(key) => {
            let mut opened = Zeroizing::new([0; KEY_BLOCK_LEN]);
            let key = Pkcs1PrivateDecryptingKey::new(key.clone()).map_err(|_| refuse())?;
            let opened = key.decrypt(block, opened.as_mut()).map_err(|_| refuse())?;
            if opened.len() != gcm_key.len() {
                return Err(refuse());
            }
            gcm_key.copy_from_slice(opened);
        }
        OpenKey::Ecies(secret) => {
            let fields = KeyBlock::from_bytes(block);
            let mut point = [4; 65];
            point[1..].copy_from_slice(&fields.point);
            let public = p256::PublicKey::from_sec1_bytes(&point).map_err(|_| refuse())?;
            derive(secret, &public, &fields.salt, &mut gcm_key);
        }
    }
    Ok(gcm_key)
}

fn derive(
    secret: &p256::SecretKey,
    public: &p256::PublicKey,
    kdf_salt: &[u8; 32],
    gcm_key: &mut [u8; 32],
) {
    let shared = p256::ecdh::diffie_hellman(secret.to_nonzero_scalar(), public.as_affine());
    Hkdf::<Sha256>::new(Some(kdf_salt), shared.raw_secret_bytes())
        .expand(KEY_INFO, gcm_key)
        .expect("32 bytes are within what HKDF can give");
}

fn random_scalar(entropy: &dyn Entropy) -> Result<p256::SecretKey, Error> {
    let mut bytes = Zeroizing::new([0; 32]);
    loop {
        entropy.fill(bytes.as_mut())?;
        if let Ok(secret) = p256::SecretKey::from_slice(bytes.as_ref()) {
            return Ok(secret);
        }
    }
}

fn each_chunk(
    input: &Source,
    from: u64,
    mut take: impl FnMut(&mut [u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut buffer = vec![0; CHUNK];
    let mut offset = from;
    while offset < input.len() {
        let left = usize::try_from(input.len() - offset).unwrap_or(CHUNK);
        let chunk = &mut buffer[..left.min(CHUNK)];
        input.read_at(offset, chunk)?;
        take(chunk)?;
        offset += chunk.len() as u64;
    }
    Ok(())
}

fn check_bits(name: &str, bits: usize) -> Result<(), Error> {
    match bits {
        3072 => Ok(()),
        bits => Err(Error::refused(
            name,
            format!("is an RSA key of {bits} bits, the container needs 3072"),
            "make one with `openssl genrsa 3072`",
        )),
    }
}

fn point_of(name: &str, bytes: &[u8]) -> Result<p256::PublicKey, Error> {
    p256::PublicKey::from_sec1_bytes(bytes)
        .map_err(|_| Error::refused(name, "the public key is no point on P-256", ""))
}

fn damaged(name: &str) -> Error {
    Error::refused(
        name,
        "is no usable RSA key",
        "look at it with `openssl pkey -text`",
    )
}

fn wrong_kind(name: &str) -> Error {
    Error::refused(
        name,
        "is neither an RSA-3072 nor a P-256 key",
        "the container knows these two",
    )
}

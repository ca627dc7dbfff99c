//! Espressif's pre-encrypted image (`esp_encrypted_img`): made and opened in both of its schemes.
//!
//! The container keeps firmware secret on its way and says nothing of where it comes from: whoever has the public key can
//! make one. Sign the firmware, or seal it.

use airseal_esp::encrypted_img::{HEADER_LEN, Header};

use super::gcm;
use crate::control::{Activity, Control};
use crate::entropy::Entropy;
use crate::esp::area::Area;
use crate::esp::info;
use crate::recognise::{FileKind, HEAD_LEN, Purpose, recognise};
use crate::source::Source;
use crate::stream::{Stream, Watch};
use crate::{Error, OutputFile};

mod devices;
mod key_block;
mod keys;

pub use devices::{VendorDevice, encrypt_each, parse_vendor_devices, read_vendor_devices};
pub use keys::{DecryptKey, EncryptKey, device_key, public_pem, read_hmac_key};

/// What is seldom meant of an input: devices would take it, and start nothing of it.
///
/// # Errors
/// `Io`; refused if the input is no firmware, by what it is, or a damaged image.
pub fn check_firmware(input: &Source) -> Result<Vec<String>, Error> {
    match recognise(&input.head(0, HEAD_LEN)?) {
        Some(FileKind::EncryptedImg) => Err(Error::refused(
            input.name(),
            "is encrypted already (esp_encrypted_img)",
            "give the firmware that was built",
        )),
        Some(FileKind::Encrypted) => Ok(vec![
            "the input has no structure: if it is encrypted already, no device starts it"
                .to_owned(),
        ]),
        Some(FileKind::EspImage) => match info::image(Area::whole(input))? {
            Ok((_, None)) => Ok(Vec::new()),
            Ok((_, Some(fault))) | Err(fault) => Err(Error::refused(
                input.name(),
                format!("the image is damaged: {fault}"),
                "build or copy the firmware again",
            )),
        },
        Some(kind @ (FileKind::Zeros | FileKind::ErasedFlash)) => {
            Ok(vec![format!("the input is {kind}: no device starts it")])
        }
        None | Some(FileKind::McuBoot | FileKind::Gzip | FileKind::Zip) => Ok(Vec::new()),
        Some(kind) => Err(Error::refused(
            input.name(),
            format!("is {kind}, not firmware"),
            kind.remedy(Purpose::Seal),
        )),
    }
}

/// Encrypts `input` into `output`, which is left for the caller to commit.
///
/// # Errors
/// `Io`; refused if the input is longer than 4 GiB.
pub fn encrypt(
    input: &Source,
    key: &EncryptKey,
    entropy: &dyn Entropy,
    output: &OutputFile,
    control: &Control<'_>,
) -> Result<(), Error> {
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
    let (gcm_key, key_block) = key_block::wrap(key, entropy)?;
    let mut header = Header {
        key_block,
        iv: [0; 16],
        size: bin_size,
        tag: [0; 16],
        reserved_zero: true,
    };
    entropy.fill(&mut header.iv)?;
    let (keystream, mut tag) = gcm::start(&gcm_key, &header.iv);
    Stream {
        source: input,
        from: 0,
        len: input.len(),
        output: Some((output, HEADER_LEN as u64)),
    }
    .run(
        Watch::After,
        |offset, block| {
            keystream.apply(offset, block);
            Ok(())
        },
        |block| tag.absorb(block),
        (Activity::Sealing, control),
    )?;
    header.tag = tag.finish();
    output.write_at(&header.to_bytes(), 0)
}

/// Opens `input` into `output`, which is left for the caller to commit. Says what is odd but accepted by devices.
///
/// # Errors
/// `Io`; refused if it is no such image, has another length than it says, was made for another key, or was changed.
/// Nothing of `output` may be used then.
pub fn decrypt(
    input: &Source,
    key: &DecryptKey,
    output: &OutputFile,
    control: &Control<'_>,
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
    let gcm_key = key_block::unwrap(input.name(), key, &header.key_block)?;
    let (keystream, mut tag) = gcm::start(&gcm_key, &header.iv);
    Stream {
        source: input,
        from: HEADER_LEN as u64,
        len: u64::from(header.size),
        output: Some((output, 0)),
    }
    .run(
        Watch::Before,
        |offset, block| {
            keystream.apply(offset, block);
            Ok(())
        },
        |block| tag.absorb(block),
        (Activity::Opening, control),
    )?;
    if !tag.verify(&header.tag) {
        return Err(Error::refused(
            input.name(),
            "tag at offset 408: does not fit the data",
            "it was made for another key, or changed on its way",
        ));
    }
    let unused = match key {
        DecryptKey::Ecies(_) => header.key_block.get(96..).unwrap_or_default(),
        DecryptKey::Rsa(_) => &[],
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

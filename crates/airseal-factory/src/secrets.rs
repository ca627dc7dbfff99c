//! What is made for one device and known to nobody else. No `Debug`, wiped when dropped.

use std::path::Path;

use airseal_pack::Error;
use airseal_pack::entropy::Entropy;
use zeroize::Zeroizing;

/// Bytes of a claim token before it is written in hex.
const CLAIM_LEN: usize = 16;

/// Which secrets a product's devices have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecretKinds {
    /// Length of the flash key made for each device; 0 if there is none, or one for all.
    pub flash_key_len: usize,
    /// Whether the device has a seed.
    pub seed: bool,
    /// Whether it has an `nvs_keys` partition.
    pub nvs_keys: bool,
    /// Whether it has a claim token.
    pub claim: bool,
}

/// The secrets of one device; what it does not have is empty.
#[derive(Default)]
pub struct DeviceSecrets {
    /// Flash encryption key, as the file that `burn-key` takes.
    pub flash_key: Zeroizing<Vec<u8>>,
    /// The seed all device keys are derived from.
    pub seed: Zeroizing<Vec<u8>>,
    /// The two keys of the NVS key partition.
    pub nvs_keys: Zeroizing<Vec<u8>>,
    /// The one-time token for enrolment, as it is printed.
    pub claim: Zeroizing<String>,
    /// NVS partitions as they are flashed, by the row's name: their values can be secret.
    pub nvs: Vec<(String, Zeroizing<Vec<u8>>)>,
}

impl DeviceSecrets {
    /// Draws them.
    ///
    /// # Errors
    /// `Io` if the source of randomness fails.
    pub fn draw(kinds: SecretKinds, entropy: &dyn Entropy) -> Result<DeviceSecrets, Error> {
        let draw = |len: usize| {
            let mut bytes = Zeroizing::new(vec![0; len]);
            entropy.fill(&mut bytes)?;
            Ok::<_, Error>(bytes)
        };
        let when = |wanted: bool, len: usize| {
            if wanted {
                draw(len)
            } else {
                Ok(Zeroizing::default())
            }
        };
        let claim = when(kinds.claim, CLAIM_LEN)?;
        Ok(DeviceSecrets {
            flash_key: draw(kinds.flash_key_len)?,
            seed: when(kinds.seed, 32)?,
            nvs_keys: when(kinds.nvs_keys, 64)?,
            claim: Zeroizing::new(hex::encode(&*claim)),
            nvs: Vec::new(),
        })
    }

    /// Every field with its length, u32 little-endian; then name and bytes of each NVS partition.
    pub(crate) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let nvs = self
            .nvs
            .iter()
            .flat_map(|(name, bytes)| [name.as_bytes(), bytes]);
        let single = [
            &*self.flash_key,
            &*self.seed,
            &*self.nvs_keys,
            self.claim.as_bytes(),
        ];
        let fields: Vec<&[u8]> = single.into_iter().chain(nvs).collect();
        let len = fields.iter().map(|field| field.len() + 4).sum();
        // As long as it gets: growing would leave copies behind that nobody wipes.
        let mut bytes = Zeroizing::new(Vec::with_capacity(len));
        for field in fields {
            let len = u32::try_from(field.len()).unwrap_or(u32::MAX);
            bytes.extend_from_slice(&len.to_le_bytes());
            bytes.extend_from_slice(field);
        }
        bytes
    }

    pub(crate) fn decode(mut bytes: &[u8]) -> Option<DeviceSecrets> {
        let mut next = || {
            let (len, rest) = bytes.split_first_chunk::<4>()?;
            let (field, rest) =
                rest.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?)?;
            bytes = rest;
            Some(Zeroizing::new(field.to_vec()))
        };
        let text = |bytes: Zeroizing<Vec<u8>>| std::str::from_utf8(&bytes).ok().map(str::to_owned);
        let mut secrets = DeviceSecrets {
            flash_key: next()?,
            seed: next()?,
            nvs_keys: next()?,
            claim: Zeroizing::new(text(next()?)?),
            nvs: Vec::new(),
        };
        while let Some(name) = next() {
            secrets.nvs.push((text(name)?, next()?));
        }
        bytes.is_empty().then_some(secrets)
    }
}

/// Whether there is a file of this name; a folder that can't be looked into is an error, no answer.
///
/// # Errors
/// `Io`.
pub(crate) fn is_there(path: &Path) -> Result<bool, Error> {
    match path.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("look at", path, error)),
    }
}

/// Removes a secret file, then writes zeros over its bytes: a tool that opens it late finds no file, never a key of zeros. A
/// file that is not there is no error, and a link is removed itself.
///
/// # Errors
/// `Io` if it is there and can't be overwritten or removed.
pub fn shred(path: &Path) -> Result<(), Error> {
    let len = match std::fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.is_file() => {
            return std::fs::remove_file(path).map_err(|error| Error::io("remove", path, error));
        }
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("look at", path, error)),
    };
    let zeros = vec![0; usize::try_from(len).unwrap_or(0)];
    std::fs::OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| {
            std::fs::remove_file(path)?;
            std::io::Write::write_all(&mut file, &zeros)?;
            file.sync_data()
        })
        .map_err(|error| Error::io("remove", path, error))
}

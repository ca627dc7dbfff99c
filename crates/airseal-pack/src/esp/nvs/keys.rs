//! NVS keys from files.

use std::path::Path;

use airseal_esp::nvs::{
    HMAC_DATA_SEED, HMAC_TWEAK_SEED, KEYS_LEN, KEYS_PARTITION_LEN, KeysFault, NvsKey,
    keys_from_partition,
};
use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use crate::Error;
use crate::bridge::encrypted_img::read_hmac_key;
use crate::bundle::read_small;
use crate::entropy::Entropy;

/// Reads the keys of a keys partition, or the bare 64 bytes of them.
///
/// # Errors
/// `Io`; refused if the file holds no keys, with what it may be instead.
pub fn read_keys(path: &Path) -> Result<NvsKey, Error> {
    let what = "a file with NVS keys";
    let bytes = Zeroizing::new(read_small(path, KEYS_PARTITION_LEN as u64, what)?);
    keys_from_partition(&bytes)
        .and_then(|keys| NvsKey::new(&keys))
        .map_err(|fault| {
            let remedy = match fault {
                KeysFault::Length { found: 32 } => "a key for HMAC is given with --hmac-key",
                KeysFault::Length { .. } | KeysFault::Behind { .. } => {
                    "name the keys partition, 4096 bytes"
                }
                KeysFault::Erased => {
                    "the device makes its keys when it first starts; read the partition after that, or make keys with airseal esp nvs keys"
                }
                KeysFault::Crc => {
                    "if this was read from a device, it is flash-encrypted: airseal esp flash-decrypt at the partition's address first"
                }
                KeysFault::Same => "make other keys with airseal esp nvs keys",
            };
            Error::refused(path.display().to_string(), fault.to_string(), remedy)
        })
}

/// Reads the key in a device's eFuses (purpose HMAC_UP) and derives the NVS keys from it.
///
/// # Errors
/// `Io`; refused if it has not 32 bytes.
pub fn read_hmac_keys(path: &Path) -> Result<Zeroizing<[u8; KEYS_LEN]>, Error> {
    Ok(derive_keys(&*read_hmac_key(path)?))
}

/// The NVS keys that a device derives from the key in its eFuses.
pub fn derive_keys(hmac_key: &[u8; 32]) -> Zeroizing<[u8; KEYS_LEN]> {
    let hmac_key = hmac::Key::new(hmac::HMAC_SHA256, hmac_key);
    let mut keys = Zeroizing::new([0; KEYS_LEN]);
    let seeds = [HMAC_DATA_SEED, HMAC_TWEAK_SEED];
    for (key, seed) in keys.chunks_mut(KEYS_LEN / seeds.len()).zip(&seeds) {
        key.copy_from_slice(hmac::sign(&hmac_key, seed).as_ref());
    }
    keys
}

/// Makes new keys.
///
/// # Errors
/// `Io` if there is no randomness.
pub fn make_keys(entropy: &dyn Entropy) -> Result<Zeroizing<[u8; KEYS_LEN]>, Error> {
    let mut keys = Zeroizing::new([0; KEYS_LEN]);
    entropy.fill(&mut keys[..])?;
    Ok(keys)
}

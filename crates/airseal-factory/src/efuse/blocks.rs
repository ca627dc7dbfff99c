//! Which key goes into which block.

use airseal_pack::Error;
use serde::{Deserialize, Serialize};

use super::family::Family;
use super::{BurnedKey, EfuseWish, Expectation, refuse};
use crate::config::{BootScheme, EncryptionMode, SeedSource};

/// One key and its block, as `burn-key` wants them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyBlock {
    /// The block's name.
    pub block: String,
    /// What goes in.
    pub key: BurnedKey,
    /// The purpose; the original ESP32 has none.
    pub purpose: Option<String>,
    /// Whether software may read it afterwards.
    pub readable: bool,
}

/// All keys of a board, in the order they are burned.
#[derive(Clone, Debug)]
pub struct Blocks {
    keys: Vec<KeyBlock>,
    /// Blocks with their purpose, as the summary shows them.
    shown: Vec<Expectation>,
}

impl Blocks {
    pub(super) fn assign(wish: &EfuseWish, family: &Family) -> Result<Blocks, Error> {
        match family {
            Family::Esp32 => esp32(wish),
            Family::Esp32C2 => esp32c2(wish),
            Family::SixBlocks(_) => six_blocks(wish, family),
        }
    }

    /// The keys.
    pub fn keys(&self) -> &[KeyBlock] {
        &self.keys
    }

    pub(super) fn expected(&self) -> Vec<Expectation> {
        self.shown.clone()
    }
}

const DIGEST_PURPOSES: [&str; 3] = [
    "SECURE_BOOT_DIGEST0",
    "SECURE_BOOT_DIGEST1",
    "SECURE_BOOT_DIGEST2",
];

/// Three blocks with fixed meanings.
fn esp32(wish: &EfuseWish) -> Result<Blocks, Error> {
    let mut keys = Vec::new();
    let mut shown = Vec::new();
    let mut add = |name: &str, block: &str, key, readable| {
        keys.push(KeyBlock {
            block: name.to_owned(),
            key,
            purpose: None,
            readable,
        });
        shown.push(protected(block, readable));
    };
    if wish.encryption != EncryptionMode::Off {
        if wish.flash_key_len != 32 {
            return Err(refuse(
                "flash_encryption",
                "the key of an esp32 has 256 bits",
                "leave bits out",
            ));
        }
        add("flash_encryption", "BLOCK1", BurnedKey::Flash, false);
    }
    match wish.secure_boot {
        BootScheme::Off => {}
        BootScheme::V1 => add(
            "secure_boot_v1",
            "BLOCK2",
            BurnedKey::BootloaderDigestKey,
            false,
        ),
        _ => add("secure_boot_v2", "BLOCK2", BurnedKey::Digest(0), true),
    }
    no_seed_block(wish)?;
    Ok(Blocks { keys, shown })
}

/// One block: the flash key in its lower half and the digest in its upper half, burned at once.
fn esp32c2(wish: &EfuseWish) -> Result<Blocks, Error> {
    let mut keys = Vec::new();
    let mut shown = Vec::new();
    let signed = wish.secure_boot != BootScheme::Off;
    if wish.encryption != EncryptionMode::Off {
        let purpose = match (wish.flash_key_len, signed) {
            (16, _) => "XTS_AES_128_KEY_DERIVED_FROM_128_EFUSE_BITS",
            (_, false) => "XTS_AES_128_KEY",
            (_, true) => {
                return Err(refuse(
                    "flash_encryption.bits",
                    "a 256-bit flash key fills the only key block of an esp32c2: no room for the secure boot digest",
                    "leave bits out, the key then has 128 bits",
                ));
            }
        };
        keys.push(KeyBlock {
            block: "BLOCK_KEY0".to_owned(),
            key: BurnedKey::Flash,
            purpose: Some(purpose.to_owned()),
            readable: false,
        });
        let block = if signed || wish.flash_key_len == 16 {
            "BLOCK_KEY0_LOW_128"
        } else {
            "BLOCK_KEY0"
        };
        shown.push(protected(block, false));
    }
    if signed {
        keys.push(KeyBlock {
            block: "BLOCK_KEY0".to_owned(),
            key: BurnedKey::Digest(0),
            purpose: Some("SECURE_BOOT_DIGEST".to_owned()),
            readable: true,
        });
        shown.push(protected("BLOCK_KEY0_HI_128", true));
    }
    no_seed_block(wish)?;
    Ok(Blocks { keys, shown })
}

/// Six blocks that take any key.
fn six_blocks(wish: &EfuseWish, family: &Family) -> Result<Blocks, Error> {
    let mut free: Vec<u8> = (0..6).collect();
    let mut keys: Vec<KeyBlock> = Vec::new();
    let mut shown = Vec::new();

    if wish.encryption != EncryptionMode::Off {
        let block = match &wish.flash_key_block {
            Some(block) => Some(block.clone()),
            None => beside_seed(&free, wish).map(|number| format!("BLOCK_KEY{number}")),
        };
        let first = take(&mut free, &block, "flash_encryption.block")?;
        let purpose = if wish.flash_key_len == 64 {
            "XTS_AES_256_KEY"
        } else {
            "XTS_AES_128_KEY"
        };
        let mut halves = vec![(first, purpose)];
        if wish.flash_key_len == 64 {
            // espefuse puts the second half into the next free block.
            let second = free
                .iter()
                .position(|number| *number > first)
                .map(|at| free.remove(at));
            let second = second.ok_or_else(|| {
                refuse(
                    "flash_encryption.block",
                    "the second half of the key needs a block above the first",
                    "name a lower block, or auto",
                )
            })?;
            halves = vec![(first, "XTS_AES_256_KEY_1"), (second, "XTS_AES_256_KEY_2")];
        }
        for (number, purpose) in halves {
            if number == 5 && family.key5_takes_no_xts() {
                return Err(refuse(
                    "flash_encryption.block",
                    &format!(
                        "BLOCK_KEY5 of an {} can't hold a flash encryption key",
                        wish.chip
                    ),
                    "name another block, or auto",
                ));
            }
            shown.extend(block_shows(number, purpose, false));
        }
        keys.push(KeyBlock {
            block: format!("BLOCK_KEY{first}"),
            key: BurnedKey::Flash,
            purpose: Some(purpose.to_owned()),
            readable: false,
        });
    }
    if wish.seed == SeedSource::EfuseHmac {
        let number = take(&mut free, &wish.seed_block, "device_key.block")?;
        keys.push(KeyBlock {
            block: format!("BLOCK_KEY{number}"),
            key: BurnedKey::Seed,
            purpose: Some("HMAC_UP".to_owned()),
            readable: false,
        });
        shown.extend(block_shows(number, "HMAC_UP", false));
    }
    for digest in 0..wish.digests {
        let Some(purpose) = DIGEST_PURPOSES.get(usize::from(digest)) else {
            return Err(refuse(
                "secure_boot.digests",
                "a chip holds three digests at most",
                "name fewer",
            ));
        };
        let number = take(&mut free, &None, "secure_boot.digests")?;
        keys.push(KeyBlock {
            block: format!("BLOCK_KEY{number}"),
            key: BurnedKey::Digest(digest),
            purpose: Some((*purpose).to_owned()),
            readable: true,
        });
        shown.extend(block_shows(number, purpose, true));
    }
    Ok(Blocks { keys, shown })
}

/// The first block for the flash key that leaves the one that is named for the seed.
fn beside_seed(free: &[u8], wish: &EfuseWish) -> Option<u8> {
    let is_seed = |number: u8| {
        wish.seed == SeedSource::EfuseHmac
            && wish.seed_block.as_deref() == Some(&format!("BLOCK_KEY{number}"))
    };
    // espefuse puts the second half into the next free block.
    let is_clear =
        |number: u8| !is_seed(number) && (wish.flash_key_len < 64 || !is_seed(number + 1));
    free.iter().copied().find(|number| is_clear(*number))
}

fn no_seed_block(wish: &EfuseWish) -> Result<(), Error> {
    if wish.seed == SeedSource::EfuseHmac {
        return Err(refuse(
            "device_key.source",
            &format!("an {} has no HMAC peripheral", wish.chip),
            "take nvs, which flash encryption protects, or none",
        ));
    }
    Ok(())
}

fn take(free: &mut Vec<u8>, wanted: &Option<String>, setting: &str) -> Result<u8, Error> {
    let at = match wanted {
        None => (!free.is_empty()).then_some(0),
        Some(name) => {
            let number = name
                .strip_prefix("BLOCK_KEY")
                .and_then(|text| text.parse::<u8>().ok());
            let number = number.filter(|number| *number < 6).ok_or_else(|| {
                refuse(
                    setting,
                    &format!("there is no block {name}"),
                    "take BLOCK_KEY0 to BLOCK_KEY5, or auto",
                )
            })?;
            free.iter().position(|candidate| *candidate == number)
        }
    };
    match at {
        Some(at) => Ok(free.remove(at)),
        None => Err(refuse(
            setting,
            "no key block is left for it",
            "a chip has six: name each once, and fewer digests",
        )),
    }
}

fn block_shows(number: u8, purpose: &str, readable: bool) -> [Expectation; 2] {
    let kind = Expectation {
        shown: Some(purpose.to_owned()),
        writeable: Some(false),
        ..Expectation::of(&format!("KEY_PURPOSE_{number}"))
    };
    [kind, protected(&format!("BLOCK_KEY{number}"), readable)]
}

fn protected(block: &str, readable: bool) -> Expectation {
    Expectation {
        readable: Some(readable),
        writeable: Some(false),
        ..Expectation::of(block)
    }
}

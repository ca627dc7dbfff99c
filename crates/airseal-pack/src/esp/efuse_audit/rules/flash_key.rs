//! The key of flash encryption and other secret keys: there, and out of everybody's reach.

use airseal_esp::Chip;

use super::Rules;
use crate::esp::efuse_audit::{Repair, Verdict};

/// Blocks that have a purpose.
const KEY_BLOCKS: u8 = 6;

impl Rules<'_> {
    /// A flash key that nobody can read or change.
    pub(super) fn flash_key(&mut self, chip: Chip) {
        match chip.name() {
            "esp32" => return self.key_block("BLOCK1", false),
            "esp32c2" => return self.key_block("BLOCK_KEY0_LOW_128", false),
            _ => {}
        }
        let halves = ["XTS_AES_256_KEY_1", "XTS_AES_256_KEY_2"];
        let whole = self.state.blocks_for("XTS_AES_128_KEY");
        let (first, second) = (
            self.state.blocks_for(halves[0]),
            self.state.blocks_for(halves[1]),
        );
        // A chip takes the first of two blocks with one purpose; the other one is a key that lies open, or the wrong one.
        let blocks = match (first.is_empty(), second.is_empty(), whole.is_empty()) {
            (false, false, _) => [first, second].concat(),
            (false, true, _) | (true, false, _) => {
                let there = if first.is_empty() {
                    halves[1]
                } else {
                    halves[0]
                };
                return self.missing_key(&format!("only {there} is there, half of a key"));
            }
            (true, true, false) => whole,
            (true, true, true) => return self.missing_key("there is no flash encryption key"),
        };
        for block in blocks {
            self.key_block(&format!("BLOCK_KEY{block}"), false);
        }
    }

    /// Keys of the HMAC module and of others that compute with what software must not read.
    pub(super) fn other_keys(&mut self, chip: Chip) {
        if matches!(chip.name(), "esp32" | "esp32c2") {
            return;
        }
        for number in 0..KEY_BLOCKS {
            let purpose = format!("KEY_PURPOSE_{number}");
            match self.state.field(&purpose) {
                None => self
                    .verdicts
                    .push(Verdict::missing(&purpose, "the purpose of a key block")),
                Some(field) if is_secret(&field.shown) => {
                    self.key_block(&format!("BLOCK_KEY{number}"), false);
                }
                Some(_) => {}
            }
        }
    }

    /// The key is not there: can it still be burned, unreadable as it must be?
    fn missing_key(&mut self, what: &str) {
        const WANT: &str = "a flash encryption key, read- and write-protected";
        let locked = self.state.field("RD_DIS").filter(|field| !field.writeable);
        if let Some(field) = locked {
            let why = format!(
                "{what}, and RD_DIS is write-protected: none can be read-protected any more"
            );
            let verdict = Verdict::bad("RD_DIS", WANT, field, Repair::Never, &why);
            return self.verdicts.push(verdict);
        }
        let free = (0..=5).find_map(|number| {
            let name = format!("BLOCK_KEY{number}");
            let block = self.state.field(&name)?;
            let purpose = self.state.field(&format!("KEY_PURPOSE_{number}"))?;
            let free = block.writeable && block.readable && !block.used && purpose.writeable;
            free.then(|| (name, block.clone()))
        });
        let verdict = match free {
            Some((name, block)) => {
                let message =
                    format!("{what}: burn one, for example here, before RD_DIS is write-protected");
                Verdict::bad(&name, WANT, &block, self.by_cable(Repair::Now), &message)
            }
            None => Verdict {
                repair: Some(Repair::Never),
                message: format!("{what}, and no key block is free"),
                ..Verdict::missing("BLOCK_KEY0", WANT)
            },
        };
        self.verdicts.push(verdict);
    }
}

/// True for purposes whose key only the hardware uses.
fn is_secret(purpose: &str) -> bool {
    purpose.starts_with("HMAC_") || purpose.starts_with("ECDSA_KEY") || purpose == "KM_INIT_KEY"
}

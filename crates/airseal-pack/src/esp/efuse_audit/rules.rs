//! What release and development mean on each chip (ESP-IDF: `flash_encrypt.c`, security features enablement workflows).

use airseal_esp::Chip;

use super::{Base, EfuseState, Field, Repair, Verdict};

mod flash_key;
mod own;
mod secure_boot;

pub(super) use own::own;

/// The field that switches flash encryption on.
pub(super) fn counter(chip: Chip) -> &'static str {
    if is_esp32(chip) {
        "FLASH_CRYPT_CNT"
    } else {
        "SPI_BOOT_CRYPT_CNT"
    }
}

/// The verdicts of a built-in policy.
pub(super) fn of(chip: Chip, base: Base, state: &EfuseState) -> Vec<Verdict> {
    let mut rules = Rules {
        state,
        verdicts: Vec::new(),
    };
    rules.flash_key(chip);
    if base == Base::Development {
        rules.counter_is_odd(counter(chip));
        return rules.verdicts;
    }
    rules.other_keys(chip);
    let full = if is_esp32(chip) { 127 } else { 7 };
    rules.counter_is_full(counter(chip), full, chip.name() == "esp32c2");
    rules.secure_boot(chip);
    if is_esp32(chip) {
        rules.equals("FLASH_CRYPT_CONFIG", 0xF, Repair::Now);
        for field in [
            "DISABLE_DL_ENCRYPT",
            "DISABLE_DL_DECRYPT",
            "DISABLE_DL_CACHE",
            "JTAG_DISABLE",
            "CONSOLE_DEBUG_DISABLE",
        ] {
            rules.equals(field, 1, Repair::Now);
        }
        rules.locked("DIS_CACHE");
        rules.locked("RD_DIS");
        rules.equals("UART_DOWNLOAD_DIS", 1, Repair::Later);
        return rules.verdicts;
    }
    for field in ways_in(chip) {
        rules.equals(field, 1, Repair::Now);
    }
    if !matches!(chip.name(), "esp32c2" | "esp32p4" | "esp32h4" | "esp32s31") {
        rules.locked("DIS_ICACHE");
    }
    rules.locked("RD_DIS");
    if !state.field("DIS_DOWNLOAD_MODE").is_some_and(Field::is_set) {
        rules.equals("ENABLE_SECURITY_DOWNLOAD", 1, Repair::Later);
    }
    rules.verdicts
}

/// The fields of a chip that close a way in (ESP-IDF `flash_encryption_secure_features.c`, espefuse `efuse_defs`). They
/// are told by the chip and not by the summary: a field that is missing there is not one that needs no look.
fn ways_in(chip: Chip) -> impl Iterator<Item = &'static str> {
    let has = move |field: &str| match (field, chip.name()) {
        ("DIS_PAD_JTAG" | "DIS_DIRECT_BOOT", name) => name != "esp32s2",
        ("HARD_DIS_JTAG" | "DIS_LEGACY_SPI_BOOT" | "DIS_BOOT_REMAP", name) => name == "esp32s2",
        ("DIS_USB_JTAG", name) => !matches!(name, "esp32s2" | "esp32c2"),
        ("DIS_DOWNLOAD_ICACHE", name) => matches!(
            name,
            "esp32s2" | "esp32c3" | "esp32s3" | "esp32c2" | "esp32c6"
        ),
        ("DIS_DOWNLOAD_DCACHE", name) => matches!(name, "esp32s2" | "esp32s3"),
        ("SPI_DOWNLOAD_MSPI_DIS", name) => {
            !matches!(name, "esp32s2" | "esp32c3" | "esp32s3" | "esp32c2")
        }
        _ => true,
    };
    [
        "DIS_DOWNLOAD_MANUAL_ENCRYPT",
        "DIS_PAD_JTAG",
        "HARD_DIS_JTAG",
        "DIS_USB_JTAG",
        "DIS_DIRECT_BOOT",
        "DIS_LEGACY_SPI_BOOT",
        "DIS_BOOT_REMAP",
        "DIS_DOWNLOAD_ICACHE",
        "DIS_DOWNLOAD_DCACHE",
        "SPI_DOWNLOAD_MSPI_DIS",
    ]
    .into_iter()
    .filter(move |field| has(field))
}

struct Rules<'s> {
    state: &'s EfuseState,
    verdicts: Vec<Verdict>,
}

impl Rules<'_> {
    fn equals(&mut self, name: &str, want: u64, repair: Repair) {
        let text = format!("{want:#x}");
        let verdict = match self.state.field(name) {
            None => Verdict::missing(name, &text),
            Some(field) if field.bits == Some(want) => Verdict::good(name, &text, &describe(field)),
            Some(field) => match (burnable(field, want), repair) {
                (Err(why), _) => Verdict::bad(name, &text, field, Repair::Never, why),
                (Ok(()), Repair::Later) => Verdict::bad(
                    name,
                    &text,
                    field,
                    self.by_cable(Repair::Later),
                    "burn it last: no tool gets in afterwards",
                ),
                (Ok(()), _) => {
                    Verdict::bad(name, &text, field, self.by_cable(Repair::Now), "burn it")
                }
            },
        };
        self.verdicts.push(verdict);
    }

    /// A field that shuts the chip if it is burned before something else.
    fn equals_after(&mut self, name: &str, want: u64, message: &str) {
        self.equals(name, want, Repair::Later);
        if let Some(verdict) = self.verdicts.last_mut()
            && verdict.repair == Some(Repair::Later)
            && self.state.field(name).is_some()
        {
            message.clone_into(&mut verdict.message);
        }
    }

    /// Write protection; of RD_DIS it comes after every key.
    fn locked(&mut self, name: &str) {
        const WANT: &str = "write-protected";
        let verdict = match self.state.field(name) {
            None => Verdict::missing(name, WANT),
            Some(field) if !field.writeable => Verdict::good(name, WANT, WANT),
            Some(field) if self.verdicts.iter().all(|verdict| verdict.ok) => {
                let repair = self.by_cable(Repair::Now);
                Verdict::bad(name, WANT, field, repair, "write-protect it")
            }
            Some(field) => Verdict::bad(
                name,
                WANT,
                field,
                Repair::Later,
                "write-protect it after the keys and fields above",
            ),
        };
        self.verdicts.push(verdict);
    }

    fn counter_is_full(&mut self, name: &str, full: u64, must_lock: bool) {
        let field = self.state.field(name);
        let odd_and_locked = field.is_some_and(|field| is_odd(field) && !field.writeable);
        if let Some(field) = field.filter(|_| odd_and_locked) {
            let text = format!("{full:#x}, or on and write-protected");
            let verdict = Verdict::good(name, &text, &describe(field));
            return self.verdicts.push(verdict);
        }
        if self.verdicts.iter().all(|verdict| verdict.ok) {
            self.equals(name, full, Repair::Now);
        } else {
            self.equals_after(name, full, "burn it after the flash encryption key");
        }
        if must_lock {
            self.locked(name);
        }
    }

    fn counter_is_odd(&mut self, name: &str) {
        const WANT: &str = "an odd number of bits";
        let verdict = match self.state.field(name) {
            None => Verdict::missing(name, WANT),
            Some(field) if is_odd(field) => Verdict::good(name, WANT, &describe(field)),
            Some(field) if field.writeable => {
                let repair = self.by_cable(Repair::Now);
                Verdict::bad(name, WANT, field, repair, "burn one more bit")
            }
            Some(field) => Verdict::bad(name, WANT, field, Repair::Never, "it is write-protected"),
        };
        self.verdicts.push(verdict);
    }

    /// A block that holds a key; a digest must stay readable, a secret must not.
    fn key_block(&mut self, name: &str, readable: bool) {
        let want = if readable {
            "a digest, readable and write-protected"
        } else {
            "a key, read- and write-protected"
        };
        let lock = self
            .state
            .field("RD_DIS")
            .is_some_and(|field| !field.writeable);
        let verdict = match self.state.field(name) {
            None => Verdict::missing(name, want),
            Some(block) if readable && !block.readable => Verdict::bad(
                name,
                want,
                block,
                Repair::Never,
                "read protection can't be taken back: the chip can't see the digest",
            ),
            Some(block) if block.readable && !readable && lock => {
                let why = "RD_DIS is write-protected: it can't be read-protected any more";
                Verdict::bad("RD_DIS", want, block, Repair::Never, why)
            }
            Some(block) if block.readable && !block.used && !block.writeable => Verdict::bad(
                name,
                want,
                block,
                Repair::Never,
                "it is empty and write-protected",
            ),
            Some(block) if block.readable && !block.used => {
                Verdict::bad(name, want, block, self.by_cable(Repair::Now), "burn it")
            }
            Some(block) if block.readable != readable || block.writeable => {
                let repair = self.by_cable(Repair::Now);
                Verdict::bad(name, want, block, repair, "protect it")
            }
            Some(block) => Verdict::good(name, want, &describe(block)),
        };
        self.verdicts.push(verdict);
        self.purpose_is_locked(name);
    }

    /// The purpose of a block that is in use; with one more bit it would be another purpose.
    fn purpose_is_locked(&mut self, block: &str) {
        let purpose = block.replace("BLOCK_KEY", "KEY_PURPOSE_");
        let in_use = self
            .state
            .field(block)
            .is_some_and(|block| !block.readable || block.used);
        if in_use && purpose != block && self.state.field(&purpose).is_some() {
            self.locked(&purpose);
        }
    }

    /// Once download mode is closed to tools, only the firmware can burn.
    fn by_cable(&self, repair: Repair) -> Repair {
        let closed = |name| self.state.field(name).is_some_and(|field| field.used);
        let closed = [
            "UART_DOWNLOAD_DIS",
            "ENABLE_SECURITY_DOWNLOAD",
            "DIS_DOWNLOAD_MODE",
        ]
        .into_iter()
        .any(closed);
        if closed { Repair::Later } else { repair }
    }
}

impl Verdict {
    fn good(field: &str, want: &str, found: &str) -> Verdict {
        Verdict {
            field: field.to_owned(),
            ok: true,
            want: want.to_owned(),
            found: found.to_owned(),
            repair: None,
            message: String::new(),
        }
    }

    fn bad(name: &str, want: &str, field: &Field, repair: Repair, message: &str) -> Verdict {
        Verdict {
            ok: false,
            repair: Some(repair),
            message: message.to_owned(),
            ..Verdict::good(name, want, &describe(field))
        }
    }

    fn missing(name: &str, want: &str) -> Verdict {
        Verdict {
            ok: false,
            repair: Some(Repair::Later),
            message: "the summary does not have it: make it anew with the current espefuse"
                .to_owned(),
            ..Verdict::good(name, want, "nothing")
        }
    }
}

/// What the field has, without the bytes of a key.
fn describe(field: &Field) -> String {
    let value = match field.bits {
        Some(bits) => format!("{bits:#x}"),
        None if !field.readable => "read-protected".to_owned(),
        None if field.used => "in use".to_owned(),
        None => "empty".to_owned(),
    };
    let lock = if field.writeable {
        ""
    } else {
        ", write-protected"
    };
    format!("{value}{lock}")
}

/// Bits only go from 0 to 1.
fn burnable(field: &Field, want: u64) -> Result<(), &'static str> {
    let bits = field.bits.ok_or("it can't be read")?;
    if !field.writeable {
        Err("it is write-protected")
    } else if bits & !want != 0 {
        Err("a burned bit can't be taken back")
    } else {
        Ok(())
    }
}

fn is_odd(field: &Field) -> bool {
    field.bits.is_some_and(|bits| bits.count_ones() % 2 == 1)
}

fn is_esp32(chip: Chip) -> bool {
    chip.name() == "esp32"
}

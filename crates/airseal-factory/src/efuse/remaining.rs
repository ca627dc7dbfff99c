//! What of a plan a chip still lacks: pure, from its summary.

use std::collections::BTreeSet;

use airseal_pack::Error;
use airseal_pack::esp::efuse_audit::{EfuseState, Field};
use zeroize::Zeroizing;

use super::{Burn, BurnedKey, EfusePlan, Expectation, KeyBlock};

/// A chip beside its plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// No key, counter or switch that gives a chip its owner is burned: these calls are the first one. A door that the maker
    /// closed already, as the debug console of the original chip, is left out of them.
    Blank(Vec<Vec<Burn>>),
    /// Some of it is; these calls finish the first one.
    Begun(Vec<Vec<Burn>>),
    /// The first call is whole.
    Burned,
    /// The chip can't become what the plan wants: the field, and why.
    Spoiled {
        /// The field or block.
        field: String,
        /// What is wrong with it.
        why: String,
    },
}

/// Counters and switches that take a chip out of its maker's state.
const SWITCHES: [&str; 11] = [
    "FLASH_CRYPT_CNT",
    "SPI_BOOT_CRYPT_CNT",
    "ABS_DONE_0",
    "ABS_DONE_1",
    "SECURE_BOOT_EN",
    "SECURE_BOOT_KEY_REVOKE0",
    "SECURE_BOOT_KEY_REVOKE1",
    "SECURE_BOOT_KEY_REVOKE2",
    "UART_DOWNLOAD_DIS",
    "DIS_DOWNLOAD_MODE",
    "ENABLE_SECURITY_DOWNLOAD",
];

enum Standing {
    Missing,
    Done,
    Spoiled(&'static str),
}

impl EfusePlan {
    /// Where the chip stands. Names that are burned already are left out of what remains, keys above all: burning a
    /// read-protected key a second time is refused by the tool, and forcing it would spoil the block.
    ///
    /// `unfinished` names the keys of [`EfusePlan::unfinished`].
    pub fn progress(&self, chip: &EfuseState, unfinished: &BTreeSet<BurnedKey>) -> Progress {
        let key = |key: &KeyBlock| match unfinished.contains(&key.key) {
            true => Standing::Missing,
            false => self.key(key, chip),
        };
        let mut missing = Vec::new();
        let mut owned = false;
        let mut spoiled = self
            .foreign(chip)
            .or_else(|| self.no_more_secrets(chip, &key));
        let mut sort = |name: &str, standing: Standing| -> bool {
            match standing {
                Standing::Missing => return true,
                Standing::Done => owned |= !is_door(name),
                Standing::Spoiled(why) => {
                    spoiled.get_or_insert((name.to_owned(), why.to_owned()));
                }
            }
            false
        };
        for burn in &self.burn {
            let rest = match burn {
                Burn::Keys(keys) => Burn::Keys(
                    keys.iter()
                        .filter(|wanted| sort(&wanted.block, key(wanted)))
                        .cloned()
                        .collect(),
                ),
                Burn::Fields(fields) => Burn::Fields(
                    fields
                        .iter()
                        .filter(|(name, value)| sort(name, field(chip.field(name), *value)))
                        .cloned()
                        .collect(),
                ),
                // Protection counts for nothing by itself: a chip that only lacks it is not blank.
                Burn::WriteProtect(names) => Burn::WriteProtect(
                    names
                        .iter()
                        .filter(|name| chip.field(name).is_none_or(|field| field.writeable))
                        .cloned()
                        .collect(),
                ),
            };
            missing.push(rest);
        }
        if let Some((field, why)) = spoiled {
            return Progress::Spoiled { field, why };
        }
        missing.retain(|burn| !burn.is_empty());
        if missing.is_empty() {
            Progress::Burned
        } else if !owned {
            Progress::Blank(into_calls(missing))
        } else {
            Progress::Begun(into_calls(missing))
        }
    }

    /// The first call, or calls where the tool does not take all of it in one.
    pub fn calls(&self) -> Vec<Vec<Burn>> {
        into_calls(self.burn.clone())
    }

    /// What somebody else burned: a key block, or a switch, that the plan leaves alone.
    fn foreign(&self, chip: &EfuseState) -> Option<(String, String)> {
        const BLOCKS: [&str; 8] = [
            "BLOCK1",
            "BLOCK2",
            "BLOCK_KEY0",
            "BLOCK_KEY1",
            "BLOCK_KEY2",
            "BLOCK_KEY3",
            "BLOCK_KEY4",
            "BLOCK_KEY5",
        ];
        let planned = |name: &str| self.expect.iter().any(|want| want.field.starts_with(name));
        let block = BLOCKS
            .into_iter()
            .filter(|name| !planned(name))
            .find(|name| {
                chip.field(name)
                    .is_some_and(|field| field.used || !field.readable)
            });
        let switch = SWITCHES
            .into_iter()
            .filter(|name| !planned(name))
            .find(|name| chip.field(name).is_some_and(|field| field.used));
        let name = block.or(switch)?;
        Some((
            name.to_owned(),
            "it is burned, and the plan leaves it alone".to_owned(),
        ))
    }

    /// What a chip brings that would show only after it was burned: an open slot with a purpose somebody else chose, a version
    /// that no image of ours reaches, a loader that can never be closed. A board of ours may show some of it later.
    pub fn brought(&self, chip: &EfuseState) -> Option<(String, String)> {
        const NAMES: [&str; 8] = [
            "KEY_PURPOSE_0",
            "KEY_PURPOSE_1",
            "KEY_PURPOSE_2",
            "KEY_PURPOSE_3",
            "KEY_PURPOSE_4",
            "KEY_PURPOSE_5",
            "SECURE_VERSION",
            "SECURE_BOOT_AGGRESSIVE_REVOKE",
        ];
        let planned = |name: &str| self.expect.iter().any(|want| want.field == name);
        let burned = NAMES
            .into_iter()
            .filter(|name| !planned(name))
            .find(|name| chip.field(name).is_some_and(|field| field.used))
            .map(|name| (name, "it is burned, and the plan leaves it alone"));
        let lock = self.lock.iter().filter_map(|burn| match burn {
            Burn::Fields(fields) => Some(fields),
            Burn::Keys(_) | Burn::WriteProtect(_) => None,
        });
        let closed = lock
            .flatten()
            .find(|(name, _)| chip.field(name).is_some_and(|field| !field.writeable))
            .map(|(name, _)| {
                (
                    name.as_str(),
                    "it is write-protected: the loader could never be closed",
                )
            });
        let (name, why) = burned.or(closed)?;
        Some((name.to_owned(), why.to_owned()))
    }

    /// Once RD_DIS is write-protected no key can be hidden any more: a chip without its secret keys never gets them.
    fn no_more_secrets(
        &self,
        chip: &EfuseState,
        standing: &dyn Fn(&KeyBlock) -> Standing,
    ) -> Option<(String, String)> {
        if chip.field("RD_DIS").is_none_or(|field| field.writeable) {
            return None;
        }
        let missing = self
            .keys()
            .find(|key| !key.readable && matches!(standing(key), Standing::Missing))?;
        Some((
            "RD_DIS".to_owned(),
            format!(
                "it is write-protected, and {} holds no key yet: one can never be burned now",
                missing.block
            ),
        ))
    }

    /// Keys whose bytes are in their block and nothing more: `espefuse` burns the blocks first and block 0, which says what they
    /// are for and protects them, last. They are burned again with the same bytes, which spoils nothing.
    ///
    /// # Errors
    /// Those of `bytes_of`, which gives the bytes of a key file; asked only for a block that may hold it.
    pub fn unfinished(
        &self,
        chip: &EfuseState,
        bytes_of: impl Fn(BurnedKey) -> Result<Zeroizing<Vec<u8>>, Error>,
    ) -> Result<BTreeSet<BurnedKey>, Error> {
        let mut unfinished = BTreeSet::new();
        for key in self.keys() {
            let (blocks, purposes): (Vec<String>, Vec<String>) = self
                .blocks_of(key)
                .into_iter()
                .partition(|name| name.starts_with("BLOCK"));
            let fields = |names: &[String]| -> Option<Vec<Field>> {
                names.iter().map(|name| chip.field(name).cloned()).collect()
            };
            let (Some(shown), Some(kinds)) = (fields(&blocks), fields(&purposes)) else {
                continue;
            };
            let open = |field: &Field| field.readable && field.writeable;
            let planned = |(name, field): (&String, &Field)| {
                let want = self.expect.iter().find(|want| want.field == *name);
                let shown = want.and_then(|want| want.shown.as_ref());
                field.bits == Some(0) || shown == Some(&field.shown)
            };
            if !shown.iter().chain(&kinds).all(open)
                || !shown.iter().any(|field| field.used)
                || !purposes.iter().zip(&kinds).all(planned)
            {
                continue;
            }
            let bytes = bytes_of(key.key)?;
            let used = shown.iter().filter(|field| field.used);
            if used.into_iter().all(|field| is_part(field, &bytes)) {
                unfinished.insert(key.key);
            }
        }
        Ok(unfinished)
    }

    /// A key is there when every block it fills shows what the plan promises.
    fn key(&self, key: &KeyBlock, chip: &EfuseState) -> Standing {
        let shown: Vec<(&Expectation, Option<&Field>)> = self
            .blocks_of(key)
            .into_iter()
            .filter_map(|name| self.expect.iter().find(|want| want.field == name))
            .map(|want| (want, chip.field(&want.field)))
            .collect();
        let holds = |(want, field): &(&Expectation, Option<&Field>)| {
            field.is_some_and(|field| {
                want.shown
                    .as_ref()
                    .is_none_or(|shown| *shown == field.shown)
                    && want
                        .readable
                        .is_none_or(|readable| readable == field.readable)
                    && want
                        .writeable
                        .is_none_or(|writeable| writeable == field.writeable)
            })
        };
        if shown.iter().all(holds) {
            return Standing::Done;
        }
        let untouched = |(want, field): &(&Expectation, Option<&Field>)| {
            field.is_some_and(|field| {
                field.readable
                    && field.writeable
                    && (want.shown.is_some() || !field.used)
                    && (want.shown.is_none() || field.bits.is_none_or(|bits| bits == 0))
            })
        };
        if shown.iter().all(untouched) {
            Standing::Missing
        } else {
            Standing::Spoiled("the block holds something else, or is not protected as it should be")
        }
    }

    /// The names in the summary that belong to a key.
    fn blocks_of(&self, key: &KeyBlock) -> BTreeSet<String> {
        let known = |name: String| {
            self.expect
                .iter()
                .any(|want| want.field == name)
                .then_some(name)
        };
        let halves = match key.purpose.as_deref() {
            Some("XTS_AES_256_KEY") => &["XTS_AES_256_KEY_1", "XTS_AES_256_KEY_2"][..],
            _ => &[],
        };
        let mut names: BTreeSet<String> = match key.block.as_str() {
            "flash_encryption" => known("BLOCK1".to_owned()).into_iter().collect(),
            "secure_boot_v1" | "secure_boot_v2" => known("BLOCK2".to_owned()).into_iter().collect(),
            block if key.purpose.as_deref() == Some("SECURE_BOOT_DIGEST") => {
                known(format!("{block}_HI_128")).into_iter().collect()
            }
            block => [format!("{block}_LOW_128"), block.to_owned()]
                .into_iter()
                .filter_map(known)
                .take(1)
                .collect(),
        };
        let numbers: Vec<String> = self
            .expect
            .iter()
            .filter(|want| {
                want.shown.as_deref().is_some_and(|shown| {
                    halves.contains(&shown) || key.purpose.as_deref() == Some(shown)
                })
            })
            .filter_map(|want| want.field.strip_prefix("KEY_PURPOSE_").map(str::to_owned))
            .collect();
        for number in numbers {
            names.insert(format!("KEY_PURPOSE_{number}"));
            names.insert(format!("BLOCK_KEY{number}"));
        }
        names
    }
}

/// Whether a block shows the key or a half of it, forwards or, as flash keys lie, backwards.
fn is_part(field: &Field, key: &[u8]) -> bool {
    let shown: Option<Vec<u8>> = field
        .shown
        .split_whitespace()
        .map(|byte| u8::from_str_radix(byte, 16).ok())
        .collect();
    let Some(shown) = shown.filter(|shown| shown.len() >= 16) else {
        return false;
    };
    let shown = Zeroizing::new(shown);
    let backwards = Zeroizing::new(key.iter().rev().copied().collect::<Vec<u8>>());
    [key, &backwards]
        .into_iter()
        .any(|key| key.windows(shown.len()).any(|part| part == &**shown))
}

impl Burn {
    fn is_empty(&self) -> bool {
        match self {
            Burn::Keys(keys) => keys.is_empty(),
            Burn::Fields(fields) => fields.is_empty(),
            Burn::WriteProtect(names) => names.is_empty(),
        }
    }
}

fn field(found: Option<&Field>, want: u64) -> Standing {
    match found.map(|field| (field.bits, field.writeable)) {
        Some((Some(bits), _)) if bits == want => Standing::Done,
        Some((Some(bits), _)) if bits & !want != 0 => {
            Standing::Spoiled("bits are set that the plan does not set, and none can be taken back")
        }
        Some((Some(_), true)) => Standing::Missing,
        Some((Some(_), false)) => Standing::Spoiled("it is write-protected and not burned"),
        Some((None, _)) => Standing::Spoiled("it can't be read"),
        None => Standing::Spoiled("the summary does not have it"),
    }
}

/// A name that only closes something: makers burn some of them, and none makes the chip anybody's.
fn is_door(name: &str) -> bool {
    !name.contains("KEY")
        && !SWITCHES.contains(&name)
        && !name.starts_with("BLOCK")
        && !["flash_encryption", "secure_boot_v1", "secure_boot_v2"].contains(&name)
}

/// In one call if that can be: `espefuse` takes a single protected name of a chained call for letters.
fn into_calls(burns: Vec<Burn>) -> Vec<Vec<Burn>> {
    let (alone, together): (Vec<Burn>, Vec<Burn>) = burns
        .into_iter()
        .partition(|burn| matches!(burn, Burn::WriteProtect(names) if names.len() == 1));
    [together, alone]
        .into_iter()
        .filter(|call| !call.is_empty())
        .collect()
}

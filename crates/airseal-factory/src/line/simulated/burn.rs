//! A call of `espefuse` that burns, taken apart again: a chip burns piece by piece, and may be stopped between two.
//!
//! The order is that of `espefuse` (`efuse/base_fields.py`: `burn_all`): the key blocks first, then block 0 with purposes and
//! switches, at its very end read and write protection and what switches encryption and secure boot on.

use std::ffi::OsString;
use std::path::Path;

use airseal_esp::Chip;
use airseal_pack::Error;
use zeroize::Zeroizing;

const COMMANDS: [&str; 3] = ["burn-key", "burn-efuse", "write-protect-efuse"];

/// Of block 0, what is burned last.
const LATE: [&str; 7] = [
    "UART_DOWNLOAD_DIS",
    "ABS_DONE_1",
    "FLASH_CRYPT_CNT",
    "ENABLE_SECURITY_DOWNLOAD",
    "DIS_DOWNLOAD_MODE",
    "SPI_BOOT_CRYPT_CNT",
    "SECURE_BOOT_EN",
];

/// The words before the first command, and what comes after it.
pub(super) struct Burning {
    head: Vec<OsString>,
    whole: Vec<OsString>,
    pieces: Vec<Piece>,
}

/// Burned whole or not at all.
enum Piece {
    /// The bytes of a key block: they can be read, and no purpose says what they are for.
    Block { name: OsString, keys: Vec<Key> },
    /// A purpose.
    Purpose(Key),
    /// A field of block 0.
    Field([OsString; 2]),
    /// A key with its purpose and protection.
    Key(Vec<OsString>),
    /// Protected names.
    Protect(Vec<OsString>),
}

/// A key as `burn-key` takes it.
#[derive(Clone)]
struct Key {
    block: String,
    file: OsString,
    purpose: String,
}

impl Burning {
    /// `None` for a call that only reads.
    pub(super) fn parse(chip: Chip, call: &[OsString]) -> Option<Burning> {
        let command = |word: &OsString| COMMANDS.iter().position(|command| word == command);
        let start = call.iter().position(|word| command(word).is_some())?;
        let (head, whole) = call.split_at_checked(start)?;
        let (mut keys, mut fields, mut protect) = (Vec::new(), Vec::new(), Vec::new());
        let mut at = 0;
        for word in whole {
            match (command(word), at) {
                (Some(found), _) => at = found,
                (None, 0) => keys.push(word.clone()),
                (None, 1) => fields.push(word.clone()),
                (None, _) => protect.push(word.clone()),
            }
        }
        let words_of_key = if chip.name() == "esp32" { 2 } else { 3 };
        let keys: Vec<&[OsString]> = keys.chunks(words_of_key).collect();
        let one_block = chip.name() == "esp32c2";
        let mut pieces = Vec::new();
        let parsed: Vec<Key> = keys.iter().filter_map(|words| Key::of(words)).collect();
        // The second half of a long key goes into a block that only the tool chooses.
        let plain: Vec<&Key> = parsed
            .iter()
            .filter(|key| key.purpose != "XTS_AES_256_KEY")
            .collect();
        if one_block && !parsed.is_empty() {
            pieces.push(Piece::Block {
                name: "BLOCK_KEY0".into(),
                keys: parsed.clone(),
            });
        } else {
            pieces.extend(plain.iter().map(|key| Piece::Block {
                name: (&key.block).into(),
                keys: vec![(*key).clone()],
            }));
            let purposes = plain.iter().filter(|key| !key.purpose.is_empty());
            pieces.extend(purposes.map(|key| Piece::Purpose((*key).clone())));
        }
        let field = |words: &[OsString]| {
            Some(Piece::Field([
                words.first()?.clone(),
                words.get(1)?.clone(),
            ]))
        };
        let is_late = |words: &&[OsString]| {
            words
                .first()
                .is_some_and(|name| LATE.iter().any(|late| name == late))
        };
        let (late, early): (Vec<&[OsString]>, Vec<&[OsString]>) =
            fields.chunks(2).partition(is_late);
        pieces.extend(early.into_iter().filter_map(field));
        // The only key block of this chip takes both keys at once.
        if one_block && !keys.is_empty() {
            pieces.push(Piece::Key(keys.concat()));
        } else {
            pieces.extend(keys.iter().map(|words| Piece::Key(words.to_vec())));
        }
        pieces.extend(late.into_iter().filter_map(field));
        if !protect.is_empty() {
            pieces.push(Piece::Protect(protect));
        }
        Some(Burning {
            head: head.to_vec(),
            whole: whole.to_vec(),
            pieces,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.pieces.len()
    }

    /// The call as it came.
    pub(super) fn whole(&self) -> Vec<OsString> {
        [&self.head[..], &self.whole[..]].concat()
    }

    /// Drops what is not burned when the call is stopped after `count` pieces.
    pub(super) fn first(mut self, count: usize) -> Burning {
        self.pieces.truncate(count);
        self
    }

    /// The calls that burn the pieces; `keep` writes the bytes of a block into a file and names it.
    pub(super) fn calls(
        &self,
        keep: impl Fn(&str, &[u8]) -> Result<OsString, Error>,
    ) -> Result<Vec<Vec<OsString>>, Error> {
        let mut calls = [(); 3].map(|()| Vec::<(&str, Vec<OsString>)>::new());
        let mut keys_went = false;
        for piece in &self.pieces {
            let (at, command, words) = match piece {
                Piece::Block { name, keys } => {
                    let shown = name.to_string_lossy();
                    let file = keep(&format!("block-{shown}"), &bytes_of(keys)?)?;
                    (0, "burn-block-data", vec![name.clone(), file])
                }
                Piece::Purpose(key) => {
                    let number = key.block.trim_start_matches("BLOCK_KEY");
                    let name = format!("KEY_PURPOSE_{number}");
                    (0, "burn-efuse", vec![name.into(), (&key.purpose).into()])
                }
                Piece::Field(words) => {
                    (if keys_went { 2 } else { 0 }, "burn-efuse", words.to_vec())
                }
                Piece::Key(words) => (1, "burn-key", words.clone()),
                Piece::Protect(words) => (2, "write-protect-efuse", words.clone()),
            };
            keys_went |= matches!(piece, Piece::Key(_));
            if let Some(call) = calls.get_mut(at) {
                call.push((command, words));
            }
        }
        let joined = calls.into_iter().filter(|call| !call.is_empty());
        Ok(joined
            .map(|call| {
                let mut words = self.head.clone();
                let mut before = "";
                for (command, more) in call {
                    if command != before {
                        words.push(command.into());
                        before = command;
                    }
                    words.extend(more);
                }
                words
            })
            .collect())
    }

    /// Names that `burn-efuse` sets.
    pub(super) fn fields(&self) -> impl Iterator<Item = String> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Field([name, _]) => Some(name.to_string_lossy().into_owned()),
            _ => None,
        })
    }

    /// Keys that no tool reads afterwards: the file a board keeps it in, and the file it is in now.
    pub(super) fn secrets(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let keys = self.pieces.iter().filter_map(|piece| match piece {
            Piece::Key(words) => Some(words),
            _ => None,
        });
        keys.flat_map(|words| {
            words
                .windows(3)
                .chain((words.len() == 2).then_some(words.as_slice()))
        })
        .filter_map(|key| {
            let (name, file) = (key.first()?.to_string_lossy(), key.get(1)?);
            let purpose = key
                .get(2)
                .map(|word| word.to_string_lossy())
                .unwrap_or_default();
            let kept = match (&*name, &*purpose) {
                ("flash_encryption", _) => "flash-key",
                (_, "HMAC_UP") => "seed",
                (_, purpose) if purpose.starts_with("XTS_") => "flash-key",
                _ => return None,
            };
            Some((kept, Path::new(file)))
        })
    }
}

impl Key {
    fn of(words: &[OsString]) -> Option<Key> {
        let text = |at: usize| {
            let word = words.get(at).map(|word| word.to_string_lossy());
            word.unwrap_or_default().into_owned()
        };
        Some(Key {
            block: text(0),
            file: words.get(1)?.clone(),
            purpose: text(2),
        })
    }
}

/// A block as `burn-key` fills it: flash keys lie in it backwards, and one of 128 bits leaves the upper half to a digest.
fn bytes_of(keys: &[Key]) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut block = Zeroizing::new(Vec::new());
    let shared = keys.len() > 1;
    for key in keys {
        let path = Path::new(&key.file);
        let mut bytes = std::fs::read(path).map_err(|error| Error::io("read", path, error))?;
        if key.purpose.starts_with("XTS_") || key.block == "flash_encryption" {
            bytes.reverse();
        }
        if shared {
            bytes.truncate(16);
        }
        block.extend_from_slice(&bytes);
    }
    block.resize(32, 0);
    Ok(block)
}

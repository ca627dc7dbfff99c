//! A call of `espefuse` as the words of its command line.

use std::ffi::OsString;
use std::path::PathBuf;

use super::{Burn, BurnedKey};

/// The words after `espefuse --chip CHIP --do-not-confirm`. Keys go by file, never as arguments: those can be read by
/// every process of the machine.
pub fn arguments(call: &[Burn], file_of: impl Fn(BurnedKey) -> PathBuf) -> Vec<OsString> {
    let mut words: Vec<OsString> = Vec::new();
    for burn in call {
        match burn {
            Burn::Keys(keys) => {
                words.push("burn-key".into());
                for key in keys {
                    words.push(key.block.clone().into());
                    words.push(file_of(key.key).into());
                    words.extend(key.purpose.as_ref().map(OsString::from));
                }
            }
            Burn::Fields(fields) => {
                words.push("burn-efuse".into());
                for (name, value) in fields {
                    words.push(name.into());
                    words.push(value.to_string().into());
                }
            }
            Burn::WriteProtect(names) => {
                words.push("write-protect-efuse".into());
                words.extend(names.iter().map(OsString::from));
            }
        }
    }
    words
}

//! Scripts that burn one device with `espefuse` and plain tools: `sh`, `sed` and `awk`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use airseal_pack::Error;

use super::private;
use crate::efuse::{Burn, BurnedKey, EfusePlan, arguments};

/// Looks at a summary beside what is expected.
const COMPARE: &str = include_str!("compare.awk");

/// What the scripts of one device are made from.
pub(super) struct Scripts<'s> {
    pub(super) serial: &'s str,
    /// The chip's name.
    pub(super) chip: &'s str,
    pub(super) efuses: &'s EfusePlan,
    /// How the flash is written, for people.
    pub(super) before: &'s str,
}

impl Scripts<'_> {
    /// Writes them, and what they compare with, into the device's folder.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn write(&self, folder: &Path) -> Result<(), Error> {
        private(&folder.join("compare.awk"), COMPARE.as_bytes())?;
        private(
            &folder.join("expect-efuse.txt"),
            self.expectations().as_bytes(),
        )?;
        let what = format!(
            "{}: burns keys and switches, which can't be taken back. {}",
            self.serial, self.before
        );
        let burn = self.calls(&self.efuses.calls());
        self.script(
            &folder.join("1-burn.sh"),
            &what,
            &BURN.replace("CALLS", &burn),
        )?;
        if self.efuses.lock.is_empty() {
            return Ok(());
        }
        let what = format!(
            "{}: closes the loader, after which no tool reads anything. Before it see the firmware start.",
            self.serial
        );
        let lock = self.calls(std::slice::from_ref(&self.efuses.lock));
        self.script(
            &folder.join("2-lock.sh"),
            &what,
            &LOCK.replace("CALLS", &lock),
        )
    }

    /// `ESPEFUSE` in the environment takes the place of the program, so that a script can be tried on virtual eFuses.
    fn script(&self, path: &Path, what: &str, body: &str) -> Result<(), Error> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let head = format!("#!/bin/sh\n# {what}\n# Then: {name} PORT\n");
        let text = format!("{head}{HEAD}{body}")
            .replace("SERIAL", self.serial)
            .replace("CHIP", self.chip);
        private(path, text.as_bytes())?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))
            .map_err(|error| Error::io("change", path, error))
    }

    fn calls(&self, calls: &[Vec<Burn>]) -> String {
        let call = |call: &Vec<Burn>| {
            let words: Vec<String> = arguments(call, key_file)
                .iter()
                .map(|word| quoted(&word.to_string_lossy()))
                .collect();
            format!(
                "chip --do-not-confirm \\\n    {} ||\n    stop \"$failed\"\n",
                words.join(" ")
            )
        };
        calls.iter().map(call).collect()
    }

    /// One line for each field of the plan, for `compare.awk`.
    fn expectations(&self) -> String {
        let in_lock = |name: &str| {
            self.efuses.lock.iter().any(|burn| match burn {
                Burn::Fields(fields) => fields.iter().any(|(field, _)| field == name),
                Burn::Keys(_) | Burn::WriteProtect(_) => false,
            })
        };
        let access = |wanted: Option<bool>| match wanted {
            None => "-",
            Some(true) => "yes",
            Some(false) => "no",
        };
        let line = |want: &crate::efuse::Expectation| {
            let bits = want
                .value
                .map_or("-".to_owned(), |value| format!("{value:x}"));
            format!(
                "{} {bits} {} {} {} {}\n",
                want.field,
                want.shown.as_deref().unwrap_or("-"),
                access(want.readable),
                access(want.writeable),
                if in_lock(&want.field) { "lock" } else { "burn" },
            )
        };
        self.efuses.expect.iter().map(line).collect()
    }
}

/// The file of a key in the device's folder.
pub(super) fn key_file(key: BurnedKey) -> PathBuf {
    PathBuf::from(match key {
        BurnedKey::Flash => "flash-key.bin".to_owned(),
        BurnedKey::Seed => "seed.bin".to_owned(),
        BurnedKey::Digest(number) => format!("digest{number}.bin"),
        BurnedKey::BootloaderDigestKey => "bootloader-digest-key.bin".to_owned(),
    })
}

/// A word of a shell script; names that are plainly safe stay as they are.
fn quoted(word: &str) -> String {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./@=".contains(&byte);
    if !word.is_empty() && word.bytes().all(safe) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// What both scripts begin with: who is on the bench, and what it shows.
const HEAD: &str = r#"set -eu
cd "$(dirname "$0")"
port=${1-}
chip() {
    ${ESPEFUSE:-espefuse} --chip CHIP ${port:+--port "$port"} "$@"
}
stop() {
    echo "SERIAL: $1" >&2
    exit 1
}
look() {
    chip summary --format json >summary.json ||
        stop "the chip does not answer; if 2-lock.sh was cut it may be locked already: see the firmware start"
    mac=$(sed -n '/"MAC": {/,/}/s/.*"value": "\([0-9a-fA-F:]*\).*/\1/p' summary.json)
    [ -n "$mac" ] || stop "the chip does not say its MAC"
}
compare() {
    awk -v until="$1" -f compare.awk expect-efuse.txt summary.json
}
failed="espefuse did not end well. Run this script again with the same chip, it goes on. Never force anything: that destroys keys. If it stays so, put the board aside"
look
"#;

/// One set of keys goes into one chip, and only into a blank one: the mark is made before anything is burned, and only once.
const BURN: &str = r#"if [ -e burn.mac ]; then
    [ "$(cat burn.mac)" = "$mac" ] ||
        stop "its keys were begun on the chip $(cat burn.mac), and go into no second one; this is $mac"
    if compare burn >/dev/null; then
        echo "$mac" >burned.mac
        echo "SERIAL: is burned on $mac: see the firmware start, then 2-lock.sh"
        exit 0
    fi
else
    compare blank || stop "this chip, $mac, is not blank: take another, the keys are in none yet"
    (set -C; echo "$mac" >burn.mac) 2>/dev/null || stop "somebody else burns it at this moment"
    sync
fi
CALLSlook
compare burn || stop "the chip is not as expect-efuse.txt has it: run this script again, then put the board aside"
echo "$mac" >burned.mac
echo "SERIAL: is burned on $mac: see the firmware start, then 2-lock.sh"
"#;

/// The lock only where the keys are, and everything else as it is expected.
const LOCK: &str = r#"if [ -e locked.mac ] && [ "$(cat locked.mac)" = "$mac" ] && compare lock >/dev/null; then
    echo "SERIAL: is locked on $mac"
    exit 0
fi
[ -e burned.mac ] && [ "$(cat burned.mac)" = "$mac" ] ||
    stop "1-burn.sh did not end well on this chip, $mac"
compare burn || stop "the chip is not as expect-efuse.txt has it: do not lock it, put it aside"
CALLSecho "$mac" >locked.mac
echo "SERIAL: is locked on $mac"
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_script_are_quoted() {
        assert_eq!(quoted("BLOCK_KEY0"), "BLOCK_KEY0");
        assert_eq!(quoted("X;touch x"), "'X;touch x'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}

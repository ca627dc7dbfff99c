//! What the boot does not look at, and the device needs later: the other applications, NVS partitions and their keys.
//! Damage there is a warning.

use airseal_esp::nvs::{KEYS_PARTITION_LEN, KeysFault, NvsKey, keys_from_partition};
use airseal_esp::otadata::BootSlot;
use airseal_esp::partition::{Partition, PartitionTable};
use zeroize::Zeroizing;

use super::Step;
use super::play::Play;
use crate::Error;
use crate::esp::dump::View;
use crate::esp::nvs::{MAX_PARTITION, NvsContents, contents};

impl Play<'_> {
    /// Looks at `slots`, the applications that come after the one that starts, and at data.
    pub(super) fn beside(
        &mut self,
        table: &PartitionTable,
        slots: impl Iterator<Item = BootSlot>,
    ) -> Result<(), Error> {
        let reason = self.verdict.reason.take();
        for slot in slots {
            let Some(row) = table.row_of(slot) else {
                continue;
            };
            let view = self.view(row.offset.into(), row.size.into());
            if is_erased(&view.raw().head(PROBE_LEN)?) {
                continue;
            }
            self.app(row, slot)?;
            if let Some(why) = self.verdict.reason.take() {
                self.verdict
                    .warnings
                    .push(format!("{why}; it would not start in place of another"));
            }
        }
        self.verdict.reason = reason;
        let mut keys = Vec::new();
        let rows = table.as_slice();
        for row in rows.iter().filter(|row| row.is_nvs_keys()) {
            keys.extend(self.nvs_keys(row)?);
        }
        for row in rows.iter().filter(|row| row.is_nvs()) {
            self.nvs(row, &keys)?;
        }
        Ok(())
    }

    /// The keys, if they are whole.
    fn nvs_keys(&mut self, row: &Partition) -> Result<Option<NvsKey>, Error> {
        let view = self.view(row.offset.into(), row.size.into());
        let raw = Zeroizing::new(view.raw().head(KEYS_PARTITION_LEN)?);
        if is_erased(&raw) {
            self.beside_step(row, Ok("erased: the device makes its keys".to_owned()));
            return Ok(None);
        }
        let bytes = Zeroizing::new(view.head(KEYS_PARTITION_LEN)?);
        let key = keys_from_partition(&bytes).and_then(|keys| NvsKey::new(&keys));
        let found = match &key {
            Ok(_) => Ok("NVS keys".to_owned()),
            Err(KeysFault::Crc) if self.cipher.is_some() && keys_from_partition(&raw).is_ok() => {
                Err(
                    "the NVS keys are not encrypted, and the chip decrypts what it reads"
                        .to_owned(),
                )
            }
            Err(fault) => Err(fault.to_string()),
        };
        self.beside_step(row, found);
        Ok(key.ok())
    }

    fn nvs(&mut self, row: &Partition, keys: &[NvsKey]) -> Result<(), Error> {
        let view = self.view(row.offset.into(), u64::from(row.size.min(MAX_PARTITION)));
        let view = match row.is_encrypted() {
            true => view,
            false => view.raw(),
        };
        let bytes = whole(view)?;
        if is_erased(&bytes) {
            return Ok(());
        }
        let found = match contents(&bytes, keys.iter().chain(self.check.nvs_key)) {
            NvsContents::Pairs(pairs) => Ok(format!("NVS, keys: {pairs}")),
            NvsContents::Locked => Ok("NVS, encrypted with keys that are not here".to_owned()),
            NvsContents::Damaged(why) => Err(why),
        };
        self.beside_step(row, found);
        Ok(())
    }

    fn beside_step(&mut self, row: &Partition, found: Result<String, String>) {
        let offset = u64::from(row.offset);
        let part = row.label.to_string();
        let ok = found.is_ok();
        let found = found.unwrap_or_else(|why| {
            let warning = format!("{part} at {offset:#x}: {why}");
            self.verdict.warnings.push(warning);
            why
        });
        self.verdict.steps.push(Step {
            part,
            offset,
            ok,
            found,
        });
    }
}

/// Bytes after which flash counts as erased.
const PROBE_LEN: usize = 4096;

fn is_erased(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0xFF)
}

fn whole(view: View<'_>) -> Result<Zeroizing<Vec<u8>>, Error> {
    let len = usize::try_from(view.len()).unwrap_or(usize::MAX);
    view.head(len).map(Zeroizing::new)
}

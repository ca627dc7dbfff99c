//! The boot of the flash as it is planned, played before anything is made: what would not start gets to no bench.

use std::io::{self, Read};

use airseal_esp::Chip;
use airseal_esp::partition::PartitionTable;
use airseal_pack::Error;
use airseal_pack::esp::boot_key::BootPublicKey;
use airseal_pack::esp::flash_check::{FlashCheck, RollbackKind, Verdict};
use airseal_pack::esp::signature_check::SignatureCheck;
use airseal_pack::esp::signatures::BootKeys;
use airseal_pack::source::Source;

use super::{Checker, Content, Region};

impl Checker {
    /// Plays the boot of the plain flash with the keys of secure boot.
    pub(super) fn boots(
        &self,
        chip: Chip,
        flash_size: u64,
        table: &PartitionTable,
        regions: &[Region],
        boot_keys: &[BootPublicKey],
        warnings: &mut Vec<String>,
    ) -> Result<(), Error> {
        let keys = BootKeys(boot_keys.to_vec());
        let verdict = FlashCheck {
            chip,
            efuses: None,
            cipher: None,
            table_offset: self.table_offset(),
            rollback: self.rollback(),
            signatures: (!boot_keys.is_empty()).then_some(&keys as &dyn SignatureCheck),
            nvs_key: None,
        }
        .run(&planned(regions, flash_size)?)?;
        let expected = self.first_slot(table).map(|slot| slot.to_string());
        let wrong = match (&verdict.boots, &expected) {
            (None, _) => "nothing would start".to_owned(),
            (Some(found), Some(expected)) if found != expected => {
                format!("{found} would start in place of {expected}")
            }
            _ => {
                let new = |warning: &String| !warnings.contains(warning);
                let found: Vec<String> = verdict.warnings.into_iter().filter(new).collect();
                warnings.extend(found);
                return Ok(());
            }
        };
        let Verdict { reason, .. } = verdict;
        Err(self.refuse(
            "flash",
            &format!("{wrong}: {}", reason.unwrap_or_default()),
            "nothing was made or burned: take images and a table of one build, made for this chip and these addresses",
        ))
    }

    fn rollback(&self) -> RollbackKind {
        match self.config.efuse.secure_version {
            0 => self.rollback,
            version => RollbackKind::Anti(version.into()),
        }
    }
}

/// What is the same on every device; the rest is erased.
fn planned(regions: &[Region], flash_size: u64) -> Result<Source, Error> {
    let mut flash: Box<dyn Read + '_> = Box::new(io::empty());
    let mut at = 0;
    for region in regions {
        let Content::Common(bytes) = &region.content else {
            continue;
        };
        let address = u64::from(region.address);
        let gap = io::repeat(0xFF).take(address.saturating_sub(at));
        flash = Box::new(flash.chain(gap).chain(bytes.as_slice()));
        at = address.saturating_add(bytes.len() as u64);
    }
    let rest = io::repeat(0xFF).take(flash_size.saturating_sub(at));
    Source::spool("the planned flash", &mut flash.chain(rest))
}

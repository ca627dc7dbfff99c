//! Where the seed and the claim token may stand in flash: in an NVS partition that opens for this device alone. NVS is never
//! under flash encryption, so its own encryption is all there is.

use airseal_pack::Error;

use super::{Checker, Content, Region};
use crate::config::{NvsEncryption, SeedSource};
use crate::values::{placeholders, read_text};

/// What the fields of the flashed NVS partitions hold.
pub(super) struct SecretFields {
    /// The row that holds the seed.
    pub(super) seed_row: Option<String>,
    /// Whether one holds the claim token.
    pub(super) claim: bool,
}

impl Checker {
    /// The placeholders of secrets, each where it may be.
    pub(super) fn secret_fields(&self, regions: &[Region]) -> Result<SecretFields, Error> {
        let source = self.config.device_key.source;
        let (mut seed_rows, mut claim) = (Vec::new(), false);
        for region in regions {
            let Content::Nvs(name) = &region.content else {
                continue;
            };
            let Some(nvs) = self.config.nvs.get(name) else {
                continue;
            };
            let fields = read_text(&self.folder.join(&nvs.fields))
                .map_err(|error| self.of_setting(&format!("nvs.{name}.fields"), error))?;
            let holds = |secret: &str| placeholders(&fields).any(|found| found == secret);
            if holds("seed") {
                self.seed_belongs_in_nvs(name, source)?;
                seed_rows.push(region.name.clone());
            }
            claim |= holds("claim");
            for secret in ["seed", "claim"].into_iter().filter(|secret| holds(secret)) {
                self.is_hidden(name, secret, nvs.encrypt, regions)?;
            }
        }
        match (source, seed_rows.as_slice()) {
            (SeedSource::Nvs, []) => Err(self.refuse(
                "device_key.source",
                "is nvs, and no field of a partition that is flashed holds {seed}: no device would ever learn who it is",
                "add the row seed,data,hex2bin,{seed} to the fields of an encrypted [nvs.*]",
            )),
            (SeedSource::Nvs, [one, other, ..]) => Err(self.refuse(
                "device_key.source",
                &format!("is nvs, and {one} and {other} both hold {{seed}}"),
                "keep it in one of them",
            )),
            (_, rows) => Ok(SecretFields {
                seed_row: rows.first().cloned(),
                claim,
            }),
        }
    }

    fn seed_belongs_in_nvs(&self, name: &str, source: SeedSource) -> Result<(), Error> {
        let what = match source {
            SeedSource::Nvs => return Ok(()),
            SeedSource::EfuseHmac => {
                "holds {seed}, and device_key.source is efuse-hmac: what no software reads would lie in flash as well"
            }
            SeedSource::None => "holds {seed}, and device_key.source is none",
        };
        Err(self.refuse(
            &format!("nvs.{name}.fields"),
            what,
            "leave the row out, or take device_key.source = \"nvs\"",
        ))
    }

    fn is_hidden(
        &self,
        name: &str,
        secret: &str,
        encrypt: NvsEncryption,
        regions: &[Region],
    ) -> Result<(), Error> {
        let why = match encrypt {
            NvsEncryption::Hmac => return Ok(()),
            NvsEncryption::None => "is none",
            NvsEncryption::Keys => {
                let mut keys = regions
                    .iter()
                    .filter(|region| matches!(region.content, Content::NvsKeys));
                if keys.all(|region| region.encrypted) {
                    return Ok(());
                }
                "is keys, and the keys lie beside it in plain flash"
            }
        };
        Err(self.refuse(
            &format!("nvs.{name}.encrypt"),
            &format!("{why}, and its fields hold {{{secret}}}: who reads the flash has it (flash encryption never covers NVS)"),
            "take hmac, or keys with flash encryption on and the flag encrypted on the nvs_keys row",
        ))
    }
}

//! The boot of a simulated board: ROM and bootloader as `flash-check` plays them with the keys and eFuses that were burned,
//! then the line that the firmware prints.

use std::path::Path;

use airseal_esp::flash_encryption::{DEFAULT_CRYPT_CONFIG, FlashKey};
use airseal_esp::nvs::NvsKey;
use airseal_esp::partition::{MAX_TABLE_LEN, Partition, PartitionTable};
use airseal_pack::Error;
use airseal_pack::esp::chip_state::ChipState;
use airseal_pack::esp::dump::{FlashCipher, View};
use airseal_pack::esp::efuse_audit::EfuseState;
use airseal_pack::esp::flash_check::{FlashCheck, RollbackKind};
use airseal_pack::esp::nvs::parse_partition;
use airseal_pack::source::Source;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::SimulatedBoard;
use crate::line::connection::{Connection as _, Program};
use crate::line::tools::words;
use crate::record::device_id;

/// Data partitions.
const DATA: u8 = 1;
const NVS: u8 = 2;
const NVS_KEYS: u8 = 4;

/// An image and the version its firmware prints.
#[derive(Clone, Debug)]
pub struct KnownImage {
    /// Bytes, with its signature.
    pub len: usize,
    /// SHA-256 of them, hex.
    pub sha256: String,
    /// What it prints.
    pub version: String,
}

impl SimulatedBoard {
    /// What comes out of the board after a reset.
    pub(super) fn boot(&self) -> Result<String, Error> {
        let chip = self.silicon.chip;
        let efuses = EfuseState::parse("the simulated board", self.summary()?.as_bytes())?;
        let efuses = ChipState::of(chip, &efuses)?;
        let path = self.flash();
        let source = Source::open(&path)?;
        let key = self.flash_key(&efuses)?;
        let cipher = key.as_ref().map(|key| key as &dyn FlashCipher);
        let verdict = FlashCheck {
            chip,
            efuses: Some(&efuses),
            cipher,
            table_offset: self.silicon.table_offset,
            rollback: RollbackKind::Off,
            signatures: None,
            nvs_key: None,
        }
        .run(&source)?;
        let Some(slot) = &verdict.boots else {
            return Ok(format!("E boot: {}\n", verdict.reason.unwrap_or_default()));
        };
        let flash = Flash {
            source: &source,
            cipher,
        };
        let table = flash.table(self.silicon.table_offset)?;
        let row = table.as_slice().iter().find(|row| match row.ota_slot() {
            Some(number) => *slot == format!("ota_{number}"),
            None => row.is_factory() && slot == "factory",
        });
        let version = match row {
            Some(row) => self.version(&flash, row)?,
            None => None,
        };
        let version = version.or_else(|| verdict.app?.rsplit(' ').next().map(str::to_owned));
        let id = match self.seed(&flash, &table)? {
            Some(seed) => device_id(&seed),
            None => "-".to_owned(),
        };
        if let Some(field) = self.burned_at_start.filter(|field| !self.is_burned(field)) {
            let mut call = words(&[&"--chip", &chip.name()]);
            call.extend(self.place(Program::Espefuse));
            call.extend(words(&[&"--do-not-confirm", &"burn-efuse", &field, &"1"]));
            self.burn(&call, None)?;
        }
        Ok(format!(
            "I boot: {slot}\nI (312) main: airseal: {id} {}\n",
            version.unwrap_or_else(|| "?".to_owned())
        ))
    }

    fn flash_key(&self, efuses: &ChipState) -> Result<Option<FlashKey>, Error> {
        let path = self.file("flash-key");
        if !path.exists() {
            return Ok(None);
        }
        let bytes = Zeroizing::new(read(&path)?);
        let config = efuses.flash_crypt_config.unwrap_or(DEFAULT_CRYPT_CONFIG);
        FlashKey::new(self.silicon.chip, &bytes, config)
            .map(Some)
            .map_err(|fault| Error::refused(path.display().to_string(), fault.to_string(), ""))
    }

    fn version(&self, flash: &Flash<'_>, row: &Partition) -> Result<Option<String>, Error> {
        for image in &self.silicon.images {
            let bytes = flash.view(row).head(image.len)?;
            if hex::encode(Sha256::digest(&bytes)) == image.sha256 {
                return Ok(Some(image.version.clone()));
            }
        }
        Ok(None)
    }

    /// The seed as the firmware gets it: from the HMAC block, or the key `seed` of an NVS partition.
    fn seed(
        &self,
        flash: &Flash<'_>,
        table: &PartitionTable,
    ) -> Result<Option<Zeroizing<[u8; 32]>>, Error> {
        let path = self.file("seed");
        if path.exists() {
            let bytes = Zeroizing::new(read(&path)?);
            return Ok(<[u8; 32]>::try_from(bytes.as_slice())
                .ok()
                .map(Zeroizing::new));
        }
        let rows = |subtype: u8| {
            table
                .as_slice()
                .iter()
                .filter(move |row| row.kind == DATA && row.subtype == subtype)
        };
        let mut keys = Vec::new();
        for row in rows(NVS_KEYS) {
            let bytes = Zeroizing::new(flash.view(row).head(64)?);
            let key = <[u8; 64]>::try_from(bytes.as_slice())
                .ok()
                .map(Zeroizing::new);
            keys.extend(key.and_then(|key| NvsKey::new(&key).ok()));
        }
        for row in rows(NVS) {
            let bytes = Zeroizing::new(flash.view(row).raw().head(row.size as usize)?);
            let tried = std::iter::once(None).chain(keys.iter().map(Some));
            let seed = tried
                .filter_map(|key| parse_partition(&bytes, key).ok())
                .find_map(|dump| seed_in(&dump.csv));
            if seed.is_some() {
                return Ok(seed);
            }
        }
        Ok(None)
    }
}

/// The flash as the chip reads it.
struct Flash<'f> {
    source: &'f Source,
    cipher: Option<&'f dyn FlashCipher>,
}

impl<'f> Flash<'f> {
    fn table(&self, offset: u32) -> Result<PartitionTable, Error> {
        let bytes = View::new(
            self.source,
            self.cipher,
            offset.into(),
            MAX_TABLE_LEN as u64,
        )
        .head(MAX_TABLE_LEN)?;
        PartitionTable::from_binary(&bytes)
            .map_err(|fault| Error::refused("the partition table", fault.to_string(), ""))
    }

    fn view(&self, row: &Partition) -> View<'f> {
        View::new(self.source, self.cipher, row.offset.into(), row.size.into())
    }
}

/// 32 bytes called `seed`, as text in hex or as a blob.
fn seed_in(csv: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut rows = csv::Reader::from_reader(csv.as_bytes())
        .into_records()
        .flatten();
    rows.find_map(|row| {
        let value = row.get(3).filter(|_| row.get(0) == Some("seed"))?;
        let bytes = hex::decode(value)
            .ok()
            .or_else(|| STANDARD.decode(value).ok())?;
        let text = std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| hex::decode(text).ok());
        let seed = <[u8; 32]>::try_from(bytes)
            .ok()
            .or_else(|| <[u8; 32]>::try_from(text?).ok())?;
        Some(Zeroizing::new(seed))
    })
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| Error::io("read", path, error))
}

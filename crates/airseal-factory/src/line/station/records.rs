//! What is known of a finished board: its record, its label, and what becomes of its keys.

use std::collections::BTreeSet;

use airseal_esp::partition::{Partition, PartitionTable};
use airseal_pack::Error;
use airseal_pack::bundle::read_small;
use airseal_pack::entropy::SystemEntropy;
use airseal_pack::key::{KeyFile, KeyRole, NoPassphrase};
use airseal_pack::output::{Access, Existing, write_durable};
use airseal_pack::recipient::{Recipient, Recipients};
use sha2::{Digest, Sha256};

use super::{Job, MAX_FILE, Station, devices};
use crate::batch::{RegionPlan, RegionSource};
use crate::boxes;
use crate::config::AfterVerification;
use crate::journal::{Outcome, Step};
use crate::labels::{self, LabelValues};
use crate::line::simulated::KnownImage;
use crate::prepare::{AT_REST, ESCROW};
use crate::record::{DeviceKeys, DeviceRecord, FactoryImage, device_id};
use crate::secrets::{DeviceSecrets, is_there, shred};

impl Station<'_> {
    pub(super) fn record(&self, job: &mut Job<'_, '_>) -> Result<String, Error> {
        let known = self.record_of(&job.serial)?;
        if let Some(record) = &known
            && record.mac != job.mac
        {
            return Err(Error::refused(
                &job.serial,
                format!(
                    "is recorded for the chip {}, and this one is {}",
                    record.mac, job.mac
                ),
                "compare label and board",
            ));
        }
        let record = match known {
            Some(record) => record,
            None => {
                let record = self.device_record(job)?;
                self.append(&record)?;
                record
            }
        };
        // A cut after the keys went: the label was written before them. Only a box that is not there says so; one that can't
        // be opened is an error.
        if is_there(&self.folder.box_of(&job.serial))? && !self.is_escrowed(job)? {
            self.label(job)?;
            self.keys_go(job)?;
        }
        Ok(devices::digest_of(&record))
    }

    fn label(&self, job: &mut Job<'_, '_>) -> Result<(), Error> {
        let Some(label) = &self.config.label else {
            return Ok(());
        };
        let claim = self.secrets(job)?.claim.clone();
        let values = LabelValues::new(&self.config, &job.serial, &job.mac, &claim);
        labels::write(label, &self.folder.path().join("labels"), &values)
    }

    fn keys_go(&self, job: &mut Job<'_, '_>) -> Result<(), Error> {
        let path = self.folder.box_of(&job.serial);
        match self.config.keys.after {
            AfterVerification::Destroy => {
                job.secrets = None;
                shred(&path)
            }
            AfterVerification::Escrow => {
                self.secrets(job)?;
                let secrets = job.secrets.take().unwrap_or_default();
                self.seal(&job.serial, &secrets, ESCROW)
            }
        }
    }

    /// True if a cut came after the box was sealed to those who keep it: the station's own key opens it no more.
    fn is_escrowed(&self, job: &Job<'_, '_>) -> Result<bool, Error> {
        if self.config.keys.after != AfterVerification::Escrow {
            return Ok(false);
        }
        let path = self.folder.box_of(&job.serial);
        let holders = boxes::holders(&read_small(&path, MAX_FILE, "a box")?);
        let ids = |kind| {
            let recipients = self.recipients(kind)?;
            Ok::<_, Error>(
                recipients
                    .iter()
                    .map(|(id, _)| *id)
                    .collect::<BTreeSet<_>>(),
            )
        };
        let escrow = ids(ESCROW)?;
        Ok(holders == escrow && escrow != ids(AT_REST)?)
    }

    /// Removes the boxes that a cut left behind after the journal said that their keys are gone.
    pub(super) fn sweep(&self) -> Result<(), Error> {
        let destroys = self.config.keys.after == AfterVerification::Destroy;
        let gone = self.journal.entries().iter().filter(|entry| {
            let kind = entry.step == Step::Scrap || (destroys && entry.step == Step::Record);
            kind && entry.outcome == Outcome::Done
        });
        let gone: BTreeSet<&str> = gone.map(|entry| entry.serial.as_str()).collect();
        let entries = self.journal.entries().iter();
        let imported = entries.filter(|entry| entry.step == Step::Import);
        let imported = imported.map(|entry| &entry.serial);
        let of_the_batch = self.description.serials.iter();
        of_the_batch
            .chain(imported)
            .filter(|serial| gone.contains(serial.as_str()))
            .try_for_each(|serial| shred(&self.folder.box_of(serial)))
    }

    /// Seals a box anew, to those who hold its kind of keys.
    pub(super) fn seal(
        &self,
        serial: &str,
        secrets: &DeviceSecrets,
        kind: &str,
    ) -> Result<(), Error> {
        let sealed = boxes::seal(
            self.context(serial),
            secrets,
            &self.recipients(kind)?,
            &SystemEntropy,
        )?;
        write_durable(
            &self.folder.box_of(serial),
            &sealed,
            Existing::Replace,
            Access::Owner,
        )
    }

    fn recipients(&self, kind: &str) -> Result<Recipients, Error> {
        let mut recipients = Recipients::new();
        let prefix = format!("{kind}-");
        for (name, text) in &self.files {
            if name.starts_with(&prefix) && name.ends_with(".pub") {
                let path = self.folder.common(name).display().to_string();
                let key = KeyFile::parse(&path, text, Some(KeyRole::Recipient), &NoPassphrase)?;
                recipients.add(Recipient::from_key(&path, &key)?);
            }
        }
        if recipients.is_empty() && kind == AT_REST {
            let path = self.folder.path().join(crate::prepare::TEST_KEY);
            recipients.add(Recipient::read(&path, &NoPassphrase)?.key);
        }
        Ok(recipients)
    }

    fn device_record(&self, job: &mut Job<'_, '_>) -> Result<DeviceRecord, Error> {
        let secrets = self.secrets(job)?;
        let seed = <[u8; 32]>::try_from(secrets.seed.as_slice()).ok();
        let vendor_image = seed
            .as_ref()
            .filter(|_| self.config.device_key.vendor_image);
        let vendor_image = vendor_image.map(DeviceKeys::vendor_image).transpose()?;
        let check = Sha256::new_with_prefix(b"airseal1 fe")
            .chain_update(&*secrets.flash_key)
            .finalize();
        let mut check = hex::encode(check);
        check.truncate(if secrets.flash_key.is_empty() { 0 } else { 32 });
        let mut keys = seed.as_ref().map(DeviceKeys::derive).unwrap_or_default();
        keys.vendor_image = vendor_image;
        let digests = self
            .plan
            .keys()
            .filter(|key| key.readable)
            .enumerate()
            .map(|(index, _)| self.part(&format!("digest{index}.bin")).map(hex::encode));
        Ok(DeviceRecord {
            schema: DeviceRecord::schema(),
            serial: job.serial.clone(),
            mac: job.mac.clone(),
            device_id: seed.as_ref().map(device_id).unwrap_or_default(),
            vendor: self.config.vendor.clone(),
            class: self.config.class.clone(),
            hw_rev: self.config.hw_rev,
            chip: self.description.chip.clone(),
            keys,
            flash_key_check: check,
            sb_digests: digests.collect::<Result<_, _>>()?,
            factory: FactoryImage {
                version: self.config.release.version.clone(),
                seq: self.config.release.seq,
                security_version: self.config.release.security_version,
                sha256: self
                    .first_image()?
                    .map(|image| image.sha256)
                    .unwrap_or_default(),
            },
            batch: self.description.batch.clone(),
            tags: self.config.batch.tags.clone(),
            provisioned_at: (self.shift.clock)(),
            station: self.shift.who.station.clone(),
            keys_after: match self.config.keys.after {
                AfterVerification::Destroy => "destroyed".to_owned(),
                AfterVerification::Escrow => "escrowed".to_owned(),
            },
            state: None,
        })
    }

    /// The application that boots first, with the version that its firmware prints.
    ///
    /// # Errors
    /// `Io`; refused if the batch's partition table was changed.
    pub fn first_image(&self) -> Result<Option<KnownImage>, Error> {
        let table = self.table()?;
        let label = |row: &Partition| String::from_utf8_lossy(row.label.as_bytes()).into_owned();
        let otadata = table.as_slice().iter().find(|row| row.is_otadata());
        let selected = otadata.and_then(|row| self.config.flash.partitions.get(&label(row)));
        let slot = selected
            .and_then(|content| content.strip_prefix("ota_"))
            .and_then(|number| number.parse().ok());
        let row = table.as_slice().iter().find(|row| match slot {
            Some(slot) => row.ota_slot() == Some(slot),
            None => row.is_factory(),
        });
        let region = row.and_then(|row| {
            self.description
                .regions
                .iter()
                .find(|region| region.address == row.offset)
        });
        Ok(match region.map(|region| &region.source) {
            Some(RegionSource::Common { len, sha256, .. }) => Some(KnownImage {
                len: usize::try_from(*len).unwrap_or(usize::MAX),
                sha256: sha256.clone(),
                version: self.config.release.version.clone(),
            }),
            _ => None,
        })
    }

    /// Where the partition table lies.
    pub fn table_offset(&self) -> u32 {
        self.table_region()
            .map_or(airseal_esp::partition::DEFAULT_TABLE_OFFSET, |region| {
                region.address
            })
    }

    fn table_region(&self) -> Option<&RegionPlan> {
        self.description
            .regions
            .iter()
            .find(|region| region.name == "partition-table")
    }

    fn table(&self) -> Result<PartitionTable, Error> {
        let missing = || {
            Error::refused(
                "batch.json",
                "has no partition table",
                "bring it back from a copy of the batch",
            )
        };
        let Some(RegionSource::Common { file, sha256, .. }) =
            self.table_region().map(|region| &region.source)
        else {
            return Err(missing());
        };
        PartitionTable::from_binary(&self.common(file, sha256)?).map_err(|_| missing())
    }
}

//! The folder of a batch: its public description, and who works on it.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use airseal_pack::Error;
use airseal_pack::bundle::read_small;
use airseal_pack::output::{Access, Existing, sync_folder, write_durable, write_file};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::journal::Journal;

/// What `batch.json` calls itself.
const SCHEMA: &str = "airseal.batch/1";

/// The description's file.
pub(crate) const DESCRIPTION: &str = "batch.json";

/// Longest description that is read, bytes.
pub(crate) const MAX_DESCRIPTION: u64 = 256 << 20;

/// `batch.json`: public.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Always `airseal.batch/1`.
    pub schema: String,
    /// The batch.
    pub batch: String,
    /// The product.
    pub product: String,
    /// The chip.
    pub chip: String,
    /// Bytes of flash.
    pub flash_size: u64,
    /// The version of airseal that made it.
    pub made_by: String,
    /// Every setting, and the SHA-256 of every file a setting names: what may not change any more.
    pub settings: BTreeMap<String, String>,
    /// SHA-256, hex, of every other file of `common/` that boards are made from: configuration, plan, digests of secure boot
    /// keys, and the public keys that boxes are sealed to.
    pub files: BTreeMap<String, String>,
    /// What is flashed, ascending by address.
    pub regions: Vec<RegionPlan>,
    /// The region that holds the device's seed, if it lies in flash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed_row: Option<String>,
    /// Serials in the order they are taken.
    pub serials: Vec<String>,
}

/// Bytes at one address of every board.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionPlan {
    /// `bootloader`, `partition-table`, or the row's name.
    pub name: String,
    /// Where it lies in flash.
    pub address: u32,
    /// Whether flash encryption covers it.
    pub encrypted: bool,
    /// Where its bytes come from.
    pub source: RegionSource,
}

/// Where the bytes of a region come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RegionSource {
    /// A file in `common/`, the same for every device; plain, signed if it is code.
    Common {
        /// Its name.
        file: String,
        /// Bytes.
        len: u64,
        /// SHA-256, hex.
        sha256: String,
    },
    /// The NVS keys in the device's box, as a key partition.
    NvsKeys,
    /// An NVS partition in the device's box.
    Nvs,
}

/// The fixed regions: every table lies behind them.
pub(crate) const BOOTLOADER: &str = "bootloader";
pub(crate) const PARTITION_TABLE: &str = "partition-table";

/// What a row must be called to get content: its name becomes that of files, on stations too.
pub(crate) fn is_part_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=16).contains(&name.len())
        && name.bytes().all(plain)
        && !name.starts_with(['.', '-'])
        && ![BOOTLOADER, PARTITION_TABLE].contains(&name)
        && !name
            .strip_prefix("digest")
            .is_some_and(|rest| rest.len() == 1 && rest.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Longest serial, bytes.
pub(crate) const MAX_SERIAL: usize = 64;

/// Whether serials and batches may be called so.
pub(crate) fn names_a_file(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && !text.starts_with(['.', '-'])
}

/// A batch folder that nobody else works on.
pub struct BatchFolder {
    path: PathBuf,
    lock: File,
}

impl BatchFolder {
    /// Makes the folder if it is not there, and takes its lock.
    ///
    /// # Errors
    /// `Io`; refused if another station or program holds the lock.
    pub fn open(path: &Path) -> Result<BatchFolder, Error> {
        for folder in [path.to_owned(), path.join("common"), path.join("sealed")] {
            std::fs::create_dir_all(&folder).map_err(|error| Error::io("make", &folder, error))?;
        }
        let lock_path = path.join(".lock");
        let lock =
            File::create(&lock_path).map_err(|error| Error::io("make", &lock_path, error))?;
        if lock.try_lock().is_err() {
            return Err(Error::refused(
                path.display().to_string(),
                "another program works on this batch",
                "one station at a time: wait for it, or give the second station a batch of its own",
            ));
        }
        Ok(BatchFolder {
            path: path.to_owned(),
            lock,
        })
    }

    /// True if the folder has the description of a batch.
    pub fn is_batch(folder: &Path) -> bool {
        folder.join(DESCRIPTION).is_file()
    }

    /// Removes pieces of files that a killed run was writing; the lock says that nobody else does.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn remove_pieces(&self) -> Result<(), Error> {
        for folder in [
            self.path.clone(),
            self.path.join("common"),
            self.path.join("sealed"),
        ] {
            let entries =
                std::fs::read_dir(&folder).map_err(|error| Error::io("read", &folder, error))?;
            for entry in entries.flatten() {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                if name.starts_with(".airseal-") && name.ends_with(".part") {
                    let path = entry.path();
                    std::fs::remove_file(&path)
                        .map_err(|error| Error::io("remove", &path, error))?;
                }
            }
        }
        Ok(())
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The journal's file.
    pub fn journal(&self) -> PathBuf {
        BatchFolder::journal_of(&self.path)
    }

    /// The journal's file of the batch in `folder`.
    pub fn journal_of(folder: &Path) -> PathBuf {
        folder.join("journal.jsonl")
    }

    /// The box of a device.
    pub fn box_of(&self, serial: &str) -> PathBuf {
        self.path.join("sealed").join(format!("{serial}.box"))
    }

    /// A file that is the same for every device.
    pub fn common(&self, name: &str) -> PathBuf {
        self.path.join("common").join(name)
    }

    /// The description; `None` in a new folder.
    ///
    /// # Errors
    /// `Io`; refused if it is damaged.
    pub fn description(&self) -> Result<Option<Description>, Error> {
        if !self.path.join(DESCRIPTION).exists() {
            return Ok(None);
        }
        Description::read(&self.path).map(Some)
    }

    /// Begins the journal, bound to the description, and writes the description.
    ///
    /// # Errors
    /// `Io`; refused if there is a journal with lines of boards.
    pub fn describe(&self, description: &Description) -> Result<(), Error> {
        let path = self.path.join(DESCRIPTION);
        let text = json(&path, description)?;
        // What it names is on the disk before it is.
        sync_files(&self.path.join("common"))?;
        Journal::begin(&self.journal(), Sha256::digest(&text).into())?;
        write_durable(&path, &text, Existing::Replace, Access::Public)
    }

    /// The files of `common/` that have these names, as the description has them.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn digests(&self, names: Vec<String>) -> Result<BTreeMap<String, String>, Error> {
        let digest = |name: String| {
            let bytes = read_small(&self.common(&name), MAX_DESCRIPTION, "a part of a batch")?;
            Ok((name, hex::encode(Sha256::digest(&bytes))))
        };
        names.into_iter().map(digest).collect()
    }

    /// The files of `common/` that `batch.json` has a digest of, by name: a file that is read again may be another one. Refuses
    /// those that are not as the batch was made with, and public keys that came later.
    ///
    /// # Errors
    /// `Io`; refused with the file's name.
    pub(crate) fn check_files(
        &self,
        description: &Description,
    ) -> Result<BTreeMap<String, Vec<u8>>, Error> {
        let refuse = |name: &str, what: &str, remedy: &str| {
            Err(Error::refused(
                self.common(name).display().to_string(),
                what,
                remedy,
            ))
        };
        let mut files = BTreeMap::new();
        for (name, digest) in &description.files {
            let bytes = read_small(&self.common(name), MAX_DESCRIPTION, "a part of a batch")?;
            if *digest != hex::encode(Sha256::digest(&bytes)) {
                return refuse(
                    name,
                    "was changed since the batch was made: its SHA-256 is not that of batch.json",
                    "bring it back from a copy of the batch",
                );
            }
            files.insert(name.clone(), bytes);
        }
        let folder = self.common("");
        let io = |error| Error::io("read", &folder, error);
        for entry in std::fs::read_dir(&folder).map_err(io)? {
            let name = entry
                .map_err(io)?
                .file_name()
                .to_string_lossy()
                .into_owned();
            if name.ends_with(".pub") && !description.files.contains_key(&name) {
                return refuse(
                    &name,
                    "is no key of the batch: batch.json does not have it",
                    "find out who put it there, and remove it",
                );
            }
        }
        Ok(files)
    }
}

impl Drop for BatchFolder {
    fn drop(&mut self) {
        // A tool that is being started may hold a copy of the handle for a moment: the lock goes now all the same.
        let _ = self.lock.unlock();
    }
}

impl Description {
    /// Reads the description of the batch in `folder`.
    ///
    /// # Errors
    /// `Io`; refused if the folder is no batch, or the description is damaged.
    pub fn read(folder: &Path) -> Result<Description, Error> {
        Description::read_hashed(folder).map(|(description, _)| description)
    }

    /// The same with the SHA-256 of the file.
    pub(crate) fn read_hashed(folder: &Path) -> Result<(Description, [u8; 32]), Error> {
        let path = folder.join(DESCRIPTION);
        if !path.is_file() {
            return Err(Error::refused(
                folder.display().to_string(),
                "is no batch: it has no batch.json",
                "make one with airseal esp provision",
            ));
        }
        let text = read_small(&path, MAX_DESCRIPTION, "the description of a batch")?;
        let refuse = |what: String| {
            Error::refused(
                path.display().to_string(),
                what,
                "bring it back from a copy",
            )
        };
        let description: Description = serde_json::from_slice(&text)
            .map_err(|error| refuse(format!("is damaged: {error}")))?;
        if description.schema != SCHEMA {
            return Err(refuse(format!(
                "has the schema {:?}, not {SCHEMA}",
                description.schema
            )));
        }
        if let Some(name) = description.bad_name() {
            return Err(refuse(format!(
                "has the name {name:?}, which can't be that of a file"
            )));
        }
        Ok((description, Sha256::digest(&text).into()))
    }

    /// The first name that would lead out of the folder, or onto another file.
    fn bad_name(&self) -> Option<&str> {
        let region = |region: &&RegionPlan| {
            let fixed = [BOOTLOADER, PARTITION_TABLE].contains(&region.name.as_str());
            let file = match &region.source {
                RegionSource::Common { file, .. } => *file == format!("{}.bin", region.name),
                RegionSource::NvsKeys | RegionSource::Nvs => true,
            };
            !((fixed || is_part_name(&region.name)) && file)
        };
        let regions = self.regions.iter().find(region);
        let serials = self
            .serials
            .iter()
            .find(|serial| !names_a_file(serial, MAX_SERIAL));
        let batch = (!names_a_file(&self.batch, 32)).then_some(self.batch.as_str());
        batch
            .or(regions.map(|region| region.name.as_str()))
            .or(serials.map(String::as_str))
    }

    /// A description of now.
    pub fn new(batch: &str, product: &str, chip: &str, flash_size: u64) -> Description {
        Description {
            schema: SCHEMA.to_owned(),
            batch: batch.to_owned(),
            product: product.to_owned(),
            chip: chip.to_owned(),
            flash_size,
            made_by: format!("airseal {}", env!("CARGO_PKG_VERSION")),
            settings: BTreeMap::new(),
            files: BTreeMap::new(),
            regions: Vec::new(),
            seed_row: None,
            serials: Vec::new(),
        }
    }

    /// Refuses `now` if a setting is not as it was.
    ///
    /// # Errors
    /// Refused with the names of the settings; `folder` is for the message.
    pub fn refuse_changes(&self, now: &Description, folder: &Path) -> Result<(), Error> {
        let changed = self.changed(now);
        if changed.is_empty() {
            return Ok(());
        }
        Err(Error::refused(
            folder.display().to_string(),
            format!("was made from other settings: {}", changed.join(", ")),
            "take the settings back, or make a new batch with its own id and folder",
        ))
    }

    /// The settings that are not as they were, by name.
    pub fn changed(&self, other: &Description) -> Vec<String> {
        let names = self.settings.keys().chain(other.settings.keys());
        let mut changed: Vec<String> = names
            .filter(|name| self.settings.get(*name) != other.settings.get(*name))
            .cloned()
            .collect();
        changed.sort();
        changed.dedup();
        changed
    }
}

/// Waits until every file of a folder, and its name, is on the disk. All at once: a file system writes them in one go.
///
/// # Errors
/// `Io`.
pub(crate) fn sync_files(folder: &Path) -> Result<(), Error> {
    let io = |error| Error::io("write", folder, error);
    let entries: Result<Vec<_>, _> = std::fs::read_dir(folder).map_err(io)?.collect();
    let paths: Vec<PathBuf> = entries
        .map_err(io)?
        .iter()
        .map(std::fs::DirEntry::path)
        .collect();
    let sync = |path: &PathBuf| File::open(path).and_then(|file| file.sync_all());
    std::thread::scope(|scope| {
        let at_work: Vec<_> = paths
            .iter()
            .map(|path| scope.spawn(move || sync(path)))
            .collect();
        at_work.into_iter().try_for_each(|thread| {
            let lost = |_| std::io::Error::other("a thread that synced it ended");
            thread.join().map_err(lost).and_then(|synced| synced)
        })
    })
    .map_err(io)?;
    sync_folder(folder)
}

/// A public JSON file, readable for people.
///
/// # Errors
/// `Io`.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    write_file(path, &json(path, value)?, Existing::Replace, Access::Public)
}

fn json(path: &Path, value: &impl Serialize) -> Result<Vec<u8>, Error> {
    let mut text =
        serde_json::to_vec_pretty(value).map_err(|error| Error::io("write", path, error.into()))?;
    text.push(b'\n');
    Ok(text)
}

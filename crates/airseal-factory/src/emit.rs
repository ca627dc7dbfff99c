//! A folder for each device, for lines that work without Airseal: files with their address in the name, and scripts.
//!
//! The folder is written under a name of its own, then the device's box, then the folder gets its final name. Whatever stops
//! in between, the next run either goes on with these keys or finds no box, removes what was staged and draws new ones, never
//! both. A file with the whole flash holds no key and is beside all this: its device stays one for `esp line`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use airseal_esp::Chip;
use airseal_pack::Error;
use airseal_pack::bundle::read_small;
use airseal_pack::output::{Access, Existing, write_durable, write_file};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::batch::{BatchFolder, Description, RegionSource, sync_files, write_json};
use crate::config::Order;
use crate::efuse::{BurnedKey, EfusePlan};
use crate::regions::{device_bytes, file_name};
use crate::secrets::DeviceSecrets;

mod scripts;

use scripts::{Scripts, key_file};

/// Largest common file that is read, bytes.
const MAX_COMMON: u64 = 256 << 20;

/// What is written for each device beside its box.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Emit {
    /// Region files, key files and scripts.
    pub files: bool,
    /// One file with the whole flash, in `merged/`; keys stay in the box.
    pub merged: bool,
}

/// Writes device folders of one batch.
pub(crate) struct Emitter<'b> {
    emit: Emit,
    folder: &'b BatchFolder,
    description: &'b Description,
    chip: Chip,
    efuses: &'b EfusePlan,
    order: Order,
    common: BTreeMap<String, Vec<u8>>,
}

impl<'b> Emitter<'b> {
    /// `None` if nothing is asked for.
    ///
    /// # Errors
    /// `Io`; refused for a common file that is not what the description says.
    pub(crate) fn new(
        emit: Emit,
        folder: &'b BatchFolder,
        description: &'b Description,
        chip: Chip,
        efuses: &'b EfusePlan,
        order: Order,
    ) -> Result<Option<Emitter<'b>>, Error> {
        if emit == Emit::default() {
            return Ok(None);
        }
        let mut common = BTreeMap::new();
        for region in &description.regions {
            if let RegionSource::Common { file, sha256, .. } = &region.source {
                common.insert(file.clone(), read_common(folder, file, sha256)?);
            }
        }
        Ok(Some(Emitter {
            emit,
            folder,
            description,
            chip,
            efuses,
            order,
            common,
        }))
    }

    /// Writes everything of a device, not yet under its name.
    ///
    /// # Errors
    /// `Io`; refused if a part does not fit.
    pub(crate) fn stage(&self, serial: &str, secrets: &DeviceSecrets) -> Result<(), Error> {
        let staged = staged(self.folder, serial);
        if self.emit.files {
            make_private(&staged)?;
        }
        let mut whole = self.whole_flash();
        let mut flash_args = "--flash-mode keep --flash-freq keep --flash-size keep\n".to_owned();
        for region in &self.description.regions {
            let bytes = device_bytes(self.chip, region, secrets, |file, _| {
                let missing = || {
                    Error::refused(
                        file,
                        "is not in common/",
                        "bring it back from a copy of the batch",
                    )
                };
                self.common.get(file).cloned().ok_or_else(missing)
            })?;
            if let Some(whole) = &mut whole {
                place(whole, region.address, &bytes, &region.name)?;
            }
            if self.emit.files {
                let name = file_name(region);
                private(&staged.join(&name), &bytes)?;
                let _ = writeln!(flash_args, "{:#x} {name}", region.address);
            }
        }
        if let Some(whole) = whole {
            let folder = self.folder.path().join("merged");
            make_private(&folder)?;
            // Without the box that follows it is nobody's, and the next run writes another in its place.
            let path = folder.join(format!("{serial}@0x0.bin"));
            write_durable(&path, &whole, Existing::Replace, Access::Owner)?;
        }
        if !self.emit.files {
            return Ok(());
        }
        private(&staged.join("flash.args"), flash_args.as_bytes())?;
        self.keys(&staged, secrets)?;
        self.scripts(&staged, serial)?;
        write_json(&staged.join("expect-efuse.json"), &self.efuses.expect)?;
        // The box that follows is durable: so are the keys outside of it.
        sync_files(&staged)
    }

    fn whole_flash(&self) -> Option<Zeroizing<Vec<u8>>> {
        let len = usize::try_from(self.description.flash_size).ok()?;
        self.emit.merged.then(|| Zeroizing::new(vec![0xFF; len]))
    }

    fn keys(&self, staged: &Path, secrets: &DeviceSecrets) -> Result<(), Error> {
        for key in self.efuses.keys() {
            let path = staged.join(key_file(key.key));
            match key.key {
                BurnedKey::Flash => private(&path, &secrets.flash_key)?,
                BurnedKey::Seed => private(&path, &secrets.seed)?,
                BurnedKey::Digest(number) => {
                    let digest = read_small(
                        &self.folder.common(&format!("digest{number}.bin")),
                        32,
                        "a digest",
                    )?;
                    private(&path, &digest)?;
                }
                BurnedKey::BootloaderDigestKey => {
                    return Err(Error::refused(
                        "secure boot v1",
                        "is not provisioned",
                        "use v2",
                    ));
                }
            }
        }
        Ok(())
    }

    fn scripts(&self, staged: &Path, serial: &str) -> Result<(), Error> {
        let force = if self.order == Order::BurnFirst {
            " --force"
        } else {
            ""
        };
        let chip = self.chip.name();
        let flash = format!(
            "esptool --chip {chip} --port PORT --after no-reset write-flash{force} @flash.args"
        );
        let before = match self.order {
            Order::FlashFirst => format!(
                "First write and verify the flash, without a start of the board in between:\n#   {flash}\n#   esptool --chip {chip} --port PORT --after no-reset verify-flash @flash.args"
            ),
            Order::BurnFirst => format!("Before the flash is written:\n#   {flash}"),
        };
        Scripts {
            serial,
            chip,
            efuses: self.efuses,
            before: &before,
        }
        .write(staged)
    }
}

/// Removes what a run that was killed had staged for a device: without a box its keys are nobody's.
///
/// # Errors
/// `Io`.
pub(crate) fn discard(folder: &BatchFolder, serial: &str) -> Result<(), Error> {
    let staged = staged(folder, serial);
    match fs::remove_dir_all(&staged) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::io("remove", &staged, error))
        }
        _ => Ok(()),
    }
}

/// Gives a staged folder its name; true if there was one.
///
/// # Errors
/// `Io`.
pub(crate) fn publish(folder: &BatchFolder, serial: &str) -> Result<bool, Error> {
    let (from, to) = (
        staged(folder, serial),
        folder.path().join("devices").join(serial),
    );
    if !from.exists() {
        return Ok(false);
    }
    fs::rename(&from, &to).map_err(|error| Error::io("rename to", &to, error))?;
    Ok(true)
}

/// True if the device has its folder: its keys are out of the box, and another line may burn them. What can't be looked
/// up counts as there.
pub(crate) fn is_published(folder: &BatchFolder, serial: &str) -> bool {
    let path = folder.path().join("devices").join(serial);
    match fs::symlink_metadata(path) {
        Ok(_) => true,
        Err(error) => error.kind() != ErrorKind::NotFound,
    }
}

/// Refuses a serial that went to a line without Airseal.
///
/// # Errors
/// Refused: the same keys would go into a second chip.
pub(crate) fn refuse_published(folder: &BatchFolder, serial: &str) -> Result<(), Error> {
    if !is_published(folder, serial) {
        return Ok(());
    }
    Err(Error::refused(
        format!("serial {serial}"),
        "has its files in devices/ for a line without Airseal: its keys may be in a chip already",
        "take a serial without files, or a batch prepared without --emit files",
    ))
}

/// A file that is the same for every device, if it is what the description says.
///
/// # Errors
/// `Io`; refused if it was changed.
pub(crate) fn read_common(
    folder: &BatchFolder,
    file: &str,
    sha256: &str,
) -> Result<Vec<u8>, Error> {
    let path = folder.common(file);
    let bytes = read_small(&path, MAX_COMMON, "a part of a batch")?;
    if hex::encode(Sha256::digest(&bytes)) == sha256 {
        return Ok(bytes);
    }
    Err(Error::refused(
        path.display().to_string(),
        "was changed since the batch was made: its SHA-256 is not that of batch.json",
        "bring it back from a copy of the batch",
    ))
}

/// No serial begins with a dot.
fn staged(folder: &BatchFolder, serial: &str) -> PathBuf {
    folder
        .path()
        .join("devices")
        .join(format!(".{serial}.part"))
}

fn place(whole: &mut [u8], address: u32, bytes: &[u8], name: &str) -> Result<(), Error> {
    let from = usize::try_from(address).unwrap_or(usize::MAX);
    let part = whole
        .get_mut(from..)
        .and_then(|rest| rest.get_mut(..bytes.len()));
    let part = part.ok_or_else(|| {
        Error::refused(
            name,
            "reaches past the end of the flash",
            "see chip.flash_size",
        )
    })?;
    part.copy_from_slice(bytes);
    Ok(())
}

fn make_private(folder: &Path) -> Result<(), Error> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| Error::io("make", folder, error))
}

fn private(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write_file(path, bytes, Existing::Replace, Access::Owner)
}

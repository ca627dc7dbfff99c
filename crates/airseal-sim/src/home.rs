//! A device that outlives the program: its seed, model and flash in a directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use airseal_format::component::FlashEncryption;
use airseal_format::{ClassId, FlashKeyCheck, SecurityVersion, VendorId};
use airseal_pack::esp::flash_key;
use airseal_update::flash::Region;
use airseal_update::{Factory, Policy};
use serde::{Deserialize, Serialize};

use crate::device::{Model, SimDevice};
use crate::flash::SimFlash;

/// The directory of one device.
#[derive(Clone, Debug)]
pub struct Home {
    dir: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    vendor_id: String,
    class_id: String,
    hw_rev: u16,
    chip: u16,
    slot_len: u32,
    /// Scheme and check value of the flash key.
    #[serde(default)]
    flash_key: Option<(String, String)>,
    /// Offset and length of each slot, where they do not lie right behind the state.
    #[serde(default)]
    slots: Option<[[u32; 2]; 2]>,
    /// Signed bytes of the compiled-in keyset.
    keyset: String,
    /// The device has a factory image outside its slots.
    has_factory: bool,
    #[serde(default)]
    factory_security_version: u32,
    allow_plain: bool,
}

impl Home {
    /// The device in `dir`, which need not exist yet.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// True when a device lives here.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.path(MODEL).exists()
    }

    /// Makes a device with erased flash.
    ///
    /// # Errors
    /// The directory's, or `AlreadyExists`.
    pub fn create(&self, model: Model, seed: &[u8; 32]) -> io::Result<SimDevice> {
        if self.exists() {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("{} holds a device already", self.dir.display()),
            ));
        }
        fs::create_dir_all(&self.dir)?;
        write_private(&self.path(SEED), hex::encode(seed).as_bytes())?;
        let device = SimDevice::new(model, seed);
        self.save(&device)?;
        Ok(device)
    }

    /// Finds the device as it was left, powered on; boot it.
    ///
    /// # Errors
    /// The directory's; `InvalidData` for files that are not a device's.
    pub fn open(&self) -> io::Result<SimDevice> {
        let saved = fs::read(self.path(MODEL))?;
        let saved: Saved = serde_json::from_slice(&saved).map_err(|error| self.bad(&error))?;
        let seed = self.seed()?;
        let model = Model {
            vendor_id: VendorId(self.bytes(&saved.vendor_id)?),
            class_id: ClassId(self.bytes(&saved.class_id)?),
            hw_rev: saved.hw_rev,
            chip: saved.chip,
            keyset: hex::decode(&saved.keyset).map_err(|error| self.bad(&error))?,
            policy: Policy {
                allow_plain: saved.allow_plain,
                ..Policy::default()
            },
            flash_encryption: self.flash_encryption(saved.flash_key.as_ref())?,
            slot_len: saved.slot_len,
            slots: saved
                .slots
                .map(|slots| slots.map(|[offset, len]| Region { offset, len })),
            factory: saved.has_factory.then(|| Factory {
                security_version: SecurityVersion(saved.factory_security_version),
                ..Factory::default()
            }),
        };
        let flash = SimFlash::load(&self.path(FLASH), model.flash_len())?;
        Ok(SimDevice::with_flash(model, &seed, flash))
    }

    /// Writes the device's model and flash.
    ///
    /// # Errors
    /// The directory's.
    pub fn save(&self, device: &SimDevice) -> io::Result<()> {
        let model = device.model();
        let saved = Saved {
            vendor_id: model.vendor_id.to_string(),
            class_id: model.class_id.to_string(),
            hw_rev: model.hw_rev,
            chip: model.chip,
            slot_len: model.slot_len,
            flash_key: flash_key::check_value(model.flash_encryption).map(|check| {
                let scheme = flash_key::scheme_name(model.flash_encryption);
                (scheme.to_owned(), check.to_string())
            }),
            slots: model
                .slots
                .map(|slots| slots.map(|slot| [slot.offset, slot.len])),
            keyset: hex::encode(&model.keyset),
            has_factory: model.factory.is_some(),
            factory_security_version: model
                .factory
                .map_or(0, |factory| factory.security_version.0),
            allow_plain: model.policy.allow_plain,
        };
        let text = serde_json::to_vec_pretty(&saved).map_err(io::Error::other)?;
        let partial = self.path("device.partial");
        fs::write(&partial, text)?;
        fs::rename(&partial, self.path(MODEL))?;
        device.flash().save(&self.path(FLASH))
    }

    /// The seed of the device's keys.
    ///
    /// # Errors
    /// The file's; `InvalidData` for a damaged one.
    pub fn seed(&self) -> io::Result<[u8; 32]> {
        let text = fs::read_to_string(self.path(SEED))?;
        self.bytes(text.trim())
    }

    fn flash_encryption(&self, saved: Option<&(String, String)>) -> io::Result<FlashEncryption> {
        let Some((scheme, check)) = saved else {
            return Ok(FlashEncryption::None);
        };
        let check = FlashKeyCheck(self.bytes(check)?);
        let known = [
            FlashEncryption::Esp32Legacy(check),
            FlashEncryption::Xts128(check),
            FlashEncryption::Xts256(check),
        ];
        let found = known
            .into_iter()
            .find(|known| flash_key::scheme_name(*known) == scheme);
        found.ok_or_else(|| self.bad(&format_args!("no flash encryption is called {scheme}")))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn bytes<const N: usize>(&self, text: &str) -> io::Result<[u8; N]> {
        let mut out = [0; N];
        hex::decode_to_slice(text, &mut out).map_err(|error| self.bad(&error))?;
        Ok(out)
    }

    fn bad(&self, why: &dyn std::fmt::Display) -> io::Error {
        let text = format!(
            "{} is no simulated device: {why}; remove it or name another directory",
            self.dir.display()
        );
        io::Error::new(io::ErrorKind::InvalidData, text)
    }
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write;
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(bytes)
}

const MODEL: &str = "device.json";
const SEED: &str = "seed";
const FLASH: &str = "flash.bin";

//! The firmware that is sealed: what it is, whether it is whole, and whether it fits.

use std::path::Path;

use airseal_esp::image::{AppDescriptor, Descriptor};
use airseal_esp::partition::{DEFAULT_TABLE_OFFSET, PartitionTable};
use airseal_esp::{Chip, Image, ImageError, ImageFault};
use airseal_format::component::Component;
use airseal_format::component::RECORD_AREA_LEN;

use crate::Error;
use crate::esp::partitions::{self, TablePlace};
use crate::recognise::{FileKind, HEAD_LEN, Purpose, recognise};
use crate::source::Source;

/// Bytes of a secure-boot signature block behind the image.
pub const SECURE_BOOT_SECTOR: u64 = 4 * 1024;
const SECTOR: u64 = 4 * 1024;

/// What `--chip` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChipChoice {
    /// The image header says which chip; the image must be an undamaged Espressif one.
    Auto,
    /// Any bytes, for any device.
    None,
    /// The image must be an undamaged one for this chip.
    Chip(Chip),
}

impl ChipChoice {
    /// Reads the option's value.
    ///
    /// # Errors
    /// Usage error with the list of names.
    pub fn parse(text: &str) -> Result<ChipChoice, Error> {
        match text {
            "auto" => Ok(ChipChoice::Auto),
            "none" => Ok(ChipChoice::None),
            _ => Chip::from_name(text).map(ChipChoice::Chip).ok_or_else(|| {
                let names: Vec<&str> = Chip::ALL.iter().map(|chip| chip.name()).collect();
                Error::usage(
                    format!("no chip is called {text:?}"),
                    format!("use auto, none or one of {}", names.join(", ")),
                )
            }),
        }
    }
}

/// How firmware is checked before it is sealed.
#[derive(Clone, Copy, Debug)]
pub struct FirmwareChecks<'a> {
    /// Which chip it must be for.
    pub chip: ChipChoice,
    /// Consent to an Espressif image without an application descriptor.
    pub allow_no_descriptor: bool,
    /// A partition table whose smallest OTA slot it must fit.
    pub fits: Option<&'a Path>,
    /// Count the sector that a secure-boot signature will take.
    pub secure_boot_sector: bool,
    /// Count the record area that devices of ours keep behind the image.
    pub record_area: bool,
}

impl Default for FirmwareChecks<'_> {
    fn default() -> Self {
        Self {
            chip: ChipChoice::Auto,
            allow_no_descriptor: false,
            fits: None,
            secure_boot_sector: false,
            record_area: true,
        }
    }
}

/// Firmware that passed its checks.
pub struct Firmware {
    pub(crate) source: Source,
    pub(crate) image: Option<Image>,
}

impl Firmware {
    /// Opens and checks firmware; `-` is standard input.
    ///
    /// # Errors
    /// `Io` if it can't be read; refused if it is empty, of another kind (named), damaged, for another chip, or too large.
    pub fn open(path: &Path, checks: &FirmwareChecks<'_>) -> Result<Firmware, Error> {
        Self::check(Source::open(path)?, checks)
    }

    /// Checks firmware that is open already.
    ///
    /// # Errors
    /// As [`Firmware::open`].
    pub fn check(source: Source, checks: &FirmwareChecks<'_>) -> Result<Firmware, Error> {
        let name = source.name().to_owned();
        if source.is_empty() {
            return Err(Error::refused(name, "is empty", "name the firmware image"));
        }
        if source.len() > u64::from(u32::MAX) {
            return Err(Error::refused(
                name,
                format!(
                    "has {} bytes, a component has at most 4 GiB - 1",
                    source.len()
                ),
                "split it into components",
            ));
        }
        let image = match checks.chip {
            ChipChoice::None => None,
            ChipChoice::Auto => Some(read_image(&source, None, checks.allow_no_descriptor)?),
            ChipChoice::Chip(chip) => {
                Some(read_image(&source, Some(chip), checks.allow_no_descriptor)?)
            }
        };
        if checks.chip == ChipChoice::None
            && let Some(kind @ (FileKind::Bundle | FileKind::Html | FileKind::ErasedFlash)) =
                recognise(&source.head(0, HEAD_LEN)?)
            && (kind != FileKind::ErasedFlash || is_erased(&source)?)
        {
            return Err(Error::refused(
                name,
                format!("is {kind}"),
                kind.remedy(Purpose::Seal),
            ));
        }
        let firmware = Firmware { source, image };
        if let Some(path) = checks.fits {
            let (table, _) = firmware.read_table(path)?;
            let name = path.display().to_string();
            firmware.check_fits(&table, &name, checks)?;
        }
        Ok(firmware)
    }

    /// The file it was read from.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.source.len()
    }

    /// Never: empty firmware is refused.
    pub fn is_empty(&self) -> bool {
        self.source.is_empty()
    }

    /// The chip of an Espressif image.
    pub fn chip(&self) -> Option<Chip> {
        self.image.as_ref().map(|image| image.chip)
    }

    /// The application descriptor of an Espressif image.
    pub fn descriptor(&self) -> Option<&AppDescriptor> {
        self.image.as_ref().and_then(Image::app)
    }

    pub(crate) fn target_chip(&self) -> u16 {
        self.chip().map_or(Component::ANY_CHIP, Chip::id)
    }

    /// Reads the partition table of its devices, and says what is unusual about it.
    pub(crate) fn read_table(&self, path: &Path) -> Result<(PartitionTable, Vec<String>), Error> {
        let place = TablePlace {
            offset: DEFAULT_TABLE_OFFSET,
            flash_size: None,
            chip: self.chip(),
        };
        partitions::read(path, place)
    }

    /// Refuses firmware that does not fit the smallest OTA slot with what lies behind it; `name` is the table's.
    pub(crate) fn check_fits(
        &self,
        table: &PartitionTable,
        name: &str,
        checks: &FirmwareChecks<'_>,
    ) -> Result<(), Error> {
        let Some(slot) = table.smallest_ota_slot() else {
            return Err(Error::refused(
                name,
                "has no OTA slot (app, ota_0 to ota_15)",
                "updates need two of them",
            ));
        };
        let (with_signature, signature) = match checks.secure_boot_sector {
            true => (", signature sector", SECURE_BOOT_SECTOR),
            false => ("", 0),
        };
        let (with_record, record) = match checks.record_area {
            true => (" and record area", u64::from(RECORD_AREA_LEN)),
            false => ("", 0),
        };
        let needed = self.len().next_multiple_of(SECTOR) + signature + record;
        if needed <= u64::from(slot.size) {
            return Ok(());
        }
        Err(Error::refused(
            self.source.name(),
            format!(
                "image{with_signature}{with_record} need {needed} bytes, the smallest slot ({}) has {}",
                slot.label, slot.size
            ),
            "make the image smaller or the slots larger",
        ))
    }
}

fn read_image(
    source: &Source,
    wanted: Option<Chip>,
    allow_no_descriptor: bool,
) -> Result<Image, Error> {
    let name = source.name();
    let image = match Image::parse(&mut &*source) {
        Ok(image) => image,
        Err(ImageError::Read(error)) => return Err(error),
        Err(ImageError::Fault(ImageFault::Magic { found })) => {
            return Err(match recognise(&source.head(0, HEAD_LEN)?) {
                Some(kind) => Error::refused(
                    name,
                    format!("is {kind}, not an Espressif image"),
                    kind.remedy(Purpose::Seal),
                ),
                None => Error::refused(
                    name,
                    ImageFault::Magic { found }.to_string(),
                    "--chip none seals any bytes, without checks and for any chip",
                ),
            });
        }
        Err(ImageError::Fault(fault)) => {
            let head = source.head(0, HEAD_LEN)?;
            return Err(match recognise(&head) {
                Some(FileKind::Encrypted) => Error::refused(
                    name,
                    format!("is {}", FileKind::Encrypted),
                    FileKind::Encrypted.remedy(Purpose::Seal),
                ),
                _ => Error::Image {
                    file: name.to_owned(),
                    source: fault,
                },
            });
        }
    };
    if let Some(wanted) = wanted
        && wanted != image.chip
    {
        return Err(Error::refused(
            name,
            format!("chip_id at offset 12 says {}, not {wanted}", image.chip),
            "name the image built for this chip, or the chip it was built for",
        ));
    }
    match image.descriptor {
        Descriptor::App(_) => Ok(image),
        Descriptor::Bootloader { .. } => Err(Error::refused(
            name,
            "is a second-stage bootloader (descriptor at offset 32), not an application",
            "name the application image",
        )),
        Descriptor::None if allow_no_descriptor => Ok(image),
        Descriptor::None => Err(Error::refused(
            name,
            "has no application descriptor at offset 32, so its secure version can't be checked",
            "--no-app-descriptor consents to that",
        )),
    }
}

fn is_erased(source: &Source) -> Result<bool, Error> {
    let mut offset = 0;
    while offset < source.len() {
        let bytes = source.head(offset, 1 << 16)?;
        if bytes.iter().any(|byte| *byte != 0xFF) {
            return Ok(false);
        }
        offset += bytes.len() as u64;
    }
    Ok(true)
}

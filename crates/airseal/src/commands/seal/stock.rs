//! The vendor's container in place of a release, for devices whose firmware knows nothing else.

use std::path::{Path, PathBuf};

use airseal_pack::bridge::encrypted_img::EncryptKey;

use super::{Args, firmware};
use crate::commands::esp::encrypted_img;
use crate::commands::shared::Target;
use crate::failure::Failure;
use crate::ui::Ui;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Devices with stock firmware")]
pub(super) struct StockArgs {
    /// In place of a release, make Espressif's esp_encrypted_img container for this RSA-3072 or P-256 key: it hides the image and proves no origin
    #[arg(
        long,
        value_name = "PEM",
        conflicts_with_all = RELEASE_ONLY
    )]
    pub(super) stock_container: Option<PathBuf>,
}

/// What a container has no place for.
const RELEASE_ONLY: [&str; 23] = [
    "sign",
    "unsigned",
    "to",
    "to_list",
    "vendor",
    "class",
    "seq",
    "version",
    "hw_rev",
    "security_version",
    "min_security_version",
    "min_seq",
    "expires",
    "only",
    "keyset",
    "carry_group",
    "content_key_out",
    "suite",
    "small_ram",
    "detached",
    "raw_flash_key",
    "partitions",
    "flash_crypt_conf",
];

pub(super) fn run(args: &Args, key: &Path, ui: &Ui) -> Result<(), Failure> {
    let key_file = key.to_owned();
    let read = [&args.firmware, &key_file];
    let target = Target::new(
        &args.output,
        args.force,
        read.into_iter().chain(&args.image.fits),
    )?;
    ui.warn(WARNING);
    let key = EncryptKey::read(key)?;
    encrypted_img::make(&target, firmware(args)?.source(), &key, WARNING, ui)
}

const WARNING: &str = "the container is not signed and proves no origin: whoever has the public key can make one, so whoever can replace the file decides what devices run, unless secure boot checks the image";

//! The vendor's container in place of a release, for devices whose firmware knows nothing else.

use std::path::{Path, PathBuf};

use airseal_pack::OutputFile;
use airseal_pack::bridge::encrypted_img::{SealKey, encrypt};
use airseal_pack::entropy::SystemEntropy;
use airseal_pack::output::{Access, is_stdout};

use super::{Args, firmware};
use crate::commands::shared::distinct;
use crate::failure::Failure;
use crate::ui::Ui;
use crate::work;

#[derive(Debug, clap::Args)]
pub(super) struct StockArgs {
    /// In place of a release, make Espressif's esp_encrypted_img container for this RSA-3072 or P-256 key: it hides the image and proves no origin
    #[arg(
        long,
        value_name = "PEM",
        conflicts_with_all = RELEASE_ONLY,
        help_heading = "Devices with stock firmware"
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
    let target = &args.output;
    let inputs = [&args.firmware, &key.to_owned()];
    distinct(inputs.into_iter().chain(&args.fits), target)?;
    ui.warn(WARNING);
    let key = SealKey::read(key)?;
    let firmware = firmware(args)?;
    let output = OutputFile::create(target, args.force.existing(), Access::Public)?;
    work::run(ui, |control| {
        encrypt(firmware.source(), &key, &SystemEntropy, &output, control)
    })?;
    output.commit()?;
    if is_stdout(target) {
        return Ok(());
    }
    let scheme = key.scheme();
    let file = target.display().to_string();
    ui.result(
        &serde_json::json!({ "file": file, "scheme": scheme, "warning": WARNING }),
        |_| format!("{file}: encrypted, {scheme}; not signed"),
    )
}

const WARNING: &str = "the container proves no origin: whoever has the public key can make one, so whoever can replace the file decides what devices run, unless secure boot checks the image";

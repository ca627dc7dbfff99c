use std::fmt::Write as _;
use std::path::PathBuf;

use airseal_esp::Chip;
use airseal_pack::esp::boot_key::BootPublicKey;
use airseal_pack::esp::dump::FlashCipher;
use airseal_pack::esp::flash_check::{FlashCheck, RollbackKind, SignatureCheck, Verdict};
use airseal_pack::esp::flash_key;
use airseal_pack::esp::signatures::BootKeys;
use airseal_pack::source::Source;

use super::otadata::records_text;
use super::shared::{RollbackChoice, address, chip, crypt_config};
use crate::failure::Failure;
use crate::ui::Ui;

/// Say whether a chip would boot from a flash dump, and what; if not, why not
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The dump of the whole flash, from address 0; - is standard input
    #[arg(value_name = "DUMP")]
    dump: PathBuf,

    /// The chip it belongs to
    #[arg(long, value_name = "CHIP", value_parser = chip())]
    chip: Chip,

    /// The flash encryption key, as bare bytes; without it the flash is taken as it is
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,

    /// The original ESP32's FLASH_CRYPT_CONFIG
    #[arg(long, value_name = "N", value_parser = crypt_config, default_value = "0xF", requires = "key")]
    flash_crypt_conf: u8,

    /// Check the signatures of secure boot v2: keys in PEM form, of which one must have signed
    #[arg(long, value_name = "PEM", num_args = 1..)]
    sb_key: Vec<PathBuf>,

    /// Where the partition table lies in flash
    #[arg(long, value_name = "ADDRESS", value_parser = address, default_value = "0x8000")]
    table_offset: u32,

    /// How the bootloader was built: no rollback, rollback, or rollback with anti-rollback
    #[arg(long, value_enum, default_value = "none")]
    rollback: RollbackChoice,

    /// With anti-rollback: the secure version in the chip's eFuses
    #[arg(long, value_name = "N", default_value_t = 0)]
    efuse_version: u32,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let source = Source::open(&args.dump)?;
    let key = match &args.key {
        Some(path) => Some(flash_key::read(path, args.chip, args.flash_crypt_conf)?),
        None => None,
    };
    let keys = args.sb_key.iter().map(|path| BootPublicKey::read(path));
    let keys = BootKeys(keys.collect::<Result<_, _>>()?);
    let verdict = FlashCheck {
        chip: args.chip,
        cipher: key.as_ref().map(|key| key as &dyn FlashCipher),
        table_offset: args.table_offset,
        rollback: match args.rollback {
            RollbackChoice::None => RollbackKind::Off,
            RollbackChoice::On => RollbackKind::On,
            RollbackChoice::Anti => RollbackKind::Anti(args.efuse_version),
        },
        signatures: (!keys.0.is_empty()).then_some(&keys as &dyn SignatureCheck),
    }
    .run(&source)?;
    verdict.warnings.iter().for_each(|warning| ui.warn(warning));
    ui.result(&verdict, text)?;
    match (&verdict.boots, &verdict.reason) {
        (None, Some(reason)) => Err(Failure::refused(format_args!(
            "{}: would not boot: {reason}",
            verdict.file
        ))),
        (Some(boots), Some(reason)) => {
            ui.warn(format_args!(
                "{boots} starts in place of what was selected: {reason}"
            ));
            Ok(())
        }
        _ => Ok(()),
    }
}

fn text(verdict: &Verdict) -> String {
    let mut text = String::new();
    for step in &verdict.steps {
        let mark = if step.ok { "ok " } else { "BAD" };
        let _ = writeln!(
            text,
            "{mark} {:#010x} {:20} {}",
            step.offset, step.part, step.found
        );
    }
    if let Some(data) = &verdict.otadata {
        text.push_str(&records_text(data));
    }
    let _ = match (&verdict.boots, &verdict.app) {
        (Some(boots), Some(app)) => writeln!(text, "starts       {boots}: {app}"),
        (Some(boots), None) => writeln!(text, "starts       {boots}"),
        (None, _) => writeln!(text, "starts       nothing"),
    };
    text
}

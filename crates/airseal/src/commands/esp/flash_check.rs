use std::fmt::Write as _;
use std::path::PathBuf;

use airseal_esp::Chip;
use airseal_pack::esp::chip_state::{ChipState, FusedSecureBoot};
use airseal_pack::esp::dump::FlashCipher;
use airseal_pack::esp::efuse_audit::EfuseState;
use airseal_pack::esp::flash_check::{CheckKeys, FlashCheck, RollbackKind, Verdict};
use airseal_pack::source::Source;

use super::nvs::read_hmac_key;
use super::otadata::records_text;
use super::shared::{CryptConfigArgs, RollbackArgs, RollbackChoice, SchemeChoice, address, chip};
use crate::commands::shared::{count, subject, warn_of_readable};
use crate::failure::Failure;
use crate::ui::Ui;

/// Say whether a chip would boot from a flash dump, and what; if not, why not
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "airseal esp flash-check [OPTIONS] --chip <CHIP> <DUMP>",
    after_help = "Example: airseal esp flash-check dump.bin --chip esp32c3 --key flash.key --efuses summary.json"
)]
pub(crate) struct Args {
    /// The dump of the whole flash, from address 0; - is standard input
    #[arg(value_name = "DUMP")]
    dump: Option<PathBuf>,

    /// The chip it belongs to
    #[arg(long, value_name = "CHIP", value_parser = chip())]
    chip: Chip,

    /// What `espefuse summary --format json` printed: says what would boot on that very chip
    #[arg(long, value_name = "SUMMARY.json", conflicts_with = "efuse_version")]
    efuses: Option<PathBuf>,

    /// The flash encryption key, as bare bytes; without it the flash is taken as it is
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,

    #[command(flatten)]
    crypt_config: CryptConfigArgs,

    /// Check the signatures of secure boot: keys in PEM form, of which one must have signed. With --efuses the digests in them decide
    #[arg(long, value_name = "PEM", num_args = 1..)]
    sb_key: Vec<PathBuf>,

    /// Version of secure boot [default: as the eFuses say, else v2]
    #[arg(long, value_enum)]
    sb_scheme: Option<SchemeChoice>,

    /// Version 1: the key of the bootloader's digest, 32 bare bytes
    #[arg(long, value_name = "FILE")]
    sb_v1_key: Option<PathBuf>,

    /// The key in the chip's eFuses (purpose HMAC_UP) that NVS is encrypted with, 32 bare bytes: NVS is looked into
    #[arg(long, value_name = "FILE")]
    hmac_key: Option<PathBuf>,

    /// Where the partition table lies in flash
    #[arg(long, value_name = "ADDRESS", value_parser = address, default_value = "0x8000")]
    table_offset: u32,

    #[command(flatten)]
    rollback: RollbackArgs,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let secrets = args.key.iter().chain(&args.sb_v1_key);
    warn_of_readable(secrets.chain(&args.hmac_key), ui);
    let mut keys = args.sb_key.clone();
    let dump = subject(args.dump.as_ref(), &mut keys, "the dump")?;
    let source = Source::open(&dump)?;
    let efuses = match &args.efuses {
        Some(path) => Some(ChipState::of(args.chip, &EfuseState::read(path)?)?),
        None => None,
    };
    let keys = CheckKeys {
        chip: args.chip,
        efuses: efuses.as_ref(),
        flash_key: args.key.as_deref(),
        crypt_config: args.crypt_config.flash_crypt_conf,
        boot_keys: &keys,
        is_v1: args.sb_scheme.map(|scheme| scheme == SchemeChoice::V1),
        digest_key: args.sb_v1_key.as_deref(),
    };
    let key = keys.read_flash_key()?;
    let signatures = keys.read_signatures()?;
    let nvs_key = args.hmac_key.as_deref().map(read_hmac_key).transpose()?;
    let verdict = FlashCheck {
        chip: args.chip,
        efuses: efuses.as_ref(),
        cipher: key.as_ref().map(|key| key as &dyn FlashCipher),
        table_offset: args.table_offset,
        rollback: match args.rollback.rollback {
            RollbackChoice::None => RollbackKind::Off,
            RollbackChoice::On => RollbackKind::On,
            RollbackChoice::Anti => RollbackKind::Anti(
                efuses
                    .as_ref()
                    .map_or(args.rollback.efuse_version, |efuses| efuses.secure_version),
            ),
        },
        signatures: signatures.as_deref(),
        nvs_key: nvs_key.as_ref(),
    }
    .run(&source)?;
    ui.warn_all(&verdict.warnings);
    ui.result(&verdict, text)?;
    match (&verdict.boots, &verdict.reason) {
        (None, Some(reason)) => Err(Failure::refused(format_args!(
            "{}: would not boot: {reason}",
            verdict.file
        ))
        .hint("put right what is named, and read the flash again")),
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
    if let Some(efuses) = &verdict.efuses {
        text.push_str(&efuses_text(efuses));
    }
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

fn efuses_text(efuses: &ChipState) -> String {
    let on = |set: bool| if set { "on" } else { "off" };
    let secure_boot = match &efuses.secure_boot {
        FusedSecureBoot::Off => "off".to_owned(),
        FusedSecureBoot::V1 => "v1".to_owned(),
        FusedSecureBoot::V2 {
            trusted, revoked, ..
        } => format!(
            "v2, {}, {} revoked",
            count(trusted.len(), "digest", "digests"),
            revoked.len()
        ),
    };
    let revision = efuses.chip_revision;
    format!(
        "eFuses       flash encryption {} ({}), secure boot {secure_boot}, secure version {}, revision v{}.{}\n",
        on(efuses.flash_encryption),
        efuses.counter,
        efuses.secure_version,
        revision / 100,
        revision % 100
    )
}

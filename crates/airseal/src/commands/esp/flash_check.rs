use std::fmt::Write as _;
use std::path::PathBuf;

use airseal_esp::Chip;
use airseal_esp::flash_encryption::FlashKey;
use airseal_pack::esp::boot_key::BootPublicKey;
use airseal_pack::esp::chip_state::{ChipState, FusedSecureBoot};
use airseal_pack::esp::dump::FlashCipher;
use airseal_pack::esp::efuse_audit::EfuseState;
use airseal_pack::esp::flash_check::{FlashCheck, RollbackKind, SignatureCheck, Verdict};
use airseal_pack::esp::flash_key;
use airseal_pack::esp::signatures::BootKeys;
use airseal_pack::esp::signatures_v1::{BootKeysV1, DigestKey};
use airseal_pack::source::Source;

use super::otadata::records_text;
use super::shared::{CryptConfigArgs, RollbackArgs, RollbackChoice, SchemeChoice, address, chip};
use crate::commands::shared::subject;
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

    /// Where the partition table lies in flash
    #[arg(long, value_name = "ADDRESS", value_parser = address, default_value = "0x8000")]
    table_offset: u32,

    #[command(flatten)]
    rollback: RollbackArgs,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let mut keys = args.sb_key.clone();
    let dump = subject(args.dump.as_ref(), &mut keys, "the dump")?;
    let source = Source::open(&dump)?;
    let efuses = match &args.efuses {
        Some(path) => Some(ChipState::of(args.chip, &EfuseState::read(path)?)?),
        None => None,
    };
    let key = args.key(efuses.as_ref())?;
    let signatures = args.signatures(&keys, efuses.as_ref())?;
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
    }
    .run(&source)?;
    ui.warn_all(&verdict.warnings);
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

impl Args {
    fn key(&self, efuses: Option<&ChipState>) -> Result<Option<FlashKey>, Failure> {
        let Some(path) = &self.key else {
            return Ok(None);
        };
        let config = efuses.and_then(|efuses| efuses.flash_crypt_config);
        let config = config.unwrap_or(self.crypt_config.flash_crypt_conf);
        let key = flash_key::read(path, self.chip, config)?;
        if let Some(efuses) = efuses.filter(|efuses| efuses.flash_encryption) {
            efuses
                .check_key_len(Source::open(path)?.len())
                .map_err(|why| {
                    Failure::refused(format_args!("{}: {why}", path.display()))
                        .hint("give the key that was burned into this chip, and its own summary")
                })?;
        }
        Ok(Some(key))
    }

    fn signatures(
        &self,
        keys: &[PathBuf],
        efuses: Option<&ChipState>,
    ) -> Result<Option<Box<dyn SignatureCheck>>, Failure> {
        let fused = efuses.map(|efuses| &efuses.secure_boot);
        let v1 = match self.sb_scheme {
            Some(scheme) => scheme == SchemeChoice::V1,
            None => self.sb_v1_key.is_some() || fused == Some(&FusedSecureBoot::V1),
        };
        let keys = keys.iter().map(|path| BootPublicKey::read(path));
        let mut keys: Vec<BootPublicKey> = keys.collect::<Result<_, _>>()?;
        if !v1 && fused == Some(&FusedSecureBoot::V1) {
            return Err(Failure::usage(
                "--sb-scheme v2: the eFuses say that this chip has secure boot version 1",
            )
            .hint("leave out --sb-scheme"));
        }
        if !v1 {
            if self.sb_v1_key.is_some() {
                return Err(Failure::usage("--sb-v1-key goes with version 1")
                    .hint("leave out --sb-scheme v2"));
            }
            let keys = (!keys.is_empty()).then_some(BootKeys(keys));
            return Ok(keys.map(|keys| Box::new(keys) as Box<dyn SignatureCheck>));
        }
        if !self.chip.secure_boot().v1 {
            return Err(Failure::usage(format_args!(
                "the {} has no secure boot version 1",
                self.chip
            ))
            .hint("that is for the original ESP32 alone"));
        }
        if keys.len() > 1 {
            return Err(
                Failure::usage("version 1 has one signature by one key").hint("give one --sb-key")
            );
        }
        let digest_key = match &self.sb_v1_key {
            Some(path) => Some(DigestKey::read(path)?),
            None => None,
        };
        Ok(Some(Box::new(BootKeysV1::new(keys.pop(), digest_key)?)))
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
        } => format!("v2, {} digests, {} revoked", trusted.len(), revoked.len()),
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

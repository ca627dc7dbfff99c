use std::path::Path;

use airseal_format::RecipientId;
use airseal_pack::entropy::SystemEntropy;
use airseal_pack::firmware::{ChipChoice, Firmware, FirmwareChecks};
use airseal_pack::key::KeyRole;
use airseal_pack::keyset::KeysetFile;
use airseal_pack::output::is_stdout;
use airseal_pack::seal::{SealOutput, SealRequest, Sealed, seal};

use crate::commands::shared::{as_files, distinct, group_key, signers};
use crate::dates;
use crate::failure::Failure;
use crate::keys;
use crate::passphrase::PassphraseArgs;
use crate::ui::Ui;
use crate::work;

mod args;
mod raw;
mod stock;

pub(crate) use args::Args;
use args::Suite;

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    args.passphrase.check()?;
    if let Some(key) = &args.stock.stock_container {
        return stock::run(args, key, ui);
    }
    check(args)?;
    if args.who.expires.is_some_and(|at| at <= dates::now()) {
        ui.warn("--expires lies in the past: no device that knows the date will take this release");
    }
    let keyset = args
        .inside
        .keyset
        .as_deref()
        .map(KeysetFile::read)
        .transpose()?;
    if let Some(keyset) = &keyset {
        keyset.trust(None)?;
    }
    let recipients = args.recipients.read(&args.passphrase, ui)?;
    let only = args
        .who
        .only
        .iter()
        .map(|text| recipient_id(text, &args.passphrase, ui))
        .collect::<Result<Vec<_>, _>>()?;
    let carry_group = args
        .inside
        .carry_group
        .as_deref()
        .map(|path| group_key(path, &args.passphrase, ui))
        .transpose()?;
    let signers = signers(&args.sign, &args.passphrase, ui)?;
    let firmware = firmware(args)?;
    let raw_flash = args.raw.read(&firmware, ui)?;
    let (Some(vendor), Some(class), Some(sequence)) =
        (&args.what.vendor, &args.what.class, args.what.seq)
    else {
        return Err(Failure::usage(
            "--vendor, --class and --seq say what the release is",
        ));
    };
    let request = SealRequest {
        vendor,
        class,
        hardware: args.who.hw_rev.unwrap_or((0, u16::MAX)),
        sequence,
        version: args.what.version.as_deref(),
        security_version: args.who.security_version,
        min_security_version: args.who.min_security_version,
        min_sequence: args.who.min_seq,
        built_at: Some(dates::now()),
        expires_at: args.who.expires.unwrap_or(0),
        suite: args.image.suite.into(),
        raw_flash: raw_flash.as_ref(),
        small_ram: args.image.small_ram,
        keyset: keyset.as_ref(),
        only: &only,
        carry_group: carry_group.as_ref(),
        recipients: &recipients,
        signers: &signers,
        allow_unsigned: args.unsigned,
    };
    let output = SealOutput {
        bundle: &args.output,
        content_key: args.inside.content_key_out.as_deref(),
        detached: args.detached.as_deref(),
        existing: args.force.existing(),
    };
    let sealed = work::run(ui, |control| {
        seal(&request, &firmware, &output, &SystemEntropy, control)
    })?;
    ui.warn_all(&sealed.warnings);
    if is_stdout(&args.output) {
        return Ok(());
    }
    ui.result(&sealed, |sealed| text(sealed, args))
}

/// The firmware after its checks.
fn firmware(args: &Args) -> Result<Firmware, Failure> {
    let checks = FirmwareChecks {
        chip: ChipChoice::parse(&args.image.chip)?,
        allow_no_descriptor: args.image.no_app_descriptor,
        fits: args.image.fits.as_deref(),
        secure_boot_sector: args.image.secure_boot_sector,
        record_area: args.stock.stock_container.is_none(),
    };
    Ok(Firmware::open(&args.firmware, &checks)?)
}

/// What would make a release that nobody trusts, nobody opens, or that replaces what it is made from.
fn check(args: &Args) -> Result<(), Failure> {
    if args.sign.is_empty() && !args.unsigned {
        return Err(Failure::usage("nobody signs this release").hint(
            "give --sign KEY, or --unsigned for a draft that is signed with sign-request and attach",
        ));
    }
    let to_nobody = args.recipients.to.is_empty() && args.recipients.to_list.is_none();
    if to_nobody && args.inside.content_key_out.is_none() && args.image.suite != Suite::None {
        return Err(Failure::usage("nobody could ever open this release").hint(
            "give --to PUB or --to-list FILE, or keep the content key with --content-key-out FILE to add recipients later",
        ));
    }
    let signers = as_files(&args.sign);
    let inputs = || {
        [&args.firmware]
            .into_iter()
            .chain(&signers)
            .chain(&args.inside.keyset)
            .chain(&args.recipients.to)
            .chain(&args.recipients.to_list)
            .chain(&args.inside.carry_group)
            .chain(args.raw.files())
    };
    let outputs = [&args.output]
        .into_iter()
        .chain(&args.inside.content_key_out);
    for output in outputs {
        distinct(inputs(), output)?;
    }
    Ok(())
}

fn text(sealed: &Sealed, args: &Args) -> String {
    let recipients = match sealed.recipients.len() {
        0 => "nobody yet".to_owned(),
        1 => "1 recipient can open it".to_owned(),
        count => format!("{count} recipients can open it"),
    };
    let only = match sealed.only.len() {
        0 => String::new(),
        1 => "\nonly         1 device or group may install it".to_owned(),
        count => format!("\nonly         {count} devices or groups may install it"),
    };
    let carried = sealed
        .carried_groups
        .iter()
        .map(|group| {
            format!(
                "\ncarries      group key generation {}, for holders of generation {}",
                group.generation, group.old_generation
            )
        })
        .collect::<String>();
    let raw = raw::text(sealed);
    format!(
        "{}\nrelease      {} {} {} (number {})\ndigest       {}\nsize         {} bytes, the image has {}{raw}\nsigned by    {}\nsealed to    {}{}{}",
        args.output.display(),
        sealed.vendor,
        sealed.class,
        sealed.version,
        sealed.sequence,
        sealed.manifest_digest,
        sealed.bundle_len,
        sealed.image_len,
        if sealed.signers.is_empty() {
            "nobody yet".to_owned()
        } else {
            sealed.signers.join(", ")
        },
        recipients,
        only,
        carried,
    )
}

/// An id in hexadecimal, or the key file that has it.
fn recipient_id(text: &str, passphrase: &PassphraseArgs, ui: &Ui) -> Result<RecipientId, Failure> {
    let mut id = [0; 16];
    if hex::decode_to_slice(text, &mut id).is_ok() {
        return Ok(RecipientId(id));
    }
    let key = keys::read(Path::new(text), Some(KeyRole::Recipient), passphrase, ui)?;
    key.recipient_id()
        .ok_or_else(|| Failure::refused(format_args!("{text}: this key has no recipient id")))
}

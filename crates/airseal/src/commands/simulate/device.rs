//! The device in its folder: opened, or made.

use std::io;

use airseal_esp::Chip;
use airseal_format::SecurityVersion;
use airseal_format::component::FlashEncryption;
use airseal_pack::bundle::read_small;
use airseal_pack::key::{DevicePublicKey, PublicKey, public_to_pem};
use airseal_pack::keyset::{KeysetFile, KeysetKeys, NewKeyset};
use airseal_pack::output::{Access, Existing, write_file};
use airseal_pack::seal::{class_id, vendor_id};
use airseal_sim::home::Home;
use airseal_sim::{Model, SimDevice};
use airseal_update::{Factory, Policy};
use zeroize::Zeroizing;

use super::args::DeviceArgs;
use super::flash;
use crate::commands::shared::{group_key, signing_public_key};
use crate::failure::Failure;
use crate::passphrase::PassphraseArgs;
use crate::ui::Ui;

/// The device that lives in the folder; one that is made, if none does.
///
/// # Errors
/// Usage for options that describe another device, or that a new one lacks; refused or environment.
pub(super) fn open(home: &Home, args: &DeviceArgs, ui: &Ui) -> Result<SimDevice, Failure> {
    let failed =
        |error: io::Error| Failure::io(format_args!("can't use {}", home.dir().display()), &error);
    let mut device = if home.exists() {
        let device = home.open().map_err(failed)?;
        same(device.model(), args, ui)?;
        if args.seed.is_some() && home.seed().map_err(failed)? != *seed(args)? {
            return Err(made_otherwise(args, "--seed"));
        }
        device
    } else {
        home.create(model(args, ui)?, &*seed(args)?)
            .map_err(failed)?
    };
    let public = PublicKey::Device(DevicePublicKey::X25519(device.public()));
    write_file(
        &home.dir().join("device.pub"),
        public_to_pem(&public).as_bytes(),
        Existing::Replace,
        Access::Public,
    )?;
    device.model_mut().policy.now = args.clock;
    for path in &args.group_key {
        let key = group_key(path, &PassphraseArgs::default(), ui)?;
        device.add_group(key.identity());
    }
    Ok(device)
}

fn seed(args: &DeviceArgs) -> Result<Zeroizing<[u8; 32]>, Failure> {
    let mut seed = Zeroizing::new([0; 32]);
    let Some(path) = &args.seed else {
        getrandom::fill(&mut *seed).map_err(|error| {
            Failure::environment(format_args!("the system gives no random bytes: {error}"))
        })?;
        return Ok(seed);
    };
    let bytes = Zeroizing::new(read_small(path, 32, "a seed")?);
    *seed = bytes.as_slice().try_into().map_err(|_| {
        Failure::refused(format_args!(
            "{}: has {} bytes, a seed has 32",
            path.display(),
            bytes.len()
        ))
    })?;
    Ok(seed)
}

fn model(args: &DeviceArgs, ui: &Ui) -> Result<Model, Failure> {
    let missing = || {
        Failure::usage(format_args!("{} holds no device yet", args.state.display()))
            .hint("to make one, give --vendor NAME --class NAME and --trust PUB or --keyset FILE")
    };
    let vendor = args.vendor.as_deref().ok_or_else(missing)?;
    let class = args.class.as_deref().ok_or_else(missing)?;
    if args.keyset.is_none() && args.trust.is_none() {
        return Err(missing());
    }
    let keyset = keyset(vendor, args, ui)?.ok_or_else(missing)?;
    let chip = chip(args.chip.as_deref().unwrap_or("esp32c3"))?;
    let vendor_id = vendor_id(vendor);
    Ok(Model {
        vendor_id,
        class_id: class_id(vendor_id, class),
        hw_rev: args.hw_rev.unwrap_or(1),
        chip: chip.id(),
        keyset,
        policy: Policy {
            allow_plain: args.allow_plain,
            ..Policy::default()
        },
        flash_encryption: flash::encryption(args, chip)?,
        slot_len: args.slot_kib.unwrap_or(4096) * 1024,
        slots: flash::slots(args, chip)?,
        factory: Some(Factory {
            security_version: SecurityVersion(args.security_version.unwrap_or(0)),
            ..Factory::default()
        }),
    })
}

/// The keyset that is built into the firmware, if one is named.
fn keyset(vendor: &str, args: &DeviceArgs, ui: &Ui) -> Result<Option<Vec<u8>>, Failure> {
    match (&args.keyset, &args.trust) {
        (Some(path), _) => {
            let file = KeysetFile::read(path)?;
            file.trust(None)?;
            Ok(Some(file.last()?.keyset.signed_bytes().to_vec()))
        }
        (None, Some(path)) => {
            let keys = [signing_public_key(path, ui)?];
            let keys = KeysetKeys {
                roots: &keys,
                releases: &keys,
                offers: &[],
                root_threshold: 1,
                release_threshold: 1,
            };
            let new = NewKeyset {
                vendor,
                class: None,
                keys,
                max_security_version: u32::MAX,
            };
            Ok(Some(
                KeysetFile::create("keyset", &new)?.as_bytes().to_vec(),
            ))
        }
        (None, None) => Ok(None),
    }
}

fn chip(name: &str) -> Result<Chip, Failure> {
    Chip::from_name(name).ok_or_else(|| {
        Failure::usage(format_args!("no chip is called {name}")).hint("for example esp32c3")
    })
}

/// Refuses options that describe another device than the one that lives in the folder.
fn same(model: &Model, args: &DeviceArgs, ui: &Ui) -> Result<(), Failure> {
    let vendor = args.vendor.as_deref().map(vendor_id);
    let class = args
        .class
        .as_deref()
        .map(|class| class_id(vendor.unwrap_or(model.vendor_id), class));
    let chip = args.chip.as_deref().map(chip).transpose()?;
    let (slots, flash_encryption) = match chip.or_else(|| Chip::from_id(model.chip)) {
        Some(chip) => (flash::slots(args, chip)?, flash::encryption(args, chip)?),
        None => (None, FlashEncryption::None),
    };
    let keyset = match &args.vendor {
        Some(vendor) => keyset(vendor, args, ui)?,
        None => None,
    };
    let differs = [
        ("--vendor", vendor.is_some_and(|id| id != model.vendor_id)),
        ("--class", class.is_some_and(|id| id != model.class_id)),
        ("--hw-rev", args.hw_rev.is_some_and(|n| n != model.hw_rev)),
        ("--chip", chip.is_some_and(|chip| chip.id() != model.chip)),
        (
            "--slot-kib",
            args.slot_kib.is_some_and(|n| n * 1024 != model.slot_len),
        ),
        (
            "--partitions",
            args.partitions.is_some() && slots != model.slots,
        ),
        (
            "--flash-key",
            args.flash_key.is_some() && flash_encryption != model.flash_encryption,
        ),
        (
            "--security-version",
            args.security_version.is_some_and(|n| {
                model.factory.map(|factory| factory.security_version) != Some(SecurityVersion(n))
            }),
        ),
        (
            "--allow-plain",
            args.allow_plain && !model.policy.allow_plain,
        ),
        (
            "--trust or --keyset",
            keyset.is_some_and(|bytes| bytes != model.keyset),
        ),
    ];
    match differs.iter().find(|(_, differs)| *differs) {
        None => Ok(()),
        Some((option, _)) => Err(made_otherwise(args, option)),
    }
}

fn made_otherwise(args: &DeviceArgs, option: &str) -> Failure {
    Failure::usage(format_args!(
        "{} holds a device already, and {option} says something else than it was made with",
        args.state.display()
    ))
    .hint("leave the options of a new device out, or name another folder")
}

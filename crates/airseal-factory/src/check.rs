//! What can be wrong with a batch before anything of it is made: every value of every device, every key it is sealed to,
//! every label, and the folder it goes into.

use std::path::Path;

use airseal_format::Digest;
use airseal_format::cipher::ContentKey;
use airseal_pack::Error;
use airseal_pack::entropy::SystemEntropy;
use airseal_pack::key::NoPassphrase;
use airseal_pack::recipient::Recipient;

use crate::batch::{BatchFolder, Description};
use crate::labels::{self, LabelValues};
use crate::prepare::ProductValues;
use crate::product::Product;
use crate::secrets::DeviceSecrets;
use crate::settings::settings;

/// As long as a MAC is printed.
const SAMPLE_MAC: &str = "00:00:00:00:00:00";

/// Looks at everything that [`Product::read`] did not; with `out`, also whether the batch that is there was made from the
/// same settings. Nothing is written.
///
/// # Errors
/// `Io`; refused for the first value, key, label or setting that can't be used.
pub fn check(product: &Product, out: Option<&Path>) -> Result<(), Error> {
    recipients(product)?;
    let mut sample = DeviceSecrets::draw(product.secrets, &SystemEntropy)?;
    let values = ProductValues::read(product)?;
    for serial in &product.serials {
        values.build(serial, &mut sample)?;
    }
    label(product, &sample)?;
    match out {
        Some(out) if BatchFolder::is_batch(out) => same_settings(product, out),
        Some(out) => no_lost_description(out),
        None => Ok(()),
    }
}

/// Whoever is to open the boxes can: a key that nothing can be sealed to is found before 500 devices have boxes.
fn recipients(product: &Product) -> Result<(), Error> {
    let folder = product.folder();
    let keys = &product.config.keys;
    let at_rest = keys
        .at_rest
        .iter()
        .filter(|name| *name != "plain-for-tests");
    let at_rest = at_rest.map(|name| ("keys.at_rest", folder.join(name)));
    let escrow = keys
        .escrow_to
        .iter()
        .map(|path| ("keys.escrow_to", folder.join(path)));
    for (setting, path) in at_rest.chain(escrow) {
        let named = |error: Error| match error {
            Error::Refused {
                subject,
                message,
                remedy,
            } => {
                let public =
                    "name a device's public key, as airseal key new --kind device makes it"
                        .to_owned();
                let remedy = if remedy.is_empty() { public } else { remedy };
                let subject = if subject == path.display().to_string() {
                    subject
                } else {
                    format!("{}: {subject}", path.display())
                };
                Error::refused(
                    format!("{}: {setting}: {subject}", product.file),
                    message,
                    remedy,
                )
            }
            Error::Io { action, source } => Error::Io {
                action: format!("{}: {setting}: {action}", product.file),
                source,
            },
            other => other,
        };
        let recipient = Recipient::read(&path, &NoPassphrase).map_err(named)?.key;
        recipient
            .seal(Digest([0; 32]), &ContentKey::new([0; 32]), &SystemEntropy)
            .map_err(named)?;
    }
    Ok(())
}

/// The longest serial stands for all.
fn label(product: &Product, sample: &DeviceSecrets) -> Result<(), Error> {
    let config = &product.config;
    let (Some(label), Some(serial)) = (
        &config.label,
        product.serials.iter().max_by_key(|serial| serial.len()),
    ) else {
        return Ok(());
    };
    let values = LabelValues::new(config, serial, SAMPLE_MAC, &sample.claim);
    labels::check(label, &values)
}

fn same_settings(product: &Product, out: &Path) -> Result<(), Error> {
    let before = Description::read(out)?;
    let mut now = before.clone();
    now.settings = settings(product)?;
    before.refuse_changes(&now, out)
}

fn no_lost_description(out: &Path) -> Result<(), Error> {
    let sealed = out.join("sealed");
    let has_boxes = match std::fs::read_dir(&sealed) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(Error::io("read", &sealed, error)),
    };
    if has_boxes {
        return Err(Error::refused(
            out.display().to_string(),
            "holds boxes of devices and no batch.json",
            "bring batch.json back from a copy, or name an empty folder",
        ));
    }
    Ok(())
}

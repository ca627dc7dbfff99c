use std::path::PathBuf;

use airseal_pack::bundle::BundleFile;
use airseal_pack::inspect::{ComponentInfo, Inspection, inspect};

use crate::dates;
use crate::failure::Failure;
use crate::ui::Ui;

/// Show everything public about a sealed file, and who can open it; needs no key
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The sealed file; - is standard input
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let inspection = inspect(&BundleFile::open(&args.bundle)?)?;
    ui.result(&inspection, text)
}

fn text(found: &Inspection) -> String {
    let any = |value: u64| {
        if value == 0 {
            "any".to_owned()
        } else {
            value.to_string()
        }
    };
    let mut text = format!(
        "release      {} (number {})\ndigest       {}\nvendor       {}\nclass        {}\nrevisions    {} to {}\nsecurity     version {}\n",
        found.version,
        found.sequence,
        found.manifest_digest,
        found.vendor_id,
        found.class_id,
        found.hw_rev_min,
        found.hw_rev_max,
        found.security_version,
    );
    let mut line = |name: &str, value: String| text.push_str(&format!("{name:12} {value}\n"));
    line(
        "from",
        format!(
            "security version {}, number {}",
            any(found.min_security_version.into()),
            any(found.min_sequence)
        ),
    );
    line(
        "keyset",
        format!(
            "version {}, {} carried",
            found.keyset_version,
            found.keysets.len()
        ),
    );
    line("built", dates::show(found.built_at));
    if found.expires_at != 0 {
        line("expires", dates::show(found.expires_at));
    }
    line(
        "encryption",
        format!("{}, chunks of {} bytes", found.suite, found.chunk_len),
    );
    for component in &found.components {
        line("component", component_text(component));
    }
    match &found.only {
        None => line("for", "every device of the class".to_owned()),
        Some(only) => only.iter().for_each(|id| line("only for", id.clone())),
    }
    for group in &found.carried_groups {
        line(
            "carries",
            format!(
                "group key generation {}, for holders of {} (generation {})",
                group.generation, group.old, group.old_generation
            ),
        );
    }
    for signature in &found.signatures {
        line(
            "signature",
            format!(
                "{} {} (not checked: airseal verify)",
                signature.key_id, signature.algorithm
            ),
        );
    }
    if found.signatures.is_empty() {
        line("signature", "none yet".to_owned());
    }
    for recipient in found.recipients.iter().take(RECIPIENTS_SHOWN) {
        let generation = recipient
            .generation
            .map(|number| format!(", generation {number}"))
            .unwrap_or_default();
        line(
            "can open",
            format!("{} ({}{generation})", recipient.id, recipient.kind),
        );
    }
    match found.recipients.len() {
        0 => line(
            "can open",
            "nobody yet, or everybody if it is not encrypted".to_owned(),
        ),
        count if count > RECIPIENTS_SHOWN => line(
            "can open",
            format!("and {} more: --json", count - RECIPIENTS_SHOWN),
        ),
        _ => {}
    }
    line(
        "size",
        format!(
            "{} bytes, {} of them payload",
            found.bundle_len, found.payload_len
        ),
    );
    text
}

fn component_text(component: &ComponentInfo) -> String {
    let chip = component.chip.as_deref().unwrap_or("any chip");
    let address = match component.address {
        None => "any slot".to_owned(),
        Some(address) => format!("address {address:#x}"),
    };
    let encryption = match &component.flash_key_check {
        None => String::new(),
        Some(check) => format!(
            ", flash-encrypted ({}, key check value {check})",
            component.flash_encryption
        ),
    };
    format!(
        "{} {}, {chip}, {address}, {} bytes{encryption}",
        component.id, component.kind, component.image_len
    )
}

const RECIPIENTS_SHOWN: usize = 20;

use std::path::{Path, PathBuf};

use airseal_format::signature::SigningPublicKey;
use airseal_pack::bundle::BundleFile;
use airseal_pack::keyset::KeysetFile;
use airseal_server::api::types::{
    Published, ReleaseDetail, ReleaseInfo, ReleaseList, SetTrust, TrustKey, YankRelease,
};
use base64::Engine as _;

use crate::client::{Client, ServerArgs, segment};
use crate::commands::shared::signing_public_key;
use crate::dates;
use crate::failure::Failure;
use crate::ui::{Style, Table, Ui};

/// Publish sealed files, list them, withdraw one
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Publish(PublishArgs),
    List(ListArgs),
    Show(ShowArgs),
    Yank(YankArgs),
}

/// Offer a sealed file to the devices it was made for
///
/// The server checks signatures and every chunk before it keeps anything. Whose signatures count is set once per product,
/// with --trust or --keyset.
#[derive(Debug, clap::Args)]
struct PublishArgs {
    /// The sealed file
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,

    /// With the first release of a product: trust releases of it signed by this key (repeatable)
    #[arg(long, value_name = "PUB", conflicts_with = "keyset")]
    trust: Vec<PathBuf>,

    /// With the first release of a product: trust releases of it as this keyset says
    #[arg(long, value_name = "FILE")]
    keyset: Option<PathBuf>,

    #[command(flatten)]
    server: ServerArgs,
}

/// List releases, newest first
#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    server: ServerArgs,
}

/// Show a release, and who can decrypt it
#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// Its digest, or at least the first 6 digits of it, or its version
    #[arg(value_name = "RELEASE")]
    release: String,

    #[command(flatten)]
    server: ServerArgs,
}

/// Withdraw a release: no device is given it any more
#[derive(Debug, clap::Args)]
struct YankArgs {
    /// Its digest, or at least the first 6 digits of it, or its version
    #[arg(value_name = "RELEASE")]
    release: String,

    /// Why, for the audit log
    #[arg(long, value_name = "TEXT", default_value = "withdrawn")]
    reason: String,

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    match &args.command {
        Command::Publish(args) => publish(args, ui),
        Command::List(args) => list(args, ui),
        Command::Show(args) => show(args, ui),
        Command::Yank(args) => yank(args, ui),
    }
}

fn publish(args: &PublishArgs, ui: &Ui) -> Result<(), Failure> {
    BundleFile::open(&args.bundle)?;
    let client = Client::new(&args.server)?;
    let published: Published = match trust(args, ui)? {
        Some(trust) => client.publish_with(&trust, &args.bundle)?,
        None => client.upload("releases", &args.bundle)?,
    };
    ui.warn_all(&published.warnings);
    ui.result(&published, |published| {
        let release = &published.release;
        let what = match (published.is_new, release.yanked_at) {
            (true, _) => "published",
            (false, None) => "was published before",
            (false, Some(_)) => "was published before and is withdrawn: no device is given it",
        };
        format!(
            "{} (number {}) {what}\ndigest       {}\nenvelopes    {} new",
            release.version, release.release_seq, release.manifest_digest, published.new_envelopes
        )
    })
}

fn list(args: &ListArgs, ui: &Ui) -> Result<(), Failure> {
    let releases = all(&Client::new(&args.server)?)?;
    if ui.json() {
        return ui.value(&releases);
    }
    let mut table = Table::new(&[
        "DIGEST",
        "CLASS",
        "VERSION",
        "NUMBER",
        "SECURITY",
        "FOR",
        "PUBLISHED",
        "STATE",
    ]);
    for release in &releases {
        let state = match (&release.yanked_at, &release.yank_reason) {
            (None, _) => "offered".to_owned(),
            (Some(_), reason) => {
                format!("yanked: {}", reason.as_deref().unwrap_or("no reason given"))
            }
        };
        let style = if release.yanked_at.is_none() {
            Style::Good
        } else {
            Style::Warning
        };
        table.row_with_verdict(
            [
                release.manifest_digest.chars().take(12).collect(),
                release.class_id.chars().take(8).collect(),
                release.version.clone(),
                release.release_seq.to_string(),
                release.security_version.to_string(),
                if release.targets.is_empty() {
                    "all".to_owned()
                } else {
                    format!("{} only", release.targets.len())
                },
                dates::show(release.published_at),
                state,
            ],
            style,
        );
    }
    ui.table(&table)
}

fn show(args: &ShowArgs, ui: &Ui) -> Result<(), Failure> {
    let client = Client::new(&args.server)?;
    let digest = find(&client, &args.release)?;
    let detail: ReleaseDetail = client.get(&format!("releases/{digest}"))?;
    ui.result(&detail, |detail| {
        let release = &detail.release;
        let mut text = format!(
            "{} (number {})\ndigest       {}\nkeyset       {}\nsecurity     {}\nrevisions    {} to {}\npayload      {} bytes\npublished    {}\n",
            release.version,
            release.release_seq,
            release.manifest_digest,
            release.keyset_version,
            release.security_version,
            release.hw_rev[0],
            release.hw_rev[1],
            release.payload_len,
            dates::show(release.published_at),
        );
        if let Some(at) = release.yanked_at {
            text.push_str(&format!("yanked       {} {}\n", dates::show(at), release.yank_reason.as_deref().unwrap_or("")));
        }
        text.push_str(&format!("content keys held by this server: {}\nwho can decrypt it:\n", detail.content_keys_held));
        for recipient in &detail.recipients {
            let who = match recipient.devices.as_slice() {
                [] => "no device this server knows".to_owned(),
                devices => devices.join(", "),
            };
            text.push_str(&format!("  {}  {who}\n", recipient.recipient_id));
        }
        text
    })
}

fn yank(args: &YankArgs, ui: &Ui) -> Result<(), Failure> {
    let client = Client::new(&args.server)?;
    let digest = find(&client, &args.release)?;
    let release: ReleaseInfo = client.post(
        &format!("releases/{digest}/yank"),
        &YankRelease {
            reason: args.reason.clone(),
        },
    )?;
    ui.result(&release, |release| {
        format!(
            "{} (number {}) is withdrawn: no device is given it any more",
            release.version, release.release_seq
        )
    })
}

fn all(client: &Client) -> Result<Vec<ReleaseInfo>, Failure> {
    let mut releases = Vec::new();
    let mut offset = 0;
    loop {
        let page: ReleaseList = client.get(&format!("releases?limit=200&offset={offset}"))?;
        releases.extend(page.releases);
        match page.next {
            Some(next) if next > offset => offset = next,
            _ => return Ok(releases),
        }
    }
}

/// The one release that a digest, the start of one, or a version names.
fn find(client: &Client, name: &str) -> Result<String, Failure> {
    if name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(segment(&name.to_ascii_lowercase()));
    }
    let is_named = |release: &ReleaseInfo| {
        release.version == name
            || (name.len() >= 6
                && release
                    .manifest_digest
                    .starts_with(&name.to_ascii_lowercase()))
    };
    let found: Vec<ReleaseInfo> = all(client)?.into_iter().filter(is_named).collect();
    match found.as_slice() {
        [release] => Ok(release.manifest_digest.clone()),
        [] => Err(
            Failure::refused(format_args!("no release is called {name}"))
                .hint("airseal release list shows them"),
        ),
        several => Err(
            Failure::usage(format_args!("{name} names {} releases", several.len())).hint(
                "give the digest, or at least its first 6 digits, as airseal release list shows it",
            ),
        ),
    }
}

fn trust(args: &PublishArgs, ui: &Ui) -> Result<Option<SetTrust>, Failure> {
    if let Some(keyset) = &args.keyset {
        let file = KeysetFile::read(keyset)?;
        let text = base64::engine::general_purpose::STANDARD.encode(file.as_bytes());
        return Ok(Some(SetTrust {
            keyset: Some(text),
            keys: Vec::new(),
        }));
    }
    if args.trust.is_empty() {
        return Ok(None);
    }
    let keys = args
        .trust
        .iter()
        .map(|path| trust_key(path, ui))
        .collect::<Result<_, _>>()?;
    Ok(Some(SetTrust { keyset: None, keys }))
}

fn trust_key(path: &Path, ui: &Ui) -> Result<TrustKey, Failure> {
    let key = signing_public_key(path, ui)?;
    let algorithm = match key {
        SigningPublicKey::Ed25519(_) => "ed25519",
        SigningPublicKey::EcdsaP256(_) => "ecdsa-p256",
    };
    Ok(TrustKey {
        algorithm: algorithm.to_owned(),
        public_key: hex::encode(key.as_bytes()),
    })
}

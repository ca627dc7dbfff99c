//! `esp provision`: everything of a batch that can be made before a board is there.
//!
//! Run again on the same folder it makes what is missing. Keys are made once for each serial and never anew.

use std::path::{Path, PathBuf};

use airseal_pack::control::{Activity, Control};
use airseal_pack::entropy::Entropy;
use airseal_pack::esp::nvs;
use airseal_pack::key::{KeyFile, KeyKind, NoPassphrase, PrivateKey, public_to_pem};
use airseal_pack::output::{Access, Existing, write_durable, write_file};
use airseal_pack::recipient::{Recipient, Recipients};
use airseal_pack::{Error, bundle};
use serde::Serialize;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::batch::{BatchFolder, Description, RegionPlan, RegionSource, write_json};
use crate::boxes::{self, BoxContext};
use crate::check::check;
use crate::config::NvsEncryption;
use crate::efuse::EfusePlan;
use crate::emit::{self, Emit, Emitter};
use crate::journal::Journal;
use crate::keymap::MAX_PLAN;
use crate::line::decide::History;
use crate::product::{Content, Product, Region};
use crate::record::device_id;
use crate::sealed::SealedList;
use crate::secrets::DeviceSecrets;
use crate::settings::settings;
use crate::status::may_draw_keys;
use crate::values::{Rendered, Values};

/// The key that `plain-for-tests` leaves in the folder.
pub const TEST_KEY: &str = "plain-for-tests.key";

/// The configuration, in `common/`, for stations that do not have it.
pub const CONFIG: &str = "config.toml";

/// The plan for the eFuses, in `common/`.
pub(crate) const PLAN: &str = "plan.json";

/// Kinds of public keys in `common/`.
pub(crate) const AT_REST: &str = "at-rest";
pub(crate) const ESCROW: &str = "escrow";

/// Longest box that is read, bytes.
const MAX_BOX: u64 = 256 << 20;

/// What [`prepare`] did.
#[derive(Clone, Debug, Serialize)]
pub struct Prepared {
    /// The batch.
    pub batch: String,
    /// Boxes made now.
    pub made: usize,
    /// Boxes that were there, or are gone because their board is finished or given up.
    pub kept: usize,
    /// What stands for the batch as it is now, see [`crate::sealed::fingerprint`].
    pub fingerprint: String,
    /// What deserves attention.
    pub warnings: Vec<String>,
}

/// Prepares the first `count` serials (all without it) in the folder `out`.
///
/// # Errors
/// As [`prepare_files`].
pub fn prepare(
    product: &Product,
    out: &Path,
    count: Option<usize>,
    entropy: &dyn Entropy,
    control: &Control<'_>,
) -> Result<Prepared, Error> {
    prepare_files(product, out, count, false, entropy, control)
}

/// Prepares; with `files` each device also gets a folder that a line without Airseal works from.
///
/// # Errors
/// `Io`, cancelled; refused if the folder was made from other settings, naming them, if a value of a device can't be used, or
/// if files are wanted of a device whose keys are sealed already.
pub fn prepare_files(
    product: &Product,
    out: &Path,
    count: Option<usize>,
    files: bool,
    entropy: &dyn Entropy,
    control: &Control<'_>,
) -> Result<Prepared, Error> {
    check(product, Some(out))?;
    let serials = product
        .serials
        .get(..count.unwrap_or(usize::MAX).min(product.serials.len()))
        .unwrap_or_default();
    let values = ProductValues::read(product)?;
    let folder = BatchFolder::open(out)?;
    folder.remove_pieces()?;
    let description = describe(product, &folder)?;
    let emit = Emit {
        files,
        merged: product.config.flash.merged,
    };
    let order = product.config.flash.order;
    let emitter = Emitter::new(
        emit,
        &folder,
        &description,
        product.chip,
        &product.efuses,
        order,
    )?;
    let recipients = recipients(product, &folder)?;
    let journal = Journal::read(&folder.journal())?;
    let mut list = SealedList::read(folder.path())?;
    let (mut made, mut kept) = (0, 0);
    for serial in serials {
        control.report(
            Activity::Sealing,
            (made + kept) as u64,
            serials.len() as u64,
        )?;
        let path = folder.box_of(serial);
        if path.exists() {
            let sealed = bundle::read_small(&path, MAX_BOX, "a box")?;
            list.check(serial, &sealed, &History::of_serial(&journal, serial))?;
            emit::publish(&folder, serial)?;
            if files && !emit::is_published(&folder, serial) {
                return Err(Error::refused(
                    serial,
                    "has its keys sealed in a box already, and files can't be made of them any more",
                    "take these boards to a line with `airseal esp line`, or prepare a new batch with --emit files",
                ));
            }
        }
        if path.exists() || !may_draw_keys(&journal, serial)? {
            kept += 1;
            continue;
        }
        if emit::is_published(&folder, serial) {
            return Err(Error::refused(
                format!("the box of {serial}"),
                "is lost, and its keys went out in devices/",
                "bring the box back from a copy; new keys would not be those of its files",
            ));
        }
        emit::discard(&folder, serial)?;
        let secrets = values.secrets(product, serial, entropy)?;
        let context = BoxContext {
            batch: &product.config.batch.id,
            serial,
        };
        let sealed = boxes::seal(context, &secrets, &recipients, entropy)?;
        if let Some(emitter) = &emitter {
            emitter.stage(serial, &secrets)?;
        }
        list.add(serial, &sealed)?;
        write_durable(&path, &sealed, Existing::Refuse, Access::Owner)?;
        if files {
            emit::publish(&folder, serial)?;
        }
        made += 1;
    }
    Ok(Prepared {
        batch: product.config.batch.id.clone(),
        made,
        kept,
        fingerprint: list.fingerprint()?,
        warnings: product.warnings.clone(),
    })
}

/// Writes the public parts, or compares them with what is there.
fn describe(product: &Product, folder: &BatchFolder) -> Result<Description, Error> {
    let mut description = Description::new(
        &product.config.batch.id,
        &product.config.product,
        product.chip.name(),
        product.flash_size,
    );
    description.settings = settings(product)?;
    description.serials.clone_from(&product.serials);
    description.seed_row.clone_from(&product.seed_row);
    let before = folder.description()?;
    let kept = before.as_ref().map_or(&[][..], |before| &before.regions);
    description.regions = product
        .regions
        .iter()
        .map(|region| plan(region, kept))
        .collect();
    if let Some(before) = &before {
        before.refuse_changes(&description, folder.path())?;
    }
    // Signing gives other bytes each time: what a batch has stays, or its boards would differ. Before there is a description
    // nothing was made from the files that a run left behind.
    for (region, plan) in product.regions.iter().zip(&description.regions) {
        if let (Content::Common(bytes), RegionSource::Common { file, sha256, .. }) =
            (&region.content, &plan.source)
        {
            if before.is_some() {
                emit::read_common(folder, file, sha256)?;
            } else {
                write_file(
                    &folder.common(file),
                    bytes,
                    Existing::Replace,
                    Access::Public,
                )?;
            }
        }
    }
    let path = folder.common(CONFIG);
    if before.is_none() || !path.exists() {
        write_file(
            &path,
            product.text.as_bytes(),
            Existing::Replace,
            Access::Public,
        )?;
    }
    for (index, key) in product.boot_keys.iter().enumerate() {
        let path = folder.common(&format!("digest{index}.bin"));
        let digest = key.key_digest()?;
        if before.is_some() {
            let there = bundle::read_small(&path, 32, "a digest")?;
            if there != digest {
                return Err(another(&path, "the digest of another key"));
            }
        } else {
            write_file(&path, &digest, Existing::Replace, Access::Public)?;
        }
    }
    let path = folder.common("plan.json");
    if before.is_some() {
        let there = bundle::read_small(&path, MAX_PLAN, "a plan")?;
        if serde_json::from_slice::<EfusePlan>(&there).ok().as_ref() != Some(&product.efuses) {
            return Err(another(&path, "another plan than this version makes"));
        }
    } else {
        write_json(&path, &product.efuses)?;
    }
    let public_keys = keep_public_keys(product, folder)?;
    if let Some(before) = before {
        description.files = before.files;
        folder.check_files(&description)?;
        return Ok(description);
    }
    let digests = (0..product.boot_keys.len()).map(|index| format!("digest{index}.bin"));
    let names = [CONFIG.to_owned(), PLAN.to_owned()];
    description.files = folder.digests(
        names
            .into_iter()
            .chain(digests)
            .chain(public_keys)
            .collect(),
    )?;
    folder.describe(&description)?;
    Ok(description)
}

/// Boards of one batch are burned alike: what it was made with stays.
fn another(path: &Path, what: &str) -> Error {
    Error::refused(
        path.display().to_string(),
        format!("is {what}"),
        "bring it back from a copy of the batch, and go on with the version of airseal that batch.json names, or make a new batch",
    )
}

/// A region as `batch.json` has it; a file that was made by an earlier run stays as it is.
fn plan(region: &Region, kept: &[RegionPlan]) -> RegionPlan {
    let source = match &region.content {
        Content::NvsKeys => RegionSource::NvsKeys,
        Content::Nvs(_) => RegionSource::Nvs,
        Content::Common(bytes) => {
            let earlier = kept.iter().find(|plan| plan.name == region.name);
            earlier
                .map(|plan| plan.source.clone())
                .unwrap_or_else(|| RegionSource::Common {
                    file: format!("{}.bin", region.name),
                    len: bytes.len() as u64,
                    sha256: hex::encode(Sha256::digest(bytes)),
                })
        }
    };
    RegionPlan {
        name: region.name.clone(),
        address: region.address,
        encrypted: region.encrypted,
        source,
    }
}

/// Public keys that stations seal to, in `common/`: the configuration's own paths mean nothing there.
fn keep_public_keys(product: &Product, folder: &BatchFolder) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    let keys = &product.config.keys;
    let config = Path::new(&product.file).parent().unwrap_or(Path::new(""));
    let at_rest = keys
        .at_rest
        .iter()
        .filter(|name| *name != "plain-for-tests")
        .map(Path::new);
    let escrow = keys.escrow_to.iter().map(PathBuf::as_path);
    for (kind, path) in at_rest
        .map(|path| (AT_REST, path))
        .chain(escrow.map(|path| (ESCROW, path)))
    {
        let key = KeyFile::read(&config.join(path), None, &NoPassphrase)?
            .key
            .public();
        let Some(key) = key else {
            return Err(Error::refused(
                path.display().to_string(),
                "has no public half",
                "name a device's public key",
            ));
        };
        let name = format!("{kind}-{}.pub", key.id());
        write_file(
            &folder.common(&name),
            public_to_pem(&key).as_bytes(),
            Existing::Replace,
            Access::Public,
        )?;
        names.push(name);
    }
    Ok(names)
}

/// Who can open the boxes.
fn recipients(product: &Product, folder: &BatchFolder) -> Result<Recipients, Error> {
    let mut recipients = Recipients::new();
    let config = Path::new(&product.file).parent().unwrap_or(Path::new(""));
    for name in &product.config.keys.at_rest {
        if name == "plain-for-tests" {
            recipients.add(test_recipient(folder)?);
        } else {
            recipients.add(Recipient::read(&config.join(name), &NoPassphrase)?.key);
        }
    }
    Ok(recipients)
}

fn test_recipient(folder: &BatchFolder) -> Result<Recipient, Error> {
    let path = folder.path().join(TEST_KEY);
    if !path.exists() {
        let key = PrivateKey::generate(KeyKind::Device)?;
        let pem = airseal_pack::key::private_to_pem(&key, None)?;
        write_durable(&path, pem.as_bytes(), Existing::Refuse, Access::Owner)?;
    }
    let key = KeyFile::read(&path, None, &NoPassphrase)?.key;
    Recipient::from_key(TEST_KEY, &key)
}

/// The rows of every NVS partition.
pub(crate) struct ProductValues<'p>(Vec<(&'p Region, NvsEncryption, Values)>);

/// Placeholders that every device fills.
pub(crate) const KNOWN: [&str; 4] = ["serial", "device_id", "claim", "seed"];

impl<'p> ProductValues<'p> {
    pub(crate) fn read(product: &'p Product) -> Result<ProductValues<'p>, Error> {
        let folder = product.folder();
        let mut all = Vec::new();
        for region in &product.regions {
            let Content::Nvs(name) = &region.content else {
                continue;
            };
            let Some(config) = product.config.nvs.get(name) else {
                continue;
            };
            let values = config.values.as_ref().map(|path| folder.join(path));
            let values = Values::read(
                &folder.join(&config.fields),
                values.as_deref(),
                &product.serials,
                &KNOWN,
            )
            .map_err(|error| of_nvs(error, &product.file, name))?;
            all.push((region, config.encrypt, values));
        }
        Ok(ProductValues(all))
    }

    fn secrets(
        &self,
        product: &Product,
        serial: &str,
        entropy: &dyn Entropy,
    ) -> Result<DeviceSecrets, Error> {
        let mut secrets = DeviceSecrets::draw(product.secrets, entropy)?;
        if let Some(key) = &product.development_key {
            secrets.flash_key.clone_from(key);
        }
        self.build(serial, &mut secrets)?;
        Ok(secrets)
    }

    /// Builds the NVS partitions of a device from the secrets it has.
    pub(crate) fn build(&self, serial: &str, secrets: &mut DeviceSecrets) -> Result<(), Error> {
        let seed = Zeroizing::new(hex::encode(&*secrets.seed));
        let id = <&[u8; 32]>::try_from(&secrets.seed[..]).map(device_id);
        let known = [
            ("serial", serial),
            ("device_id", id.as_deref().unwrap_or_default()),
            ("claim", &secrets.claim),
            ("seed", &seed),
        ];
        let mut built = Vec::new();
        for (region, encrypt, values) in &self.0 {
            let rows = values.render(serial, &known)?;
            let bytes = build(region, *encrypt, &rows, secrets)
                .map_err(|error| of_serial(error, serial))?;
            built.push((region.name.clone(), bytes));
        }
        secrets.nvs = built;
        Ok(())
    }
}

/// Says which setting names a file that can't be read.
fn of_nvs(error: Error, file: &str, name: &str) -> Error {
    match error {
        Error::Io { action, source } => Error::Io {
            action: format!("{file}: nvs.{name}.fields or values: {action}"),
            source,
        },
        other => other,
    }
}

/// Says whose values are wrong.
fn of_serial(error: Error, serial: &str) -> Error {
    match error {
        Error::Refused {
            subject,
            message,
            remedy,
        } => Error::refused(format!("{subject}, for serial {serial}"), message, remedy),
        other => other,
    }
}

fn build(
    region: &Region,
    encrypt: NvsEncryption,
    rows: &Rendered<'_>,
    secrets: &DeviceSecrets,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let keys = match encrypt {
        NvsEncryption::None => None,
        NvsEncryption::Keys => Some(Zeroizing::new(key_array(&secrets.nvs_keys)?)),
        NvsEncryption::Hmac => Some(nvs::derive_keys(&key_array(&secrets.seed)?)),
    };
    let key = match &keys {
        None => None,
        Some(keys) => Some(airseal_esp::nvs::NvsKey::new(keys).map_err(|fault| {
            Error::refused(
                &region.name,
                fault.to_string(),
                "run again: the keys are drawn anew",
            )
        })?),
    };
    let layout = nvs::Layout {
        size: u32::try_from(region.room).unwrap_or(u32::MAX),
        version: airseal_esp::nvs::Version::Two,
        key: key.as_ref(),
        wifi_rows: true,
    };
    Ok(Zeroizing::new(
        nvs::parse_csv(rows.name, rows.folder.to_owned(), &rows.text, &layout)?.bytes,
    ))
}

fn key_array<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Error> {
    bytes.try_into().map_err(|_| {
        Error::refused(
            "nvs",
            "is encrypted with a key that the device does not have",
            "see nvs.*.encrypt",
        )
    })
}

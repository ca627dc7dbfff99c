//! Changing a finished bundle without changing the release: more signatures, more recipients.
//!
//! The signed bytes and the payload stay as they are, so the manifest digest does too. The bundle is written anew, whole or
//! not at all.

use std::io::Write as _;
use std::path::Path;

use airseal_format::cipher::PayloadKeys;
use airseal_format::envelope::Envelope;
use airseal_format::keyset::Roles;
use airseal_format::manifest::SIGNING_CONTEXT;
use airseal_format::signature::SigningPublicKey;
use airseal_format::{Algorithm, ContentSuite, KeyId, RecipientId};
use subtle::ConstantTimeEq as _;

use crate::Error;
use crate::bundle::{BundleFile, frame};
use crate::content_key::ContentKeyFile;
use crate::control::Control;
use crate::entropy::Entropy;
use crate::key::Warning;
use crate::output::{Access, Existing, OutputFile};
use crate::recipient::Recipients;
use crate::seal::wrap_all;
use crate::signer::{OwnedEntry, Signer, encode_block, parse_signature};

/// What changed in a bundle.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Changed {
    /// SHA-256 of the signed manifest, hexadecimal: the same as before.
    pub manifest_digest: String,
    /// Ids of all keys that signed, hexadecimal.
    pub signers: Vec<String>,
    /// Ids of the recipients that were added, hexadecimal.
    pub added: Vec<String>,
    /// Ids of the recipients that had an envelope already, hexadecimal.
    pub already: Vec<String>,
    /// Length of the new bundle, bytes.
    pub bundle_len: u64,
    /// Things to warn about.
    #[serde(skip)]
    pub warnings: Vec<Warning>,
}

/// Adds the signatures of `signers`; a key that signed before signs anew.
///
/// # Errors
/// Refused if a signature does not verify or there would be more than 8; `Io`.
pub fn cosign(
    bundle: &BundleFile,
    signers: &[Box<dyn Signer>],
    output: (&Path, Existing),
    control: &Control<'_>,
) -> Result<Changed, Error> {
    if signers.is_empty() {
        return Err(Error::usage("nobody signs", "give --sign KEY"));
    }
    let made: Result<Vec<OwnedEntry>, Error> = signers
        .iter()
        .map(|signer| OwnedEntry::make(signer.as_ref(), SIGNING_CONTEXT, bundle.signed_bytes()))
        .collect();
    with_signatures(bundle, made?, output, control)
}

/// The exact bytes to sign for `bundle`: what leaves for an HSM or an air-gapped machine.
pub fn sign_request(bundle: &BundleFile) -> Vec<u8> {
    [SIGNING_CONTEXT, bundle.signed_bytes()].concat()
}

/// Adds a signature that was made elsewhere over [`sign_request`]'s bytes: 64 raw bytes, or DER for ECDSA.
///
/// Without `key` the Ed25519 release keys of the newest keyset in the bundle are tried.
///
/// # Errors
/// Refused if it does not verify; usage error if the key is needed and not given; `Io`.
pub fn attach(
    bundle: &BundleFile,
    signature: (&str, &[u8]),
    key: Option<&SigningPublicKey>,
    output: (&Path, Existing),
    control: &Control<'_>,
) -> Result<Changed, Error> {
    let (name, bytes) = signature;
    let message = sign_request(bundle);
    let rows: Vec<SigningPublicKey> = bundle
        .keysets()
        .last()
        .into_iter()
        .flat_map(|signed| signed.keyset.keys())
        .filter(|row| row.algorithm == Algorithm::Ed25519 && row.roles.contains(Roles::RELEASE))
        .map(|row| SigningPublicKey::Ed25519(row.key))
        .collect();
    let entry = find_signer(name, bytes, key, &rows, &message)?;
    with_signatures(bundle, vec![entry], output, control)
}

/// Wraps the content key for more recipients; nobody has to sign anything.
///
/// # Errors
/// Refused if the content key is another release's; usage error if there is nobody to add; `Io`.
pub fn add_envelopes(
    bundle: &BundleFile,
    content_key: &ContentKeyFile,
    recipients: &Recipients,
    output: (&Path, Existing),
    entropy: &dyn Entropy,
    control: &Control<'_>,
) -> Result<Changed, Error> {
    if recipients.is_empty() {
        return Err(Error::usage(
            "nobody to add",
            "give --to PUB or --to-list FILE",
        ));
    }
    check_content_key(bundle, content_key)?;
    let mut fresh = recipients.clone();
    let mut already = Vec::new();
    let mut unknown: Option<RecipientId> = None;
    bundle.for_each_envelope(|header, _| {
        if fresh.remove(header.recipient_id) {
            already.push(header.recipient_id);
            if header.suite.is_none() {
                unknown = Some(header.recipient_id);
            }
        }
        Ok(())
    })?;
    if let Some(id) = unknown {
        return Err(Error::refused(
            bundle.name(),
            format!("the envelope of {id} is of a kind this version does not know"),
            "use the version that sealed it",
        ));
    }

    let mut file = OutputFile::create(output.0, output.1, Access::Public)?;
    let pack_len = bundle.pack_len() + fresh.pack_len();
    let payload = bundle.payload();
    let (front, payload_header) = frame(
        bundle.keyset_sections(),
        bundle.manifest_section(),
        pack_len,
        payload.len,
    )?;
    put(&mut file, &front)?;
    let mut waiting = Vec::with_capacity(fresh.len());
    wrap_all(
        &fresh,
        content_key.manifest_digest,
        &content_key.content_key,
        entropy,
        control,
        |id, envelope| {
            waiting.push((id, envelope.to_vec()));
            Ok(())
        },
    )?;
    let mut waiting = waiting.into_iter().peekable();
    bundle.for_each_envelope(|header, bytes| {
        while let Some((_, envelope)) = waiting.next_if(|(id, _)| *id < header.recipient_id) {
            put(&mut file, &envelope)?;
        }
        put(&mut file, bytes)
    })?;
    for (_, envelope) in waiting {
        put(&mut file, &envelope)?;
    }
    put(&mut file, &payload_header)?;
    bundle.copy_payload(&mut file, control)?;
    file.commit()?;
    let front_len = (front.len() + payload_header.len()) as u64;
    Ok(Changed {
        added: fresh.iter().map(|(id, _)| id.to_string()).collect(),
        already: already.iter().map(RecipientId::to_string).collect(),
        ..changed(
            bundle,
            bundle.manifest_section(),
            front_len + pack_len + payload.len,
        )
    })
}

/// Wraps the content key of a release for one recipient, without a bundle: what a server needs for a device that enrolled
/// later.
///
/// # Errors
/// As [`crate::recipient::Recipient::seal`].
pub fn make_envelopes(
    content_key: &ContentKeyFile,
    recipients: &Recipients,
    entropy: &dyn Entropy,
) -> Result<Vec<(RecipientId, Vec<u8>)>, Error> {
    recipients
        .iter()
        .map(|(id, recipient)| {
            let envelope = recipient.seal(
                content_key.manifest_digest,
                &content_key.content_key,
                entropy,
            )?;
            Envelope::parse(&envelope).map_err(|error| Error::format("envelope", 0, error))?;
            Ok((*id, envelope))
        })
        .collect()
}

/// The entry that `bytes` make for whoever of `key` or `candidates` signed `message`.
pub(crate) fn find_signer(
    name: &str,
    bytes: &[u8],
    key: Option<&SigningPublicKey>,
    candidates: &[SigningPublicKey],
    message: &[u8],
) -> Result<OwnedEntry, Error> {
    if let Some(key) = key {
        let signature = parse_signature(name, key, bytes)?;
        return OwnedEntry::from_signature(name, key, message, signature);
    }
    for candidate in candidates {
        if let Ok(signature) = parse_signature(name, candidate, bytes)
            && let Ok(entry) = OwnedEntry::from_signature(name, candidate, message, signature)
        {
            return Ok(entry);
        }
    }
    Err(Error::usage(
        format!("{name}: whose signature this is can't be told from the file"),
        "give the public key with --key PUB",
    ))
}

fn with_signatures(
    bundle: &BundleFile,
    made: Vec<OwnedEntry>,
    output: (&Path, Existing),
    control: &Control<'_>,
) -> Result<Changed, Error> {
    let ids: Vec<KeyId> = made.iter().map(|entry| entry.key_id).collect();
    let before: Vec<OwnedEntry> = bundle
        .signatures()
        .map(|block| {
            block
                .entries()
                .map(|entry| OwnedEntry::copy(&entry))
                .collect()
        })
        .unwrap_or_default();
    let block = encode_block(bundle.name(), before.into_iter().chain(made).collect())?;
    let section = [bundle.signed_bytes(), &block].concat();
    let payload = bundle.payload();
    let (front, payload_header) = frame(
        bundle.keyset_sections(),
        &section,
        bundle.pack_len(),
        payload.len,
    )?;
    let mut file = OutputFile::create(output.0, output.1, Access::Public)?;
    put(&mut file, &front)?;
    bundle.copy_pack(&mut file)?;
    put(&mut file, &payload_header)?;
    bundle.copy_payload(&mut file, control)?;
    file.commit()?;
    let front_len = (front.len() + payload_header.len()) as u64;
    let warnings = strangers(bundle, &ids);
    let changed = changed(
        bundle,
        &section,
        front_len + bundle.pack_len() + payload.len,
    );
    Ok(Changed {
        warnings,
        ..changed
    })
}

/// Warns of signatures that no device will count.
fn strangers(bundle: &BundleFile, signers: &[KeyId]) -> Vec<Warning> {
    let Some(newest) = bundle.keysets().last() else {
        return Vec::new();
    };
    let holds = |id: &KeyId| {
        newest
            .keyset
            .keys()
            .any(|row| row.key_id == *id && row.roles.contains(Roles::RELEASE))
    };
    let version = newest.keyset.header().version;
    signers
        .iter()
        .filter(|id| !holds(id))
        .map(|id| {
            Warning::Note(format!(
                "key {id} signed, but is no release key of keyset version {version}"
            ))
        })
        .collect()
}

fn check_content_key(bundle: &BundleFile, file: &ContentKeyFile) -> Result<(), Error> {
    let manifest = bundle.manifest();
    let header = manifest.header();
    if header.content_suite == ContentSuite::None {
        return Err(Error::refused(
            bundle.name(),
            "is not encrypted: everybody can open it",
            "",
        ));
    }
    let remedy = "use the content key file that was written when this release was sealed";
    if file.manifest_digest != manifest.digest() {
        return Err(Error::refused(
            bundle.name(),
            format!(
                "is release {}, the content key is of {}",
                manifest.digest(),
                file.manifest_digest
            ),
            remedy,
        ));
    }
    let keys = PayloadKeys::derive(
        header.content_suite,
        &file.content_key,
        &header.payload_salt,
    );
    if bool::from(keys.commitment().ct_eq(&header.cek_commit)) {
        Ok(())
    } else {
        Err(Error::refused(
            bundle.name(),
            "does not commit to this content key: its file is damaged",
            remedy,
        ))
    }
}

fn changed(bundle: &BundleFile, section: &[u8], bundle_len: u64) -> Changed {
    let signers = section
        .get(bundle.signed_bytes().len()..)
        .and_then(|block| airseal_format::signature::SignatureBlock::parse(block).ok())
        .map(|block| {
            block
                .entries()
                .map(|entry| entry.key_id.to_string())
                .collect()
        })
        .unwrap_or_default();
    Changed {
        manifest_digest: bundle.manifest().digest().to_string(),
        signers,
        added: Vec::new(),
        already: Vec::new(),
        bundle_len,
        warnings: Vec::new(),
    }
}

fn put(file: &mut OutputFile, bytes: &[u8]) -> Result<(), Error> {
    file.write_all(bytes)
        .map_err(|error| file.write_error(error))
}

//! The keysets a device trusts: compiled in, stored, and the one of the confirmed image.

use airseal_format::keyset::{Keyset, TrustedKeyset};
use airseal_format::{Error, KeysetVersion, Part, Reason};

use crate::Refusal;
use crate::config::Config;
use crate::port::{KeysetStore, KeysetUse};

/// The keyset in force: the higher of compiled-in and stored.
pub(crate) async fn in_force<'k>(
    device: &mut impl KeysetStore,
    config: &Config<'k>,
    out: &'k mut [u8],
) -> Result<TrustedKeyset<'k>, Refusal> {
    let compiled = Keyset::parse(config.keyset)?;
    let stored = device.keyset(KeysetUse::InForce, out).await?;
    let out: &'k [u8] = out;
    let stored = parse_stored(out, stored)?;
    let keyset = stored
        .filter(|stored| stored.header().version > compiled.header().version)
        .unwrap_or(compiled);
    Ok(keyset.trust_as_compiled_in())
}

/// The trusted keyset of `version`: in force, of the confirmed image, or compiled in.
pub(crate) async fn of_version<'k>(
    device: &mut impl KeysetStore,
    config: &Config<'k>,
    version: KeysetVersion,
    out: &'k mut [u8],
) -> Result<Option<TrustedKeyset<'k>>, Refusal> {
    let mut len = None;
    for which in [KeysetUse::InForce, KeysetUse::Boot] {
        let stored = device.keyset(which, out).await?;
        if parse_stored(out, stored)?.is_some_and(|k| k.header().version == version) {
            len = stored;
            break;
        }
    }
    let keyset = match len {
        Some(_) => parse_stored(out, len)?,
        None => Some(Keyset::parse(config.keyset)?).filter(|k| k.header().version == version),
    };
    Ok(keyset.map(Keyset::trust_as_compiled_in))
}

/// Stores the compiled-in keyset when it is newer than the stored one, so that the boot
/// loader learns of it.
pub(crate) async fn store_compiled_in(
    device: &mut impl KeysetStore,
    config: &Config<'_>,
    scratch: &mut [u8],
) -> Result<(), Refusal> {
    let compiled = Keyset::parse(config.keyset)?.header().version;
    let stored = device.keyset(KeysetUse::InForce, scratch).await?;
    let stored = parse_stored(scratch, stored)?;
    if stored.is_none_or(|stored| stored.header().version < compiled) {
        device.set_keyset(config.keyset).await?;
    }
    Ok(())
}

fn parse_stored(bytes: &[u8], len: Option<usize>) -> Result<Option<Keyset<'_>>, Refusal> {
    let Some(len) = len else { return Ok(None) };
    let truncated = Error::new(Part::Keyset, "signed_len", bytes.len(), Reason::Truncated);
    let keyset = Keyset::parse(bytes.get(..len).ok_or(truncated)?)?;
    Ok(Some(keyset))
}

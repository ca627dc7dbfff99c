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

/// The keyset that may vouch for an image accepted under `version`: the stored one, the one
/// of the confirmed image, or a newer one that is compiled in and not stored yet. A
/// compiled-in keyset that a stored one has replaced may not: its keys may have been
/// withdrawn.
pub(crate) async fn of_version<'k>(
    device: &mut impl KeysetStore,
    config: &Config<'k>,
    version: KeysetVersion,
    out: &'k mut [u8],
) -> Result<Option<TrustedKeyset<'k>>, Refusal> {
    let stored = device.keyset(KeysetUse::InForce, out).await?;
    let stored_version = parse_stored(out, stored)?.map(|k| k.header().version);
    let compiled = Keyset::parse(config.keyset)?;
    let is_newer = stored_version.is_none_or(|stored| stored < compiled.header().version);
    if is_newer && compiled.header().version == version {
        return Ok(Some(compiled.trust_as_compiled_in()));
    }
    let len = if stored_version == Some(version) {
        stored
    } else {
        device.keyset(KeysetUse::Boot, out).await?
    };
    let keyset = parse_stored(out, len)?.filter(|k| k.header().version == version);
    Ok(keyset.map(Keyset::trust_as_compiled_in))
}

/// Stores the compiled-in keyset when it is newer than the stored one, so that the boot
/// loader learns of it. `vouching` is the version the running image was accepted under.
pub(crate) async fn store_compiled_in(
    device: &mut impl KeysetStore,
    config: &Config<'_>,
    vouching: KeysetVersion,
    scratch: &mut [u8],
) -> Result<(), Refusal> {
    let compiled = Keyset::parse(config.keyset)?.header().version;
    let stored = device.keyset(KeysetUse::InForce, scratch).await?;
    let stored = parse_stored(scratch, stored)?;
    if stored.is_none_or(|stored| stored.header().version < compiled) {
        device.set_keyset(config.keyset, vouching).await?;
    }
    Ok(())
}

fn parse_stored(bytes: &[u8], len: Option<usize>) -> Result<Option<Keyset<'_>>, Refusal> {
    let Some(len) = len else { return Ok(None) };
    let truncated = Error::new(Part::Keyset, "signed_len", bytes.len(), Reason::Truncated);
    let keyset = Keyset::parse(bytes.get(..len).ok_or(truncated)?)?;
    Ok(Some(keyset))
}

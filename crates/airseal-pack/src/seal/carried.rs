//! A new generation of a group key that travels inside a release.

use airseal_format::recipient::carried::CarriedGroup;
use airseal_format::{ClassId, VendorId};

use super::SealRequest;
use crate::Error;
use crate::key::Warning;
use crate::recipient::Recipient;

/// The new key wrapped under the one older group key that the release is sealed to.
///
/// # Errors
/// Usage error unless there is exactly one: to guess would hand one group's key to another.
pub(super) fn carried_group(
    request: &SealRequest<'_>,
    vendor_id: VendorId,
    class_id: ClassId,
    warnings: &mut Vec<Warning>,
) -> Result<Option<CarriedGroup>, Error> {
    let Some(new) = request.carry_group else {
        return Ok(None);
    };
    let generation = new.generation();
    let groups = || {
        let all = request.recipients.iter();
        all.filter_map(|(_, recipient)| match recipient {
            Recipient::Group(group) => Some(group),
            Recipient::Device(_) => None,
        })
    };
    let mut older = groups().filter(|group| group.generation() < generation);
    let old = match (older.next(), older.next()) {
        (Some(old), None) => old,
        (Some(_), Some(_)) => {
            return Err(Error::usage(
                "--carry-group: --to names more than one older group key",
                "seal to the one group whose key is renewed; another group must not get it",
            ));
        }
        (None, _) if groups().next().is_some() => {
            return Err(Error::usage(
                format!(
                    "--carry-group: no group key in --to is older than generation {generation}"
                ),
                "name the key before it with --to, and make the new one with `airseal key rotate OLD.key -o NEW.key`",
            ));
        }
        (None, _) => {
            return Err(Error::usage(
                "--carry-group: the group key before it is not among --to",
                "add --to OLD.key: whoever holds that key finds the new one inside",
            ));
        }
    };
    warnings.push(Warning::Note(format!(
        "group key generation {generation} lasts on a device while a release runs that carries it: give --carry-group with each later release too, until devices are made with the new key"
    )));
    if old.generation() > 1 {
        warnings.push(Warning::Note(format!(
            "devices take one step only, and from a key they were given: one that was given an older key than generation {0}, and holds {0} because a release carried it, can't open the release after this one; seal --to the key the devices were given",
            old.generation()
        )));
    }
    let (old, new) = (old.identity(), new.identity());
    Ok(Some(CarriedGroup::wrap(&old, &new, vendor_id, class_id)))
}

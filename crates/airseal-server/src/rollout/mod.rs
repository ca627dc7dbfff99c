//! Which release a device is offered: pure decisions over what the store knows.

use airseal_format::{Digest, HardwareRevision, ReleaseOrder, SecurityVersion};

use crate::store::Candidate;

/// A release whose failure a device has reported so often is not offered to it again.
pub const FAILURES_UNTIL_HELD: u32 = 3;

/// What a device runs, as it says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    pub(crate) order: ReleaseOrder,
    pub(crate) security_version: SecurityVersion,
    pub(crate) hw_rev: HardwareRevision,
}

/// The decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    Nothing,
    Install { digest: Digest, payload_len: u64 },
    NoEnvelope(Digest),
    Held(Digest),
}

/// Takes the newest of `candidates` (newest first) that the device can use.
///
/// A release that does not concern the device (other revision, other targets, a stepping stone not reached) is passed
/// over. One without an envelope is passed over for an older one that has it. One that failed too often ends the search:
/// the device would refuse everything older.
pub(crate) fn choose(standing: &Standing, candidates: &[Candidate]) -> Offer {
    let mut without_envelope = None;
    for candidate in candidates {
        if !concerns(candidate, standing) {
            continue;
        }
        if candidate.failures >= FAILURES_UNTIL_HELD {
            return Offer::Held(candidate.digest);
        }
        if candidate.is_plain || candidate.has_envelope {
            return Offer::Install {
                digest: candidate.digest,
                payload_len: candidate.payload_len,
            };
        }
        without_envelope.get_or_insert(candidate.digest);
    }
    without_envelope.map_or(Offer::Nothing, Offer::NoEnvelope)
}

/// `seconds` plus up to an eighth, by a random number, so that devices that came together drift apart.
pub(crate) fn spread(seconds: u32, random: u32) -> u32 {
    let room = seconds / 8;
    seconds.saturating_add(random.checked_rem(room.saturating_add(1)).unwrap_or(0))
}

fn concerns(candidate: &Candidate, standing: &Standing) -> bool {
    candidate.order > standing.order
        && !candidate.is_for_others
        && (candidate.hw_rev_min..=candidate.hw_rev_max).contains(&standing.hw_rev)
        && candidate.security_version >= standing.security_version
        && candidate.min_from_security_version <= standing.security_version
        && candidate.min_from_seq <= standing.order.release_seq
}

#[cfg(test)]
mod tests {
    use airseal_format::{KeysetVersion, ReleaseSequence};

    use super::*;

    fn order(keyset: u32, seq: u64) -> ReleaseOrder {
        ReleaseOrder {
            keyset_version: KeysetVersion(keyset),
            release_seq: ReleaseSequence(seq),
        }
    }

    fn standing() -> Standing {
        Standing {
            order: order(1, 1),
            security_version: SecurityVersion(1),
            hw_rev: HardwareRevision(3),
        }
    }

    fn candidate(seq: u8) -> Candidate {
        Candidate {
            digest: Digest([seq; 32]),
            order: order(1, u64::from(seq)),
            security_version: SecurityVersion(1),
            min_from_security_version: SecurityVersion(0),
            min_from_seq: ReleaseSequence(0),
            hw_rev_min: HardwareRevision(0),
            hw_rev_max: HardwareRevision(9),
            is_plain: false,
            payload_len: 10,
            is_for_others: false,
            has_envelope: true,
            failures: 0,
        }
    }

    fn install(seq: u8) -> Offer {
        Offer::Install {
            digest: Digest([seq; 32]),
            payload_len: 10,
        }
    }

    #[test]
    fn the_newest_release_is_offered() {
        let offer = choose(&standing(), &[candidate(3), candidate(2)]);
        assert_eq!(offer, install(3));
    }

    #[test]
    fn nothing_newer_is_nothing() {
        assert_eq!(choose(&standing(), &[candidate(1)]), Offer::Nothing);
        assert_eq!(choose(&standing(), &[]), Offer::Nothing);
    }

    #[test]
    fn a_higher_keyset_version_is_newer_whatever_the_sequence() {
        let mut newer = candidate(1);
        newer.order = order(2, 1);
        assert_eq!(choose(&standing(), &[newer]), install(1));
        let mut older = candidate(9);
        older.order = order(0, 9);
        assert_eq!(choose(&standing(), &[older]), Offer::Nothing);
    }

    #[test]
    fn what_does_not_concern_the_device_is_passed_over() {
        let changes: [fn(&mut Candidate); 6] = [
            |c| c.is_for_others = true,
            |c| c.hw_rev_min = HardwareRevision(4),
            |c| c.hw_rev_max = HardwareRevision(2),
            |c| c.security_version = SecurityVersion(0),
            |c| c.min_from_security_version = SecurityVersion(2),
            |c| c.min_from_seq = ReleaseSequence(2),
        ];
        for change in changes {
            let mut newest = candidate(3);
            change(&mut newest);
            let offer = choose(&standing(), &[newest.clone(), candidate(2)]);
            assert_eq!(offer, install(2), "{newest:?}");
        }
    }

    #[test]
    fn without_an_envelope_an_older_release_serves_or_the_newest_is_named() {
        let (mut newest, mut older) = (candidate(3), candidate(2));
        newest.has_envelope = false;
        let offer = choose(&standing(), &[newest.clone(), older.clone()]);
        assert_eq!(offer, install(2));
        older.has_envelope = false;
        let offer = choose(&standing(), &[newest.clone(), older]);
        assert_eq!(offer, Offer::NoEnvelope(newest.digest));
    }

    #[test]
    fn a_plain_release_needs_no_envelope() {
        let mut plain = candidate(3);
        plain.has_envelope = false;
        plain.is_plain = true;
        assert_eq!(choose(&standing(), &[plain]), install(3));
    }

    #[test]
    fn r41_after_three_failures_a_release_is_held_and_the_next_one_is_offered() {
        let mut failing = candidate(3);
        failing.failures = 2;
        let offer = choose(&standing(), &[failing.clone(), candidate(2)]);
        assert_eq!(offer, install(3));
        failing.failures = 3;
        let offer = choose(&standing(), &[failing.clone(), candidate(2)]);
        assert_eq!(offer, Offer::Held(failing.digest));
        let offer = choose(&standing(), &[candidate(4), failing]);
        assert_eq!(offer, install(4));
    }

    #[test]
    fn spreading_stays_within_an_eighth() {
        assert_eq!(spread(80, 0), 80);
        assert_eq!(spread(80, 10), 90);
        assert_eq!(spread(80, 11), 80);
        assert_eq!(spread(0, 7), 0);
        assert!(spread(u32::MAX, u32::MAX) >= u32::MAX / 8);
    }
}

//! An envelope pack: ascending, of one release, and no envelope opens to a key by chance.
#![no_main]

use airseal_format::RecipientId;
use airseal_format::envelope::{HEADER_LEN, Header, Pack, PackEntry};
use airseal_format::recipient::Identity;
use airseal_format::recipient::group::GroupIdentity;
use airseal_format::recipient::x25519::X25519Identity;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(first) = data.first_chunk::<HEADER_LEN>() else {
        return;
    };
    let Ok(first) = Header::parse(first) else {
        return;
    };
    let Ok(pack) = Pack::new(first.manifest_digest, data) else {
        return;
    };
    let device = X25519Identity::new([7; 32]);
    let group = GroupIdentity::new([9; 32], 1);
    let mut last: Option<RecipientId> = None;
    let mut total = 0;
    for entry in pack {
        let Ok(entry) = entry else { return };
        let header = match &entry {
            PackEntry::Envelope(envelope) => {
                assert_eq!(
                    envelope.as_bytes().len(),
                    usize::from(envelope.header().len)
                );
                assert!(device.unwrap(envelope).is_err() && group.unwrap(envelope).is_err());
                *envelope.header()
            }
            PackEntry::UnknownSuite(header) => *header,
        };
        assert!(last.is_none_or(|last| last < header.recipient_id));
        last = Some(header.recipient_id);
        total += usize::from(header.len);
    }
    assert_eq!(
        total,
        data.len(),
        "a pack that ends without an error was read whole"
    );
});

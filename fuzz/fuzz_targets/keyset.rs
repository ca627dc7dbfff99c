//! A keyset file: parsing, the round trip, and a chain that never goes back.
#![no_main]

use airseal_format::keyset::{
    Followed, KeyRow, MAX_SIGNED_LEN, SignedKeyset, TrustedKeyset, encode,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut trusted: Option<TrustedKeyset<'_>> = None;
    for signed in SignedKeyset::parse_file(data) {
        let Ok(signed) = signed else { return };
        let keyset = signed.keyset;
        let rows: Vec<KeyRow> = keyset.keys().collect();
        let mut out = [0; MAX_SIGNED_LEN];
        let len = encode(keyset.header(), &rows, &mut out).expect("what was read can be written");
        assert_eq!(&out[..len], keyset.signed_bytes());

        let version = keyset.header().version;
        match trusted.take() {
            None => trusted = signed.verify_by_itself().ok(),
            Some(before) => {
                let old = before.header().version;
                trusted = Some(match before.follow(signed) {
                    Ok(Followed::Newer(next)) => {
                        assert_eq!(version.0, old.0 + 1, "versions go up one by one");
                        assert_eq!(next.header().prev_digest, before.digest());
                        next
                    }
                    Ok(Followed::Skipped) => {
                        assert!(version <= old);
                        before
                    }
                    Err(_) => before,
                });
            }
        }
    }
});

//! Whatever the bytes: a parser answers, and what it takes it writes again the same.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a test may unwrap, and documents itself by its name"
)]

mod common;

use airseal_format::envelope::{Envelope, Pack};
use airseal_format::keyset::{self, SignedKeyset};
use airseal_format::manifest::{self, Extension};
use airseal_format::offer::Offer;
use airseal_format::signature::{self, SignatureBlock};
use airseal_format::*;
use common::*;
use proptest::prelude::*;

proptest! {
    #[test]
    fn parsers_answer_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
        let _ = UnverifiedManifest::parse(&bytes);
        let _ = SignatureBlock::parse(&bytes);
        let _ = SignedKeyset::parse_file(&bytes).count();
        let _ = Envelope::parse(&bytes);
        let _ = Pack::new(Digest([0; 32]), &bytes).map(Iterator::count);
        let _ = Offer::parse(&bytes);
    }

    #[test]
    fn an_accepted_manifest_encodes_to_the_same_bytes(
        flips in proptest::collection::vec((0usize..440, any::<u8>()), 0..3),
        value in proptest::collection::vec(any::<u8>(), 0..9),
    ) {
        let private = [Extension { number: 0x7123, value: &value }];
        let mut signed = seal(header(ContentSuite::Aes256Ctr), &[1; 1500], &private).signed;
        for (at, mask) in flips {
            if let Some(byte) = signed.get_mut(at) {
                *byte ^= mask;
            }
        }
        if let Ok(parsed) = UnverifiedManifest::parse(&signed) {
            let components: Vec<_> = parsed.components().collect();
            let extensions: Vec<_> = parsed.extensions().map(Result::unwrap).collect();
            let mut out = [0; manifest::MAX_SIGNED_LEN];
            let len = manifest::encode(parsed.header(), &components, &extensions, &mut out).unwrap();
            prop_assert_eq!(&out[..len], &signed[..]);
        }
    }

    #[test]
    fn an_accepted_keyset_encodes_to_the_same_bytes(
        flips in proptest::collection::vec((0usize..320, any::<u8>()), 0..2),
    ) {
        let mut bytes = first_keyset();
        for (at, mask) in flips {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= mask;
            }
        }
        if let Ok(parsed) = SignedKeyset::parse(&bytes) {
            let rows: Vec<_> = parsed.keyset.keys().collect();
            let mut out = [0; keyset::MAX_SIGNED_LEN];
            let len = keyset::encode(parsed.keyset.header(), &rows, &mut out).unwrap();
            let entries: Vec<_> = parsed.signatures.entries().collect();
            let mut block = [0; signature::MAX_BLOCK_LEN];
            let block_len = signature::encode(&entries, &mut block).unwrap();
            prop_assert_eq!([&out[..len], &block[..block_len]].concat(), bytes);
        }
    }
}

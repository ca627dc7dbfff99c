//! A whole bundle, read front to back as a device reads it.
#![no_main]

use airseal_format::bundle::{
    HEADER_LEN, SECTION_HEADER_LEN, SectionKind, Walk, check_payload_len, encode_header,
};
use airseal_format::envelope::Pack;
use airseal_format::keyset::SignedKeyset;
use airseal_format::signature::SignatureBlock;
use airseal_format::{Digest, UnverifiedManifest};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((header, mut rest)) = data.split_first_chunk::<HEADER_LEN>() else {
        return;
    };
    let Ok(mut walk) = Walk::start(header) else {
        return;
    };
    assert_eq!(
        encode_header(u16::from_le_bytes([header[6], header[7]])),
        *header
    );
    let mut digest = Digest([0; 32]);
    let mut manifest_header = None;
    while !walk.is_complete() {
        let Some((header, after)) = rest.split_first_chunk::<SECTION_HEADER_LEN>() else {
            return;
        };
        let Ok(section) = walk.section(header) else {
            return;
        };
        assert_eq!(section.encode(), *header);
        let len = usize::try_from(section.len).unwrap_or(usize::MAX);
        let body = after.get(..len);
        match section.kind {
            SectionKind::Keyset => {
                if let Some(body) = body {
                    let _ = SignedKeyset::parse(body).and_then(SignedKeyset::verify_by_itself);
                }
            }
            SectionKind::Manifest => {
                let Some(body) = body else { return };
                let Ok((manifest, block)) = UnverifiedManifest::parse_prefix(body) else {
                    return;
                };
                let _ = SignatureBlock::parse(block);
                digest = manifest.digest();
                manifest_header = Some(*manifest.header());
            }
            SectionKind::EnvelopePack => {
                let Some(Ok(pack)) = body.map(|body| Pack::new(digest, body)) else {
                    return;
                };
                let _ = pack.last();
            }
            SectionKind::Payload => {
                assert!(walk.is_complete(), "the payload is the last section");
                let signed_len = manifest_header
                    .map(|header: airseal_format::manifest::Header| header.payload_len);
                let agrees =
                    manifest_header.is_some_and(|h| check_payload_len(&section, &h).is_ok());
                assert_eq!(agrees, signed_len == Some(section.len));
            }
        }
        let Some(body) = body else { return };
        rest = &after[body.len()..];
        assert_eq!(walk.end(), (data.len() - rest.len()) as u64);
    }
});

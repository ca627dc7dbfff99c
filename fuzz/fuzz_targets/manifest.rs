//! A manifest section: what parses is written back to the same bytes.
#![no_main]

use airseal_format::component::Component;
use airseal_format::manifest::{Extension, MAX_COMPONENTS, MAX_SIGNED_LEN, encode};
use airseal_format::signature::{Entry, MAX_BLOCK_LEN, SignatureBlock};
use airseal_format::{UnverifiedManifest, signature};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok((manifest, block)) = UnverifiedManifest::parse_prefix(data) else {
        return;
    };
    let components: Vec<Component> = manifest.components().collect();
    assert!((1..=MAX_COMPONENTS).contains(&components.len()));
    assert_eq!(components.len(), manifest.component_count());
    for component in &components {
        let geometry = component.geometry(manifest.header().profile);
        assert!(
            geometry.is_ok(),
            "a parsed component has a place in the payload"
        );
    }
    let _ = manifest.targets().map(Iterator::count);
    // Skippable extensions keep their bytes too, so the round trip covers them.
    let extensions: Vec<Extension<'_>> = manifest
        .extensions()
        .map(|item| item.expect("checked by parsing"))
        .collect();
    let mut out = [0; MAX_SIGNED_LEN];
    let len = encode(manifest.header(), &components, &extensions, &mut out)
        .expect("what was read can be written");
    assert_eq!(&out[..len], manifest.signed_bytes());

    let Ok(block) = SignatureBlock::parse(block) else {
        return;
    };
    let entries: Vec<Entry<'_>> = block.entries().collect();
    let mut out = [0; MAX_BLOCK_LEN];
    let len = signature::encode(&entries, &mut out).expect("what was read can be written");
    assert_eq!(&out[..len], block.as_bytes());
});

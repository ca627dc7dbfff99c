//! Signature sectors of secure boot v2: whatever counts as a block can be shown.
#![no_main]

use airseal_esp::secure_boot::{MAX_BLOCKS, SignatureBlock};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut count = 0;
    for block in SignatureBlock::read_sector(data) {
        count += 1;
        let Ok(block) = block else {
            continue;
        };
        assert_ne!(block.rsa_key().is_some(), block.ecdsa_key().is_some());
        assert!(matches!(block.image_digest().len(), 32 | 48));
        assert!(!block.signature().is_empty());
        let _ = block.key_digest();
    }
    assert!(count <= MAX_BLOCKS);
});

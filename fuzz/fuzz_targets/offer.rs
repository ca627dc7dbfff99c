//! An offer: what parses is written back to the same bytes.
#![no_main]

use airseal_format::offer::{Offer, SIGNED_LEN};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(offer) = Offer::parse(data) else {
        return;
    };
    assert_eq!(offer.encode_signed(), data[..SIGNED_LEN]);
    assert_ne!(offer.valid_for, 0);
});

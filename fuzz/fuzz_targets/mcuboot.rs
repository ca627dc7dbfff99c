//! MCUboot images: whatever opens has its body inside the file, and what is made opens until a byte changes.
#![no_main]

use std::sync::OnceLock;

use airseal_pack::bridge::keys::BridgeKey;
use airseal_pack::bridge::mcuboot::{Encrypt, KeyLen, Unwrap, Version, Wrap, encrypt, open};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let pairs = pairs();
    if let Ok((body, found)) = open("fuzz.img", data, None, None) {
        assert_eq!(body.len(), found.size as usize);
        assert!(data.len() > body.len() && !found.signed && !found.encrypted);
    }
    for pair in pairs {
        if let Ok((body, found)) = open("fuzz.img", data, Some(&pair.unwrap), Some(&pair.signer)) {
            assert!(found.signed && body.len() == found.size as usize);
        }
    }
    let Some(([choice, low, high, bit], payload)) = data.split_first_chunk::<4>() else {
        return;
    };
    let pair = &pairs[usize::from(*choice) % pairs.len()];
    let how = Encrypt {
        version: Version {
            major: *choice,
            minor: *bit,
            revision: u16::from(*low),
            build: u32::from(*high),
        },
        header_len: 32 + u16::from(choice >> 4),
        security_counter: (choice & 4 != 0).then_some(u32::from(*low)),
        signer: &pair.signer,
        wrap: &pair.wrap,
        key_len: match choice & 8 {
            0 => KeyLen::Aes128,
            _ => KeyLen::Aes256,
        },
    };
    let Ok(mut image) = encrypt("fuzz.bin", payload, &how) else {
        return;
    };
    let (body, found) = open("made.img", &image, Some(&pair.unwrap), Some(&pair.signer))
        .expect("what was made opens");
    assert_eq!(&body[..payload.len()], payload);
    assert_eq!(found.version, how.version);
    assert_eq!(found.security_counter, how.security_counter);
    let signed_len = usize::from(how.header_len) + body.len();
    let place = usize::from(u16::from_le_bytes([*low, *high])) % signed_len;
    image[place] ^= 1 << (bit % 8);
    let changed = open("bad.img", &image, Some(&pair.unwrap), Some(&pair.signer));
    assert!(changed.is_err(), "byte {place} was changed");
});

struct Pair {
    signer: BridgeKey,
    wrap: Wrap,
    unwrap: Unwrap,
}

/// The two whose mathematics is fast enough to fuzz with.
fn pairs() -> &'static [Pair; 2] {
    static PAIRS: OnceLock<[Pair; 2]> = OnceLock::new();
    PAIRS.get_or_init(|| {
        [
            (
                include_bytes!("../../vectors/esp/mcuboot/sign-ec256.pem").as_slice(),
                include_bytes!("../../vectors/esp/mcuboot/enc-ec256.pem").as_slice(),
            ),
            (
                include_bytes!("../../vectors/esp/mcuboot/sign-ed25519.pem").as_slice(),
                include_bytes!("../../vectors/esp/mcuboot/enc-x25519.pem").as_slice(),
            ),
        ]
        .map(|(signer, device)| {
            let key = |pem| BridgeKey::from_pem("test key", pem).expect("a key");
            Pair {
                signer: key(signer),
                wrap: Wrap::Public {
                    key: key(device).public().expect("a public half"),
                    sha512: false,
                },
                unwrap: Unwrap::Private(key(device)),
            }
        })
    })
}

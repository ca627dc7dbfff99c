//! MCUboot images: whatever opens has its body inside the file, and what is made opens until a byte changes.
#![no_main]

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::OnceLock;

use airseal_pack::bridge::keys::BridgeKey;
use airseal_pack::bridge::mcuboot::{
    Encrypt, KeyLen, Unwrap, Verified, Version, Wrap, encrypt, open,
};
use airseal_pack::control::Control;
use airseal_pack::output::{Access, Existing};
use airseal_pack::source::Source;
use airseal_pack::{Error, OutputFile};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let pairs = pairs();
    if let Ok((body, found)) = opened(data, None, None) {
        assert_eq!(body.len(), found.size as usize);
        assert!(data.len() > body.len() && !found.signed && !found.encrypted);
    }
    for pair in pairs {
        if let Ok((body, found)) = opened(data, Some(&pair.unwrap), Some(&pair.signer)) {
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
    let Ok(mut image) = made(payload, &how) else {
        return;
    };
    let (body, found) =
        opened(&image, Some(&pair.unwrap), Some(&pair.signer)).expect("what was made opens");
    assert_eq!(&body[..payload.len()], payload);
    assert_eq!(found.version, how.version);
    assert_eq!(found.security_counter, how.security_counter);
    let signed_len = usize::from(how.header_len) + body.len();
    let place = usize::from(u16::from_le_bytes([*low, *high])) % signed_len;
    image[place] ^= 1 << (bit % 8);
    let changed = opened(&image, Some(&pair.unwrap), Some(&pair.signer));
    assert!(changed.is_err(), "byte {place} was changed");
});

fn opened(
    bytes: &[u8],
    key: Option<&Unwrap>,
    signer: Option<&BridgeKey>,
) -> Result<(Vec<u8>, Verified), Error> {
    let image = Source::spool("image", &mut &bytes[..])?;
    let mut output = nameless()?;
    let found = open(&image, key, signer, Some(&output), &Control::default())?;
    Ok((written(&mut output), found))
}

fn made(payload: &[u8], how: &Encrypt<'_>) -> Result<Vec<u8>, Error> {
    let payload = Source::spool("firmware", &mut &payload[..])?;
    let mut output = nameless()?;
    encrypt(&payload, how, &output, &Control::default())?;
    Ok(written(&mut output))
}

/// A temporary file that never gets a name.
fn nameless() -> Result<OutputFile, Error> {
    OutputFile::create(Path::new("-"), Existing::Refuse, Access::Owner)
}

fn written(output: &mut OutputFile) -> Vec<u8> {
    let mut bytes = Vec::new();
    output.seek(SeekFrom::Start(0)).expect("a temporary file");
    output.read_to_end(&mut bytes).expect("a temporary file");
    bytes
}

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

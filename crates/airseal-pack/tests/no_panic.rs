//! Whatever stands in a file, reading it ends in a value or a refusal.
#![allow(
    clippy::unwrap_used,
    reason = "a test may unwrap, and documents itself by its name"
)]

mod common;

use airseal_pack::BundleFile;
use airseal_pack::content_key::ContentKeyFile;
use airseal_pack::inspect::inspect;
use airseal_pack::key::{KeyFile, KeyKind, KeyRole, NoPassphrase, PrivateKey, private_to_pem};
use airseal_pack::keyset::KeysetFile;
use airseal_pack::recipient::parse_device_list;
use airseal_pack::recognise::recognise;
use airseal_pack::source::Source;
use common::{World, noise};
use proptest::prelude::*;

fn read_all(bytes: &[u8]) {
    let _ = KeyFile::parse("f", bytes, None, &NoPassphrase);
    let _ = KeyFile::parse("f", bytes, Some(KeyRole::Recipient), &NoPassphrase);
    let _ = ContentKeyFile::parse("f", bytes);
    let _ = KeysetFile::parse("f", bytes.to_vec()).map(|file| file.info());
    let _ = parse_device_list("f", bytes);
    let _ = recognise(bytes);
    if let Ok(bundle) = BundleFile::read(Source::spool("f", &mut &bytes[..]).unwrap()) {
        let _ = inspect(&bundle);
    }
}

proptest! {
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        read_all(&bytes);
    }

    #[test]
    fn any_text(text in "[-A-Za-z0-9+/=:,{}\"\\n ]{0,300}") {
        read_all(text.as_bytes());
        read_all(format!("airseal-kind: device\n-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n").as_bytes());
    }

    #[test]
    fn a_key_file_with_one_byte_changed(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        for kind in KeyKind::ALL {
            let mut pem = private_to_pem(&PrivateKey::generate(kind).unwrap(), None).unwrap().as_bytes().to_vec();
            let at = at.index(pem.len());
            pem[at] = byte;
            read_all(&pem);
        }
    }
}

#[test]
fn a_bundle_with_any_byte_changed() {
    let world = World::new();
    let path = world.seal(&noise(100), |_| {}).unwrap().0;
    let mut bytes = std::fs::read(path).unwrap();
    for at in 0..bytes.len() {
        for byte in [0, 1, 0x7F, 0xFF] {
            let before = std::mem::replace(&mut bytes[at], byte);
            read_all(&bytes);
            bytes[at] = before;
        }
    }
}

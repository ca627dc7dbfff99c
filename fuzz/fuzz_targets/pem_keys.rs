//! A key file from anywhere: what is read as a key can be written and reads as the same key.
#![no_main]

use airseal_pack::key::{KeyFile, NoPassphrase, private_to_pem, public_to_pem};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(key) = KeyFile::parse("fuzz.key", data, None, &NoPassphrase) else {
        return;
    };
    let text = match &key {
        KeyFile::Private(private) => private_to_pem(private, None)
            .expect("a key has a file")
            .to_string(),
        KeyFile::Public(public) => public_to_pem(public),
    };
    let again = KeyFile::parse(
        "again.key",
        text.as_bytes(),
        Some(key.kind().role()),
        &NoPassphrase,
    );
    let Ok(again) = again else {
        panic!("our own file is refused")
    };
    assert_eq!(again.kind(), key.kind());
    assert_eq!(again.info().id, key.info().id);
    assert_eq!(again.recipient_id(), key.recipient_id());
});

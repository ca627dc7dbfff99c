//! Pre-encrypted images: a header is what was read, no stranger's bytes open, and what is made opens until a byte changes.
#![no_main]

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::OnceLock;

use airseal_esp::encrypted_img::{HEADER_LEN, Header, KeyBlock};
use airseal_pack::bridge::encrypted_img::{DecryptKey, EncryptKey, decrypt, encrypt};
use airseal_pack::control::Control;
use airseal_pack::entropy::Entropy;
use airseal_pack::output::{Access, Existing};
use airseal_pack::source::Source;
use airseal_pack::{Error, OutputFile};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    header(data);
    let Some((choice, rest)) = data.split_first() else {
        return;
    };
    let keys = keys();
    let (seal, open) = &keys[usize::from(choice & 1)];
    if choice & 2 == 0 {
        let _ = opened(data, open);
        return;
    }
    let Some((change, firmware)) = rest.split_first_chunk::<4>() else {
        return;
    };
    let Ok(mut sealed) = made(firmware, seal) else {
        return;
    };
    assert_eq!(opened(&sealed, open).expect("ours opens"), firmware);
    let [low, high, bit, how] = *change;
    let place = usize::from(u16::from_le_bytes([low, high])) % sealed.len();
    if how & 1 == 1 {
        sealed.truncate(place);
    } else {
        sealed[place] ^= 1 << (bit % 8);
    }
    // Bytes that nothing protects: the unused ones of the key block in ECIES, and the reserved ones.
    let loose =
        (100..388).contains(&place) && choice & 1 == 1 || (424..HEADER_LEN).contains(&place);
    match opened(&sealed, open) {
        Ok(plain) => assert!(loose && how & 1 == 0 && plain == firmware),
        Err(_) => assert!(!loose || how & 1 == 1),
    }
});

fn header(data: &[u8]) {
    let Ok(header) = Header::from_bytes(data) else {
        return;
    };
    let bytes = header.to_bytes();
    let seen = &data[..HEADER_LEN];
    assert_eq!(bytes[..424], seen[..424]);
    assert_eq!(header.reserved_zero, bytes[..] == *seen);
    let block = KeyBlock::from_bytes(&header.key_block);
    assert_eq!(block.to_bytes()[..96], header.key_block[..96]);
    let fits = header.check_len(data.len() as u64).is_ok();
    assert_eq!(fits, data.len() - HEADER_LEN == header.size as usize);
}

fn opened(bytes: &[u8], key: &DecryptKey) -> Result<Vec<u8>, Error> {
    let source = Source::spool("fuzz.enc", &mut &bytes[..])?;
    let mut output = nameless()?;
    decrypt(&source, key, &output, &Control::default())?;
    Ok(written(&mut output))
}

fn made(bytes: &[u8], key: &EncryptKey) -> Result<Vec<u8>, Error> {
    let source = Source::spool("fuzz.bin", &mut &bytes[..])?;
    let mut output = nameless()?;
    encrypt(&source, key, &Counting, &output, &Control::default())?;
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

/// The same bytes in every run.
struct Counting;

impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), Error> {
        (1..).zip(bytes).for_each(|(count, byte)| *byte = count);
        Ok(())
    }
}

fn keys() -> &'static [(EncryptKey, DecryptKey); 2] {
    static KEYS: OnceLock<[(EncryptKey, DecryptKey); 2]> = OnceLock::new();
    KEYS.get_or_init(|| {
        [
            include_bytes!("../../vectors/esp/enc_img/rsa3072.pem").as_slice(),
            include_bytes!("../../vectors/esp/enc_img/device_priv_key.pem").as_slice(),
        ]
        .map(|pem| {
            let seal = EncryptKey::parse("test key", pem).expect("a public half");
            (
                seal,
                DecryptKey::parse("test key", pem).expect("a private key"),
            )
        })
    })
}

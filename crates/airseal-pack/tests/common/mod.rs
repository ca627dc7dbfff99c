//! A vendor, a device and real firmware, for the tests.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a helper shared by test files, each of which uses its part"
)]

use std::path::{Path, PathBuf};

use airseal_format::ContentSuite;
use airseal_pack::control::Control;
use airseal_pack::entropy::SystemEntropy;
use airseal_pack::firmware::{ChipChoice, Firmware, FirmwareChecks};
use airseal_pack::key::{KeyFile, KeyKind, PrivateKey, PublicKey};
use airseal_pack::open::{NamedTrust, OpenKey, Opened, open};
use airseal_pack::output::Existing;
use airseal_pack::recipient::{Recipient, Recipients};
use airseal_pack::seal::{SealOutput, SealRequest, Sealed, seal};
use airseal_pack::signer::{KeySigner, Signer};
use airseal_pack::{BundleFile, Error};

pub struct World {
    pub dir: tempfile::TempDir,
    pub signer: PrivateKey,
    pub device: PrivateKey,
}

impl World {
    pub fn new() -> World {
        World {
            dir: tempfile::tempdir().unwrap(),
            signer: PrivateKey::generate(KeyKind::Signing).unwrap(),
            device: PrivateKey::generate(KeyKind::Device).unwrap(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn trust(&self) -> NamedTrust {
        trust(&self.signer)
    }

    pub fn open_key(&self) -> OpenKey {
        OpenKey::new("device.key", &self.device).unwrap()
    }

    /// Opens the only component into a file.
    pub fn open(
        &self,
        bundle: &BundleFile,
        key: Option<&OpenKey>,
        output: (&Path, Existing),
    ) -> Result<Opened, Error> {
        open(
            bundle,
            &self.trust(),
            key,
            None,
            output,
            &Control::default(),
        )
    }

    /// Seals bytes as they are.
    pub fn seal(
        &self,
        bytes: &[u8],
        change: impl FnOnce(&mut SealRequest<'_>),
    ) -> Result<(PathBuf, Sealed), Error> {
        let input = self.path("firmware.bin");
        std::fs::write(&input, bytes).unwrap();
        let checks = FirmwareChecks {
            chip: ChipChoice::None,
            ..Default::default()
        };
        self.seal_file(&input, &checks, change)
    }

    pub fn seal_file(
        &self,
        input: &Path,
        checks: &FirmwareChecks<'_>,
        change: impl FnOnce(&mut SealRequest<'_>),
    ) -> Result<(PathBuf, Sealed), Error> {
        let output = self.path("out.seal");
        let signers = [signer(&self.signer)];
        let recipients = recipients(&[&self.device]);
        let mut request = request(&recipients, &signers);
        change(&mut request);
        let firmware = Firmware::open(input, checks)?;
        let sealed = seal(
            &request,
            &firmware,
            &SealOutput {
                bundle: &output,
                content_key: None,
                detached: None,
                existing: Existing::Replace,
            },
            &SystemEntropy,
            &Control::default(),
        )?;
        Ok((output, sealed))
    }

    pub fn bundle(&self, bytes: &[u8], change: impl FnOnce(&mut SealRequest<'_>)) -> BundleFile {
        BundleFile::open(&self.seal(bytes, change).unwrap().0).unwrap()
    }
}

pub fn request<'a>(recipients: &'a Recipients, signers: &'a [Box<dyn Signer>]) -> SealRequest<'a> {
    SealRequest {
        vendor: "example.com",
        class: "thermostat",
        hardware: (0, 9),
        sequence: 7,
        version: Some("1.0.0"),
        security_version: None,
        min_security_version: 0,
        min_sequence: 0,
        built_at: Some(1_700_000_000),
        expires_at: 0,
        suite: ContentSuite::Aes256Ctr,
        raw_flash: None,
        small_ram: false,
        keyset: None,
        only: &[],
        carry_group: None,
        recipients,
        signers,
        allow_unsigned: false,
    }
}

pub fn signer(key: &PrivateKey) -> Box<dyn Signer> {
    Box::new(KeySigner::new("signing.key", key.clone()).unwrap())
}

pub fn recipients(keys: &[&PrivateKey]) -> Recipients {
    let mut recipients = Recipients::new();
    for key in keys {
        recipients
            .add(Recipient::from_key("device.pub", &KeyFile::Private((*key).clone())).unwrap());
    }
    recipients
}

pub fn trust(key: &PrivateKey) -> NamedTrust {
    match key.public() {
        Some(PublicKey::Signing(key)) => NamedTrust::Keys(vec![key]),
        _ => panic!("no signing key"),
    }
}

/// Bytes without a pattern, the same every time.
pub fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect()
}

pub fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

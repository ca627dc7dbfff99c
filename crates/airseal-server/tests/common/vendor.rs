//! A vendor with a signing key, and bundles sealed as the command line seals them.

use airseal_format::{ContentSuite, RecipientId};
use airseal_pack::Control;
use airseal_pack::entropy::SystemEntropy;
use airseal_pack::firmware::{ChipChoice, Firmware, FirmwareChecks};
use airseal_pack::key::{KeyFile, KeyKind, PrivateKey, PublicKey};
use airseal_pack::keyset::KeysetFile;
use airseal_pack::output::Existing;
use airseal_pack::recipient::{Recipient, Recipients};
use airseal_pack::seal::{SealOutput, SealRequest, seal};
use airseal_pack::signer::{KeySigner, Signer};
use airseal_pack::source::Source;
use airseal_server::api::types::{SetTrust, TrustKey};

pub const VENDOR: &str = "acme.example";
pub const CLASS: &str = "lamp";

/// The recipient key of a device.
pub struct DeviceKey(PrivateKey);

impl DeviceKey {
    pub fn new() -> Self {
        Self(PrivateKey::generate(KeyKind::Device).expect("random"))
    }

    pub fn public(&self) -> [u8; 32] {
        match self.0.public() {
            Some(PublicKey::Device(key)) => key.as_bytes().try_into().expect("x25519"),
            _ => unreachable!("a device key"),
        }
    }

    pub fn recipient(&self) -> Recipient {
        Recipient::from_key("device", &KeyFile::Private(self.0.clone())).expect("recipient")
    }
}

/// A vendor with one signing key.
pub struct Vendor {
    key: PrivateKey,
}

/// What a test wants sealed.
pub struct Wish<'a> {
    pub seq: u64,
    pub size: usize,
    pub class: &'a str,
    pub suite: ContentSuite,
    pub only: &'a [RecipientId],
    pub min_sequence: u64,
    pub keyset: Option<&'a KeysetFile>,
}

impl Default for Wish<'_> {
    fn default() -> Self {
        Self {
            seq: 1,
            size: 20_000,
            class: CLASS,
            suite: ContentSuite::ChaCha20,
            only: &[],
            min_sequence: 0,
            keyset: None,
        }
    }
}

impl Vendor {
    pub fn new() -> Self {
        Self::with_key(PrivateKey::generate(KeyKind::Signing).expect("random"))
    }

    pub fn with_key(key: PrivateKey) -> Self {
        Self { key }
    }

    pub fn trust(&self) -> SetTrust {
        let Some(PublicKey::Signing(key)) = self.key.public() else {
            unreachable!("a signing key");
        };
        SetTrust {
            keyset: None,
            keys: vec![TrustKey {
                algorithm: "ed25519".into(),
                public_key: hex::encode(key.as_bytes()),
            }],
        }
    }

    /// A sealed bundle and its manifest digest.
    pub fn seal(&self, wish: &Wish<'_>, to: &[&DeviceKey]) -> (Vec<u8>, String) {
        let folder = tempfile::tempdir().expect("tempdir");
        let path = folder.path().join("out.seal");
        let mut recipients = Recipients::new();
        for key in to {
            recipients.add(key.recipient());
        }
        let image: Vec<u8> = (0..wish.size)
            .map(|n| u8::try_from((n * 7 + n / 251) % 256).expect("a byte"))
            .collect();
        let source = Source::spool("firmware", &mut &image[..]).expect("spool");
        let checks = FirmwareChecks {
            chip: ChipChoice::None,
            ..Default::default()
        };
        let firmware = Firmware::check(source, &checks).expect("firmware");
        let version = format!("1.0.{}", wish.seq);
        let signers: [Box<dyn Signer>; 1] = [Box::new(
            KeySigner::new("vendor", self.key.clone()).expect("signer"),
        )];
        let request = SealRequest {
            vendor: VENDOR,
            class: wish.class,
            hardware: (0, 9),
            sequence: wish.seq,
            version: Some(&version),
            security_version: Some(0),
            min_security_version: 0,
            min_sequence: wish.min_sequence,
            built_at: Some(1_790_000_000),
            expires_at: 0,
            suite: wish.suite,
            raw_flash: None,
            small_ram: false,
            keyset: wish.keyset,
            only: wish.only,
            carry_group: None,
            recipients: &recipients,
            signers: &signers,
            allow_unsigned: false,
        };
        let output = SealOutput {
            bundle: &path,
            content_key: None,
            detached: None,
            existing: Existing::Refuse,
        };
        let sealed = seal(
            &request,
            &firmware,
            &output,
            &SystemEntropy,
            &Control::default(),
        )
        .expect("sealed");
        (
            std::fs::read(&path).expect("bundle"),
            sealed.manifest_digest,
        )
    }
}

pub fn vendor_id() -> [u8; 16] {
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_DNS, VENDOR.as_bytes()).into_bytes()
}

pub fn class_id() -> [u8; 16] {
    let vendor = uuid::Uuid::from_bytes(vendor_id());
    uuid::Uuid::new_v5(&vendor, CLASS.as_bytes()).into_bytes()
}

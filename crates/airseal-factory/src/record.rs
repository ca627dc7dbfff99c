//! The public record of a finished board: one line of `devices.jsonl`, what `device import` takes.

use airseal_format::recipient::seed::{Purpose, derive};
use airseal_pack::Error;
use airseal_pack::key::{PrivateKey, PublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// What a record calls itself.
const SCHEMA: &str = "airseal.device/1";

/// The state of a board that was given up.
pub(crate) const SCRAPPED: &str = "scrapped";

/// A finished board.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRecord {
    /// Always `airseal.device/1`.
    pub schema: String,
    /// As on the label.
    pub serial: String,
    /// Of the chip, lower case with colons.
    pub mac: String,
    /// The recipient id of its unseal key, hex; empty without a seed.
    pub device_id: String,
    /// The vendor's name.
    pub vendor: String,
    /// The class's name.
    pub class: String,
    /// Hardware revision.
    pub hw_rev: u16,
    /// The chip's name.
    pub chip: String,
    /// Public keys.
    pub keys: DeviceKeys,
    /// First 16 bytes of SHA-256("airseal1 fe" || flash key), hex; empty without flash encryption.
    pub flash_key_check: String,
    /// Digests of the secure boot keys in its eFuses, hex.
    pub sb_digests: Vec<String>,
    /// The image it was born with.
    pub factory: FactoryImage,
    /// The batch.
    pub batch: String,
    /// Words to select by.
    pub tags: Vec<String>,
    /// RFC 3339.
    pub provisioned_at: String,
    /// Which station.
    pub station: String,
    /// `destroyed` or `escrowed`.
    pub keys_after: String,
    /// `scrapped` once the board was given up: then no server takes it for a device in the field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

/// Public keys of a device, `KIND:BASE64`; all empty without a seed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceKeys {
    /// Releases are sealed to it.
    pub unseal: String,
    /// Static key of Noise connections.
    pub noise: String,
    /// Signs requests and TLS handshakes.
    pub request: String,
    /// The vendor's pre-encrypted images are made for it, as an uncompressed point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor_image: Option<String>,
}

/// The image a board was born with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FactoryImage {
    /// For people.
    pub version: String,
    /// Release sequence.
    pub seq: u64,
    /// Security version.
    pub security_version: u32,
    /// SHA-256 of the signed image, hex.
    pub sha256: String,
}

impl DeviceRecord {
    /// The schema's name.
    pub fn schema() -> String {
        SCHEMA.to_owned()
    }

    /// The record of a board that was given up.
    pub(crate) fn scrapped(self) -> DeviceRecord {
        DeviceRecord {
            state: Some(SCRAPPED.to_owned()),
            ..self
        }
    }
}

impl DeviceKeys {
    /// Derives them, as the device does.
    pub fn derive(seed: &[u8; 32]) -> DeviceKeys {
        let public = |key: PrivateKey, kind: &str| {
            let bytes = key
                .public()
                .map(|public| public.as_bytes().to_vec())
                .unwrap_or_default();
            format!("{kind}:{}", STANDARD.encode(bytes))
        };
        DeviceKeys {
            unseal: public(
                PrivateKey::Device(derive(seed, Purpose::HpkeX25519)),
                "x25519",
            ),
            noise: public(
                PrivateKey::Device(derive(seed, Purpose::NoiseX25519)),
                "x25519",
            ),
            request: public(
                PrivateKey::Signing(derive(seed, Purpose::Request)),
                "ed25519",
            ),
            vendor_image: None,
        }
    }

    /// The key for the vendor's pre-encrypted images, which the chip derives from the same block.
    ///
    /// # Errors
    /// Refused for one seed in 2^32, which gives no key.
    pub fn vendor_image(seed: &[u8; 32]) -> Result<String, Error> {
        let secret = airseal_pack::bridge::encrypted_img::device_key("the seed", seed)?;
        Ok(format!(
            "p256:{}",
            STANDARD.encode(secret.public_key().to_sec1_bytes())
        ))
    }
}

/// The id a device has by its seed: the recipient id of its unseal key, hex.
pub fn device_id(seed: &[u8; 32]) -> String {
    match PrivateKey::Device(derive(seed, Purpose::HpkeX25519)).public() {
        Some(PublicKey::Device(key)) => key.recipient_id().to_string(),
        _ => String::new(),
    }
}

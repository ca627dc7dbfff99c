//! Secure boot: the keys, and images signed with them.

use airseal_esp::Chip;
use airseal_esp::secure_boot::Scheme;
use airseal_pack::Error;
use airseal_pack::esp::boot_key::{BootPublicKey, BootSigner};
use airseal_pack::esp::sign::{SignOptions, Unsigned, verify_v2};
use airseal_pack::source::Source;

use super::Checker;
use crate::config::BootScheme;

/// What `secure_boot.sign` says instead of keys.
const ALREADY_SIGNED: &str = "already-signed";

impl Checker {
    /// The keys whose digests are burned, all of the scheme that is set.
    pub(super) fn boot_keys(&self, chip: Chip) -> Result<Vec<BootPublicKey>, Error> {
        let boot = &self.config.secure_boot;
        let scheme = match boot.scheme {
            BootScheme::Off if boot.sign.is_empty() && boot.digests.is_empty() => {
                return Ok(Vec::new());
            }
            BootScheme::Off => {
                return Err(self.refuse(
                    "secure_boot.scheme",
                    "is off, and keys are named",
                    "name a scheme, or leave sign and digests out",
                ));
            }
            BootScheme::V1 => {
                return Err(self.refuse(
                    "secure_boot.scheme",
                    "v1 can't be provisioned: its bootloader digest is made with a secret each chip needs",
                    "use v2-rsa (ESP32 from revision 3.0 on), or airseal esp sign and espefuse by hand",
                ));
            }
            BootScheme::V2Rsa => Scheme::Rsa3072,
            BootScheme::V2Ecdsa256 => Scheme::EcdsaP256,
            BootScheme::V2Ecdsa384 => Scheme::EcdsaP384,
        };
        if boot.digests.is_empty() {
            return Err(self.refuse(
                "secure_boot.digests",
                "names no key, so no image would ever boot",
                "name the public keys; a second one, kept offline, is the spare",
            ));
        }
        let most = usize::from(chip.key_digests());
        if boot.digests.len() > most {
            return Err(self.refuse(
                "secure_boot.digests",
                &format!("names {} keys, an {chip} holds {most}", boot.digests.len()),
                "name fewer",
            ));
        }
        let mut keys: Vec<BootPublicKey> = Vec::new();
        for path in &boot.digests {
            let key = BootPublicKey::read(&self.folder.join(path))
                .map_err(|error| self.of_setting("secure_boot.digests", error))?;
            let shown = path.display();
            if key.scheme() != scheme {
                return Err(self.refuse(
                    "secure_boot.digests",
                    &format!(
                        "{shown} is a key for {}, not for {}",
                        key.scheme().name(),
                        scheme.name()
                    ),
                    "name keys of the scheme that secure_boot.scheme says",
                ));
            }
            if keys.iter().any(|other| other == &key) {
                return Err(self.refuse(
                    "secure_boot.digests",
                    &format!("{shown} is named twice"),
                    "a second digest is worth something only if it is another key's",
                ));
            }
            keys.push(key);
        }
        if boot.sign.is_empty() {
            return Err(self.refuse(
                "secure_boot.sign",
                "is empty",
                "name the keys that sign, or \"already-signed\"",
            ));
        }
        Ok(keys)
    }

    /// Whether images come with their signatures, so that no byte of them can be set here.
    pub(super) fn is_already_signed(&self) -> bool {
        let boot = &self.config.secure_boot;
        boot.scheme != BootScheme::Off && boot.sign == [ALREADY_SIGNED]
    }

    /// The image with its signatures: made here, or there already and checked.
    pub(super) fn signed(
        &self,
        source: &Source,
        boot_keys: &[BootPublicKey],
    ) -> Result<Vec<u8>, Error> {
        let boot = &self.config.secure_boot;
        let whole = |source: &Source| {
            let len = usize::try_from(source.len()).unwrap_or(usize::MAX);
            let mut bytes = vec![0; len];
            source.read_at(0, &mut bytes)?;
            Ok::<_, Error>(bytes)
        };
        if boot.scheme == BootScheme::Off {
            return whole(source);
        }
        if self.is_already_signed() {
            let mut why = None;
            for key in boot_keys {
                match verify_v2(source, key) {
                    Ok(_) => return whole(source),
                    Err(error) => why = why.or(Some(error)),
                }
            }
            return Err(
                why.unwrap_or_else(|| self.refuse("secure_boot.digests", "names no key", ""))
            );
        }
        let mut unsigned = Unsigned::read(source, SignOptions::default())?;
        for spec in &boot.sign {
            let spec = if spec.contains(':') {
                spec.clone()
            } else {
                self.folder.join(spec).display().to_string()
            };
            let signer = BootSigner::open(&spec)
                .map_err(|error| self.of_setting("secure_boot.sign", error))?;
            if !boot_keys.contains(signer.public()) {
                return Err(self.refuse(
                    "secure_boot.sign",
                    &format!("{} is none of the keys in secure_boot.digests", signer.name()),
                    "the chip would refuse its signature: name its public key there, or sign with another",
                ));
            }
            unsigned.sign(&signer)?;
        }
        Ok(unsigned.finish()?.bytes)
    }
}

//! The key block: how the key of one image travels, in each scheme.

use airseal_esp::encrypted_img::{KEY_BLOCK_LEN, KEY_INFO, KeyBlock};
use aws_lc_rs::rsa::{Pkcs1PrivateDecryptingKey, Pkcs1PublicEncryptingKey};
use hkdf::Hkdf;
use p256::elliptic_curve::sec1::ToSec1Point as _;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::keys::{DecryptKey, EncryptKey};
use crate::Error;
use crate::entropy::Entropy;

/// Draws the key of one image and wraps it.
pub(super) fn wrap(
    key: &EncryptKey,
    entropy: &dyn Entropy,
) -> Result<(Zeroizing<[u8; 32]>, [u8; KEY_BLOCK_LEN]), Error> {
    let mut gcm_key = Zeroizing::new([0; 32]);
    match key {
        EncryptKey::Rsa(key) => {
            entropy.fill(gcm_key.as_mut())?;
            let mut block = [0; KEY_BLOCK_LEN];
            let failed = || Error::refused("RSA key", "can't encrypt", "");
            Pkcs1PublicEncryptingKey::new(key.clone())
                .and_then(|key| key.encrypt(gcm_key.as_ref(), &mut block).map(|_| ()))
                .map_err(|_| failed())?;
            Ok((gcm_key, block))
        }
        EncryptKey::Ecies(device) => {
            let ephemeral = random_scalar(entropy)?;
            let mut kdf_salt = [0; 32];
            entropy.fill(&mut kdf_salt)?;
            let point = ephemeral.public_key().to_sec1_point(false);
            let mut block = KeyBlock {
                point: [0; 64],
                salt: kdf_salt,
            };
            let (_, coordinates) = point.as_bytes().split_at(1);
            block.point.copy_from_slice(coordinates);
            derive(&ephemeral, device, &kdf_salt, &mut gcm_key);
            Ok((gcm_key, block.to_bytes()))
        }
    }
}

/// The key of the image `name`.
pub(super) fn unwrap(
    name: &str,
    key: &DecryptKey,
    block: &[u8; KEY_BLOCK_LEN],
) -> Result<Zeroizing<[u8; 32]>, Error> {
    let refuse = || {
        Error::refused(
            name,
            "key block at offset 4: does not open with this key",
            "it was made for another key or in the other scheme, or it is damaged",
        )
    };
    let mut gcm_key = Zeroizing::new([0; 32]);
    match key {
        DecryptKey::Rsa(key) => {
            let mut opened = Zeroizing::new([0; KEY_BLOCK_LEN]);
            let key = Pkcs1PrivateDecryptingKey::new(key.clone()).map_err(|_| refuse())?;
            let opened = key.decrypt(block, opened.as_mut()).map_err(|_| refuse())?;
            if opened.len() != gcm_key.len() {
                return Err(refuse());
            }
            gcm_key.copy_from_slice(opened);
        }
        DecryptKey::Ecies(secret) => {
            let fields = KeyBlock::from_bytes(block);
            let mut point = [4; 65];
            point[1..].copy_from_slice(&fields.point);
            let public = p256::PublicKey::from_sec1_bytes(&point).map_err(|_| refuse())?;
            derive(secret, &public, &fields.salt, &mut gcm_key);
        }
    }
    Ok(gcm_key)
}

fn derive(
    secret: &p256::SecretKey,
    public: &p256::PublicKey,
    kdf_salt: &[u8; 32],
    gcm_key: &mut [u8; 32],
) {
    let shared = p256::ecdh::diffie_hellman(secret.to_nonzero_scalar(), public.as_affine());
    Hkdf::<Sha256>::new(Some(kdf_salt), shared.raw_secret_bytes())
        .expand(KEY_INFO, gcm_key)
        .expect("32 bytes are within what HKDF can give");
}

fn random_scalar(entropy: &dyn Entropy) -> Result<p256::SecretKey, Error> {
    let mut bytes = Zeroizing::new([0; 32]);
    loop {
        entropy.fill(bytes.as_mut())?;
        if let Ok(secret) = p256::SecretKey::from_slice(bytes.as_ref()) {
            return Ok(secret);
        }
    }
}

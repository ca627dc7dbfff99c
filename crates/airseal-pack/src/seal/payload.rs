//! The two passes: binding the content key to the firmware, then encrypting, hashing and writing.

use airseal_format::cipher::{ChunkSealer, ContentKey, PayloadKeys};
use airseal_format::payload::{Geometry, image_header, leaf_header, node_header, root_header};
use airseal_format::{ComponentId, ContentSuite, Digest};
use aws_lc_rs::cipher::{AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::iv::FixedLength;
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::content::Content;
use crate::Error;
use crate::control::{Activity, Control};
use crate::entropy::Entropy;
use crate::parallel::{self, BufferPool};
use crate::source::length;

/// Bytes of firmware per job: a multiple of every profile's chunk length.
const BLOCK: u64 = 256 * 1024;
/// Bytes per piece of the hedge.
const PIECE: u64 = 1 << 20;

/// A content key drawn from `entropy` and bound to what is encrypted under it: even a source that repeats itself does not give two
/// different releases one key.
pub(super) fn hedged_content_key(
    contents: &[(ComponentId, Content<'_>)],
    entropy: &dyn Entropy,
    control: &Control<'_>,
) -> Result<ContentKey, Error> {
    let mut random = Zeroizing::new([0; 32]);
    entropy.fill(random.as_mut())?;
    let mut binding = Context::new(&SHA256);
    let total = contents.iter().map(|(_, content)| content.len()).sum();
    let mut done = 0;
    let pool = BufferPool::default();
    for (component, content) in contents {
        binding.update(&component.0.to_le_bytes());
        binding.update(&content.len().to_le_bytes());
        let pieces = (0..content.len().div_ceil(PIECE)).map(|piece| piece * PIECE);
        parallel::in_order(
            pieces,
            |start| {
                let len = PIECE.min(content.len() - start);
                let mut hash = Context::new(&SHA256);
                let mut block = pool.take(length(BLOCK));
                let mut at = 0;
                while at < len {
                    let step = length((len - at).min(BLOCK));
                    let bytes = block.get_mut(..step).unwrap_or_default();
                    content.read_at(start + at, bytes)?;
                    hash.update(bytes);
                    at += step as u64;
                }
                pool.give(block);
                Ok((hash.finish(), len))
            },
            |(digest, len)| {
                binding.update(digest.as_ref());
                done += len;
                control.report(Activity::Reading, done, total)
            },
        )?;
    }
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(None, random.as_ref())
        .expand_multi_info(&[b"airseal1 cek", binding.finish().as_ref()], key.as_mut())
        .expect("32 bytes fit HKDF-SHA256");
    Ok(ContentKey::new(*key))
}

/// What the second pass found out.
pub(super) struct SealedPayload {
    pub(super) tree_root: Digest,
    pub(super) image_digest: Digest,
}

/// Encrypts and hashes one component; `write` puts bytes at an offset of the payload, `progress` hears how many bytes of
/// the component were added.
pub(super) fn write(
    content: Content<'_>,
    geometry: &Geometry,
    (suite, keys): (ContentSuite, &PayloadKeys),
    place: u8,
    write: impl Fn(&[u8], u64) -> Result<(), Error> + Sync,
    mut progress: impl FnMut(u64) -> Result<(), Error>,
) -> Result<SealedPayload, Error> {
    let cipher = BlockCipher::new(suite, keys, geometry.component())?;
    let chunks_per_block =
        u32::try_from(BLOCK / u64::from(geometry.profile().chunk_len())).unwrap_or(1);
    let mut image = Context::new(&SHA256);
    image.update(&image_header(
        place,
        geometry.enc_len(),
        &keys.digest_salt(place),
    ));
    let mut top = Vec::with_capacity(length(geometry.top_len()));
    let mut page = Vec::with_capacity(length(geometry.profile().page_len()));
    let mut page_number = 0;
    let pool = BufferPool::default();

    parallel::in_order(
        blocks(geometry, chunks_per_block),
        |(first, last)| {
            let start = geometry.byte_offset(first);
            let len = geometry.byte_offset(last).min(geometry.enc_len()) - start;
            let mut plaintext = pool.take(length(len));
            content.read_at(start, &mut plaintext)?;
            let mut ciphertext = pool.take(length(len));
            ciphertext.copy_from_slice(&plaintext);
            cipher.encrypt(start, &mut ciphertext);
            let mut leaves = Vec::with_capacity(length(32 * (last - first)));
            for (chunk, bytes) in
                (first..last).zip(ciphertext.chunks(length(geometry.profile().chunk_len())))
            {
                let mut leaf = Context::new(&SHA256);
                leaf.update(&leaf_header(
                    geometry.component(),
                    chunk,
                    u32::try_from(bytes.len()).unwrap_or(u32::MAX),
                ));
                leaf.update(bytes);
                leaves.extend_from_slice(leaf.finish().as_ref());
            }
            write(&ciphertext, geometry.chunk_off(first))?;
            pool.give(ciphertext);
            Ok((plaintext, leaves))
        },
        |(plaintext, leaves)| {
            image.update(&plaintext);
            page.extend_from_slice(&leaves);
            let added = plaintext.len() as u64;
            pool.give(plaintext);
            if page.len() as u64 == u64::from(geometry.page_len(page_number)) {
                write(&page, geometry.page_off(page_number))?;
                let mut node = Context::new(&SHA256);
                node.update(&node_header(geometry.component(), page_number));
                node.update(&page);
                top.extend_from_slice(node.finish().as_ref());
                page.clear();
                page_number += 1;
            }
            progress(added)
        },
    )?;
    write(&top, geometry.top_off())?;
    let mut root = Context::new(&SHA256);
    root.update(&root_header(geometry));
    root.update(&top);
    Ok(SealedPayload {
        tree_root: digest(root),
        image_digest: digest(image),
    })
}

/// Runs of chunks that lie back to back in the payload: at most a block, never across a page.
pub(crate) fn blocks(
    geometry: &Geometry,
    chunks_per_block: u32,
) -> impl Iterator<Item = (u32, u32)> + use<> {
    let (chunks, fan_out) = (geometry.chunks(), geometry.profile().fan_out());
    let step = chunks_per_block.min(fan_out).max(1);
    (0..chunks)
        .step_by(length(step))
        .map(move |first| (first, first.saturating_add(step).min(chunks)))
}

/// The content cipher, with the library that is fastest on the host.
enum BlockCipher {
    None,
    Aes(Box<EncryptingKey>),
    Other(ChunkSealer),
}

impl BlockCipher {
    fn new(
        suite: ContentSuite,
        keys: &PayloadKeys,
        component: ComponentId,
    ) -> Result<BlockCipher, Error> {
        match suite {
            ContentSuite::None => Ok(BlockCipher::None),
            ContentSuite::Aes256Ctr => {
                let key = keys.component_key(component);
                UnboundCipherKey::new(&AES_256, key.as_ref())
                    .and_then(EncryptingKey::ctr)
                    .map(|key| BlockCipher::Aes(Box::new(key)))
                    .map_err(|_| {
                        Error::refused("cipher", "AES-256-CTR is not available on this machine", "")
                    })
            }
            ContentSuite::ChaCha20 => Ok(BlockCipher::Other(ChunkSealer::new(keys, component))),
        }
    }

    /// Encrypts bytes that lie at `offset` of the component, a multiple of 64.
    fn encrypt(&self, offset: u64, bytes: &mut [u8]) {
        match self {
            BlockCipher::None => {}
            BlockCipher::Aes(key) => {
                let mut iv = [0; 16];
                let block = u32::try_from(offset / 16).expect("a component is shorter than 4 GiB");
                iv[12..].copy_from_slice(&block.to_be_bytes());
                key.less_safe_encrypt(bytes, EncryptionContext::Iv128(FixedLength::from(iv)))
                    .expect("counter mode takes any length");
            }
            BlockCipher::Other(sealer) => sealer.encrypt(offset, bytes),
        }
    }
}

fn digest(context: Context) -> Digest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    Digest(bytes)
}

//! What the firmware knows about itself and what it demands of a release.

use airseal_format::component::FlashEncryption;
use airseal_format::offer::Question;
use airseal_format::recipient::Identity;
use airseal_format::{ClassId, HardwareRevision, ReleaseOrder, SecurityVersion, VendorId};

/// The constants of one device model, compiled into the firmware, and its keys.
#[derive(Clone, Copy)]
pub struct Config<'a> {
    /// The vendor whose releases it takes.
    pub vendor_id: VendorId,
    /// The class of this device.
    pub class_id: ClassId,
    /// This board's revision.
    pub hw_rev: HardwareRevision,
    /// Espressif chip id, or [`Config::NO_CHIP`].
    pub chip: u16,
    /// Scheme and check value of the flash encryption key, for raw components.
    pub flash_encryption: FlashEncryption,
    /// Signed bytes of the keyset compiled into this firmware.
    pub keyset: &'a [u8],
    /// Every key that opens envelopes: the device's own and its groups'.
    pub identities: &'a [&'a dyn Identity],
    /// The image outside both slots, on devices that have one.
    pub factory: Option<Factory>,
    /// What a release must satisfy beyond its signature.
    pub policy: Policy,
}

impl Config<'_> {
    /// Chip id of a device that is not one of Espressif's.
    pub const NO_CHIP: u16 = 0xFFFE;
}

/// An image outside both slots, which no update replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Factory {
    /// Its order; only releases of a higher order are taken, so zero takes all but sequence 0 under no keyset.
    pub order: ReleaseOrder,
    /// Its security version.
    pub security_version: SecurityVersion,
}

/// What a release must satisfy beyond its signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Takes releases with content suite 0, which are not encrypted.
    pub allow_plain: bool,
    /// Unix time in seconds to compare with `expires_at`; `None` ignores expiry.
    pub now: Option<u64>,
    /// Takes only releases that a fresh offer for this question names.
    pub offer: Option<Question>,
    /// Most components in a manifest.
    pub max_components: u8,
    /// Most envelopes in a pack.
    pub max_envelopes: u16,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            allow_plain: false,
            now: None,
            offer: None,
            max_components: 8,
            max_envelopes: 4096,
        }
    }
}

/// The buffers of a session, usually one `static`. They count the envelopes that were
/// unwrapped: after 64 without a staged release every session is refused with
/// [`TooManyFailedUnwraps`](crate::Refusal::TooManyFailedUnwraps) until the device restarts.
/// So keep them from one session to the next, and restart on that refusal if nothing else
/// restarts the device.
///
/// | constant | holds | default |
/// |---|---|---|
/// | `HEAD` | manifest and signatures, or one keyset and its signatures | 2048 |
/// | `TOP` | 32 bytes per page: 1024 for 16 MiB in 4 KiB chunks | 1024 |
/// | `PAGE` | leaves of one page: 4096 for 4 KiB chunks, 1024 for 1 KiB chunks | 4096 |
/// | `CHUNK` | one chunk; at least 832 | 4096 |
pub struct Memory<
    const HEAD: usize = 2048,
    const TOP: usize = 1024,
    const PAGE: usize = 4096,
    const CHUNK: usize = 4096,
> {
    head: [u8; HEAD],
    top: [u8; TOP],
    page: [u8; PAGE],
    chunk: [u8; CHUNK],
    /// Envelopes unwrapped since a release was staged or the device started.
    unwraps: u8,
}

/// Buffers for 1 KiB chunks and images up to 2 MiB: less than 6 KiB with the session's own
/// state. Holds manifests and keysets of 1088 bytes with their signatures: 16 keys and three
/// signatures, or 32 targets and two signatures.
pub struct SmallMemory(Memory<1088, 2048, 1024, 1024>);

impl SmallMemory {
    /// Zeroed buffers.
    #[must_use]
    pub const fn new() -> Self {
        Self(Memory::new())
    }

    /// Lends the buffers to a session.
    pub fn lend(&mut self) -> Buffers<'_> {
        self.0.lend()
    }
}

impl Default for SmallMemory {
    fn default() -> Self {
        Self::new()
    }
}

impl<const HEAD: usize, const TOP: usize, const PAGE: usize, const CHUNK: usize>
    Memory<HEAD, TOP, PAGE, CHUNK>
{
    /// Zeroed buffers.
    #[must_use]
    pub const fn new() -> Self {
        const { assert!(CHUNK >= 832, "the largest keyset is read into CHUNK") };
        Self {
            head: [0; HEAD],
            top: [0; TOP],
            page: [0; PAGE],
            chunk: [0; CHUNK],
            unwraps: 0,
        }
    }

    /// Lends the buffers to a session.
    pub fn lend(&mut self) -> Buffers<'_> {
        Buffers {
            head: Buffer::new(&mut self.head),
            top: Buffer::new(&mut self.top),
            page: Buffer::new(&mut self.page),
            chunk: Buffer::new(&mut self.chunk),
            unwraps: &mut self.unwraps,
        }
    }
}

impl<const HEAD: usize, const TOP: usize, const PAGE: usize, const CHUNK: usize> Default
    for Memory<HEAD, TOP, PAGE, CHUNK>
{
    fn default() -> Self {
        Self::new()
    }
}

/// Buffers lent to one session.
pub struct Buffers<'a> {
    pub(crate) head: Buffer<'a>,
    pub(crate) top: Buffer<'a>,
    pub(crate) page: Buffer<'a>,
    pub(crate) chunk: Buffer<'a>,
    pub(crate) unwraps: &'a mut u8,
}

/// A borrowed buffer and how much of it is filled.
pub(crate) struct Buffer<'a> {
    bytes: &'a mut [u8],
    len: usize,
}

impl<'a> Buffer<'a> {
    pub(crate) fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, len: 0 }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    /// Appends as much of `bytes` as brings the content to `target`, and returns how much.
    pub(crate) fn fill_to(&mut self, target: usize, bytes: &[u8]) -> usize {
        let wanted = target.min(self.bytes.len()).saturating_sub(self.len);
        let taken = wanted.min(bytes.len());
        let (Some(room), Some(from)) = (
            self.bytes.get_mut(self.len..self.len + taken),
            bytes.get(..taken),
        ) else {
            return 0;
        };
        room.copy_from_slice(from);
        self.len += taken;
        taken
    }

    /// Appends 0xFF, the value of erased flash, up to a multiple of `unit`.
    pub(crate) fn pad_to_multiple(&mut self, unit: usize) {
        let target = self.len.next_multiple_of(unit.max(1)).min(self.bytes.len());
        if let Some(room) = self.bytes.get_mut(self.len..target) {
            room.fill(0xFF);
            self.len = target;
        }
    }

    /// The whole buffer as scratch space; its content is forgotten.
    pub(crate) fn scratch(&mut self) -> &mut [u8] {
        self.len = 0;
        self.bytes
    }

    /// Gives up writing: the filled part for as long as the buffer was lent.
    pub(crate) fn freeze(self) -> &'a [u8] {
        let bytes: &'a [u8] = self.bytes;
        bytes.get(..self.len).unwrap_or_default()
    }
}

impl AsRef<[u8]> for Buffer<'_> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl AsMut<[u8]> for Buffer<'_> {
    fn as_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.len).unwrap_or_default()
    }
}

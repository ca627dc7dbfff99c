//! One component of a manifest: what is installed where, and how it is protected.

use crate::payload::{Geometry, Profile};
use crate::wire::{Reader, Writer};
use crate::{ComponentId, Digest, Error, FlashKeyCheck, Part, Reason};

/// Bytes at the end of every slot that are kept for the device's install record.
pub const RECORD_AREA_LEN: u32 = 8192;

/// A component's 160 bytes as values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Component {
    /// Unique in the manifest; also selects the key stream.
    pub id: ComponentId,
    /// What the bytes are.
    pub kind: Kind,
    /// Espressif chip id, or [`Component::ANY_CHIP`].
    pub target_chip: u16,
    /// Components of one place are alternatives; the first that matches is installed.
    pub place: u8,
    /// Offset of this component in the payload, bytes.
    pub file_off: u64,
    /// Length of the ciphertext, bytes, 1 to 2^32 - 1.
    pub enc_len: u64,
    /// Length of what lies in flash afterwards, bytes.
    pub install_len: u64,
    /// Where it goes.
    pub destination: Destination,
    /// How the plaintext is flash-encrypted already.
    pub flash_encryption: FlashEncryption,
    /// Root of the hash tree over the ciphertext.
    pub tree_root: Digest,
    /// Salted digest of the plaintext.
    pub image_digest: Digest,
}

impl Component {
    /// Length in bytes on the wire.
    pub const LEN: usize = 160;
    /// `target_chip` of a component for every chip.
    pub const ANY_CHIP: u16 = 0xFFFF;

    /// Where the top, pages and chunks of this component lie.
    ///
    /// # Errors
    /// `OutOfRange` when `profile` does not hold `enc_len`.
    pub fn geometry(&self, profile: Profile) -> Result<Geometry, Error> {
        Geometry::new(profile, self.id, self.file_off, self.enc_len).ok_or(Error::new(
            Part::Manifest,
            "enc_len",
            0,
            Reason::OutOfRange,
        ))
    }

    pub(crate) fn parse(bytes: &[u8], at: usize) -> Result<Self, Error> {
        let mut r = Reader::at(Part::Manifest, bytes, at);
        let id = ComponentId(r.u16("component_id")?);
        let kind = Kind::from_number(r.u8("kind")?)
            .ok_or_else(|| r.refuse("kind", Reason::UnknownValue))?;
        match r.u8("transform")? {
            0 => {}
            1..=3 => return Err(r.refuse("transform", Reason::Unsupported)),
            _ => return Err(r.refuse("transform", Reason::UnknownValue)),
        }
        let target_chip = r.u16("target_chip")?;
        r.zeros(1, "flags")?;
        let place = r.u8("place")?;
        let file_off = r.u64("file_off")?;
        let enc_len = r.u64("enc_len")?;
        if enc_len == 0 || enc_len > u64::from(u32::MAX) {
            return Err(r.refuse("enc_len", Reason::OutOfRange));
        }
        let install_len = r.u64("install_len")?;
        if install_len != enc_len {
            return Err(r.refuse("install_len", Reason::Sum));
        }
        let destination = Destination::from_number(r.u64("dest_addr")?);
        if destination == Destination::AnySlot && kind != Kind::App {
            return Err(r.refuse("dest_addr", Reason::OutOfRange));
        }
        let scheme = r.u8("fe_scheme")?;
        let scheme_is_known = scheme <= 3;
        if !scheme_is_known {
            return Err(r.refuse("fe_scheme", Reason::UnknownValue));
        }
        if scheme != 0 && destination == Destination::AnySlot {
            return Err(r.refuse("fe_scheme", Reason::OutOfRange));
        }
        r.zeros(7, "transform_parameters")?;
        let check = FlashKeyCheck(r.array("flash_key_check")?);
        let flash_encryption = FlashEncryption::from_wire(scheme, check)
            .ok_or_else(|| r.refuse("flash_key_check", Reason::MustBeZero))?;
        let tree_root = Digest(r.array("tree_root")?);
        let image_digest = Digest(r.array("image_digest")?);
        if r.take(32, "base_digest")?.iter().any(|&byte| byte != 0) {
            return Err(r.refuse("base_digest", Reason::MustBeZero));
        }
        Ok(Self {
            id,
            kind,
            target_chip,
            place,
            file_off,
            enc_len,
            install_len,
            destination,
            flash_encryption,
            tree_root,
            image_digest,
        })
    }

    pub(crate) fn encode(&self, w: &mut Writer<'_>) -> Result<(), Error> {
        w.u16(self.id.0)?;
        w.u8(self.kind.number())?;
        w.u8(0)?;
        w.u16(self.target_chip)?;
        w.u8(0)?;
        w.u8(self.place)?;
        w.u64(self.file_off)?;
        w.u64(self.enc_len)?;
        w.u64(self.install_len)?;
        w.u64(self.destination.number())?;
        let (scheme, check) = self.flash_encryption.to_wire();
        w.u8(scheme)?;
        w.zeros(7)?;
        w.put(&check.0)?;
        w.put(&self.tree_root.0)?;
        w.put(&self.image_digest.0)?;
        w.zeros(32)
    }
}

/// What a component is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An application image for a slot.
    App,
    /// The second-stage bootloader.
    Bootloader,
    /// The partition table.
    PartitionTable,
    /// Any other flash content at a fixed offset.
    Data,
}

impl Kind {
    /// The wire number.
    pub fn number(self) -> u8 {
        match self {
            Kind::App => 1,
            Kind::Bootloader => 2,
            Kind::PartitionTable => 3,
            Kind::Data => 4,
        }
    }

    /// The kind of a wire number, if it is defined.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Kind::App),
            2 => Some(Kind::Bootloader),
            3 => Some(Kind::PartitionTable),
            4 => Some(Kind::Data),
            _ => None,
        }
    }

    /// The name in listings.
    pub fn name(self) -> &'static str {
        match self {
            Kind::App => "app",
            Kind::Bootloader => "bootloader",
            Kind::PartitionTable => "partition-table",
            Kind::Data => "data",
        }
    }
}

/// Where a component is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Any slot (kind app only).
    AnySlot,
    /// This flash address: the start of a slot, or a fixed offset.
    Address(u64),
}

impl Destination {
    fn from_number(number: u64) -> Self {
        if number == u64::MAX {
            Destination::AnySlot
        } else {
            Destination::Address(number)
        }
    }

    fn number(self) -> u64 {
        match self {
            Destination::AnySlot => u64::MAX,
            Destination::Address(address) => address,
        }
    }
}

/// Whether the plaintext is an image that is flash-encrypted already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlashEncryption {
    /// Plain: the device writes it through its own flash encryption, if any.
    None,
    /// ESP32's first scheme.
    Esp32Legacy(FlashKeyCheck),
    /// XTS-AES-128.
    Xts128(FlashKeyCheck),
    /// XTS-AES-256.
    Xts256(FlashKeyCheck),
}

impl FlashEncryption {
    fn from_wire(scheme: u8, check: FlashKeyCheck) -> Option<Self> {
        match scheme {
            0 => check.is_zero().then_some(FlashEncryption::None),
            1 => Some(FlashEncryption::Esp32Legacy(check)),
            2 => Some(FlashEncryption::Xts128(check)),
            3 => Some(FlashEncryption::Xts256(check)),
            _ => None,
        }
    }

    fn to_wire(self) -> (u8, FlashKeyCheck) {
        match self {
            FlashEncryption::None => (0, FlashKeyCheck([0; 16])),
            FlashEncryption::Esp32Legacy(check) => (1, check),
            FlashEncryption::Xts128(check) => (2, check),
            FlashEncryption::Xts256(check) => (3, check),
        }
    }
}

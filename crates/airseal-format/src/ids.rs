//! Newtypes for ids, digests and versions.

use core::fmt;

macro_rules! byte_id {
    ($(#[doc = $doc:literal])* $name:ident, $len:literal) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// True when every byte is zero.
            pub fn is_zero(&self) -> bool {
                self.0 == [0; $len]
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                for byte in self.0 {
                    write!(f, "{byte:02x}")?;
                }
                Ok(())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

byte_id! {
    /// UUIDv5 of the vendor's name in the DNS namespace (RFC 9562), network byte order.
    VendorId, 16
}
byte_id! {
    /// UUIDv5 of the class name in the namespace of the vendor id.
    ClassId, 16
}
byte_id! {
    /// First 8 bytes of SHA-256("airseal1 key" || algorithm || public key).
    KeyId, 8
}
byte_id! {
    /// Names the key an envelope is for; see [`crate::recipient`].
    RecipientId, 16
}
byte_id! {
    /// A SHA-256 digest.
    Digest, 32
}
byte_id! {
    /// First 16 bytes of SHA-256("airseal1 fe" || flash encryption key).
    FlashKeyCheck, 16
}

macro_rules! number {
    ($(#[doc = $doc:literal])* $name:ident, $inner:ty) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// Board revision of a device.
    HardwareRevision, u16
}
number! {
    /// Position of a release in the one ascending sequence of its class.
    ReleaseSequence, u64
}
number! {
    /// Rollback floor: a device never goes below the highest one it confirmed.
    SecurityVersion, u32
}
number! {
    /// Version of a keyset; 0 stands for "sealed without a keyset".
    KeysetVersion, u32
}
number! {
    /// Number of a component within its manifest.
    ComponentId, u16
}

/// Position of a release among all of its class: first the keyset, then the sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ReleaseOrder {
    /// keyset_version of the manifest.
    pub keyset_version: KeysetVersion,
    /// release_seq of the manifest.
    pub release_seq: ReleaseSequence,
}

//! The numbers of algorithms.

/// How the payload is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ContentSuite {
    /// Not encrypted.
    None = 0,
    /// AES-256 in counter mode (NIST SP 800-38A).
    Aes256Ctr = 1,
    /// ChaCha20 (RFC 8439).
    ChaCha20 = 2,
}

impl ContentSuite {
    /// The suite of a wire number, if it is defined.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::None),
            1 => Some(Self::Aes256Ctr),
            2 => Some(Self::ChaCha20),
            _ => None,
        }
    }

    /// The wire number.
    pub fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Aes256Ctr => 1,
            Self::ChaCha20 => 2,
        }
    }

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Aes256Ctr => "aes256-ctr",
            Self::ChaCha20 => "chacha20",
        }
    }
}

/// A signature algorithm, by its COSE number (IANA COSE Algorithms registry).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Ed25519 (RFC 8032), COSE -19.
    Ed25519,
    /// ECDSA on P-256 with SHA-256, COSE -9.
    EcdsaP256,
    /// HSS/LMS (RFC 8554), COSE -46. Numbered, but not verified by this version.
    HssLms,
}

impl Algorithm {
    /// The algorithm of a COSE number, if it is defined here.
    pub fn from_number(number: i16) -> Option<Self> {
        match number {
            -19 => Some(Self::Ed25519),
            -9 => Some(Self::EcdsaP256),
            -46 => Some(Self::HssLms),
            _ => None,
        }
    }

    /// The COSE number.
    pub fn number(self) -> i16 {
        match self {
            Self::Ed25519 => -19,
            Self::EcdsaP256 => -9,
            Self::HssLms => -46,
        }
    }

    /// Length in bytes of the value in a signature block.
    pub fn value_len(self) -> usize {
        match self {
            Self::Ed25519 => 64,
            Self::EcdsaP256 => 65 + 64,
            Self::HssLms => 60 + 1456,
        }
    }

    /// Post-quantum signatures are counted apart from classical ones.
    pub fn is_post_quantum(self) -> bool {
        matches!(self, Self::HssLms)
    }

    /// The name in messages and listings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::EcdsaP256 => "ecdsa-p256",
            Self::HssLms => "hss-lms",
        }
    }
}

/// How an envelope wraps the content key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrapSuite {
    /// HPKE base mode, DHKEM(X25519, HKDF-SHA256), ChaCha20-Poly1305 (RFC 9180).
    HpkeX25519,
    /// HPKE base mode, DHKEM(P-256, HKDF-SHA256), ChaCha20-Poly1305 (RFC 9180).
    HpkeP256,
    /// AES-256 key wrap (RFC 3394) under a group key.
    AesKeyWrap,
}

impl WrapSuite {
    /// The suite of a wire number, if it is defined.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::HpkeX25519),
            2 => Some(Self::HpkeP256),
            3 => Some(Self::AesKeyWrap),
            _ => None,
        }
    }

    /// The wire number.
    pub fn number(self) -> u8 {
        match self {
            Self::HpkeX25519 => 1,
            Self::HpkeP256 => 2,
            Self::AesKeyWrap => 3,
        }
    }

    /// Length in bytes of a whole envelope.
    pub fn envelope_len(self) -> usize {
        match self {
            Self::HpkeX25519 => 136,
            Self::HpkeP256 => 169,
            Self::AesKeyWrap => 96,
        }
    }

    /// The name in messages and listings.
    pub fn name(self) -> &'static str {
        match self {
            Self::HpkeX25519 => "hpke-x25519",
            Self::HpkeP256 => "hpke-p256",
            Self::AesKeyWrap => "aes-key-wrap",
        }
    }
}

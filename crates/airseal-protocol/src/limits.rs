//! Every length a peer may send, by name.

/// Longest claim token, in bytes of printable ASCII.
pub const CLAIM_TOKEN_MAX: usize = 64;

/// Longest device id a server hands out, in bytes of printable ASCII.
pub const DEVICE_ID_MAX: usize = 64;

/// Longest public recipient key: P-256, uncompressed.
pub const RECIPIENT_KEY_MAX: usize = 65;

/// Most recipient ids (16 bytes each) in one message.
pub const RECIPIENT_IDS_MAX: usize = 16;

/// Longest free text of a report, in bytes of UTF-8 without control characters.
pub const REPORT_DETAIL_MAX: usize = 96;

/// Longest title of a problem, in bytes of UTF-8 without control characters.
pub const PROBLEM_TITLE_MAX: usize = 160;

/// Longest message of any kind; no reader needs a larger buffer.
pub const MESSAGE_MAX: usize = 512;

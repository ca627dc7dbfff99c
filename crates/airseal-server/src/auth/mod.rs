//! Who is speaking: administrators by token, devices by the key of their connection.

mod caller;
mod token;

pub(crate) use caller::{Caller, PeerKey};
pub(crate) use token::{AdminTokens, ClaimToken, hash, open_admin_token};

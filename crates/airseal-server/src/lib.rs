//! The update server: it knows devices and releases, and gives each device what is meant for it.
//!
//! [`Server::start`] takes a [`Config`] and runs in the caller's process. Devices connect over mutual TLS 1.3 and are
//! known by the key they prove to hold; administrators use a token on a listener of their own. `docs/PROTOCOL.md` is
//! the normative text of both interfaces.
//!
//! The server is *blind*: it holds sealed payloads, signed manifests and envelopes that it can't open. It verifies
//! every upload, and it can neither read a release nor make a device accept one.
//!
//! | module | what it is for |
//! |---|---|
//! | [`api`] | the two interfaces; [`api::types`] is shared with the command line |
//! | `auth` | tokens of administrators, keys of devices |
//! | [`store`] | what is remembered: the [`store::Store`] trait and its SQLite implementation |
//! | [`blob`] | payload files by their digest |
//! | `rollout` | which release a device is offered, as pure decisions |
//! | [`tls`] | the certificate authority and the proof of client keys |
//! | `publish` | from an uploaded bundle to a stored release |

pub mod api;
pub mod blob;
pub mod store;
pub mod tls;

mod accept;
mod auth;
mod config;
mod door;
mod error;
mod files;
mod live;
mod open_files;
mod publish;
mod rollout;
mod server;

pub use config::{Clock, Config, Limits};
pub use error::{StartError, StoreError};
pub use rollout::FAILURES_UNTIL_HELD;
pub use server::{Ready, Running, RunningBlocking, Server};

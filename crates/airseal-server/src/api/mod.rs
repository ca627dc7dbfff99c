//! The two interfaces: devices speak CBOR below `/d/v1/`, administrators JSON below `/api/v1/`.

mod admin;
mod device;
mod problem;
mod range;
pub mod types;

use std::sync::Arc;

pub(crate) use admin::router as admin_router;
pub(crate) use device::router as device_router;
pub(crate) use problem::DeviceError;

use crate::auth::AdminTokens;
use crate::blob::BlobFolder;
use crate::config::{Clock, Limits};
use crate::live::Live;
use crate::store::Store;

/// What every request handler works with.
pub(crate) struct App {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) blobs: BlobFolder,
    pub(crate) live: Arc<Live>,
    pub(crate) tokens: AdminTokens,
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
    pub(crate) about: About,
}

/// What the server says about itself.
pub(crate) struct About {
    pub(crate) https: String,
    pub(crate) public_url: Option<String>,
    pub(crate) ca_pem: String,
    pub(crate) ca_sha256: String,
}

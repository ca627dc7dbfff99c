//! TLS 1.3: the server shows a certificate of its own authority, every client shows that it holds a key.

pub mod ca;
mod client;
mod leaf;

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::NoServerSessionStorage;

pub use client::KeyHash;
pub(crate) use client::peer_key;
pub(crate) use leaf::Leaf;

use crate::error::StartError;

/// TLS for devices: a client key is demanded and its possession proved; who it belongs to is looked up per request.
pub(crate) fn for_devices(leaf: &Arc<Leaf>) -> Result<ServerConfig, StartError> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(client::AnyKeyHolder::new()))
        .with_cert_resolver(Arc::clone(leaf) as Arc<_>);
    Ok(finish(config))
}

/// TLS for administrators on other machines; they show a token.
pub(crate) fn for_administrators(leaf: &Arc<Leaf>) -> Result<ServerConfig, StartError> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(leaf) as Arc<_>);
    Ok(finish(config))
}

/// Full handshakes only and no early data: a session never outlives the proof of the client key.
fn finish(mut config: ServerConfig) -> ServerConfig {
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

//! A server in this process, its administrator, and devices that speak real TLS to it.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

pub mod http;
pub mod vendor;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use airseal_protocol::{
    DeviceState, EnrollRequest, EnrollResponse, Message, PollRequest, PollResponse, Problem,
    RecipientIds, Report, Stage,
};
use airseal_server::api::types;
use airseal_server::{Clock, Config, RunningBlocking, Server};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde::Serialize;
use serde::de::DeserializeOwned;

use http::{Answer, exchange};

/// A running server with its administrator's token.
pub struct Bench {
    pub server: RunningBlocking,
    pub token: String,
}

impl Bench {
    pub fn start(data: &Path) -> Self {
        Self::start_with(Config::local(data))
    }

    pub fn start_with(config: Config) -> Self {
        let server = Server::start_blocking(config).expect("the server starts");
        let token = std::fs::read_to_string(&server.ready().admin_token_file).expect("token file");
        Self {
            server,
            token: token.trim().to_owned(),
        }
    }

    /// A server whose clock stands at `now`, unix seconds, wherever a test moves it.
    pub fn start_at(data: &Path, now: &Arc<AtomicU64>) -> Self {
        let mut config = Config::local(data);
        let now = Arc::clone(now);
        config.clock = Clock::from_fn(move || now.load(Ordering::Relaxed));
        Self::start_with(config)
    }

    pub fn https(&self) -> SocketAddr {
        self.server.ready().https
    }

    pub fn admin(&self) -> Admin {
        Admin {
            address: self.server.ready().admin,
            token: self.token.clone(),
        }
    }

    /// A device with fresh keys, enrolled for the test product.
    pub fn device(&self, name: &str) -> Device {
        let device = self.stranger(name);
        let claim = self.admin().claim(name);
        let answer = device.enroll(&claim.claim_token);
        assert_eq!(answer.status, 200, "{}", answer.text());
        device
    }

    /// A device that has not enrolled.
    pub fn stranger(&self, name: &str) -> Device {
        let ca = std::fs::read_to_string(&self.server.ready().ca).expect("ca.pem");
        Device::new(self.https(), &ca, name)
    }
}

/// The administrators' interface.
#[derive(Clone)]
pub struct Admin {
    pub address: SocketAddr,
    pub token: String,
}

impl Admin {
    pub fn send(&self, method: &str, path: &str, content_type: &str, body: &[u8]) -> Answer {
        self.send_with(method, path, &[("Content-Type", content_type)], body)
    }

    fn send_with(&self, method: &str, path: &str, more: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).expect("connects");
        let authorization = format!("Bearer {}", self.token);
        let mut headers = vec![("Authorization", authorization.as_str())];
        headers.extend(more);
        exchange(&mut stream, method, path, &headers, body).expect("an answer")
    }

    /// Publishes with the trust in the same request.
    pub fn publish_with(&self, trust: &types::SetTrust, bundle: &[u8]) -> Answer {
        let trust = serde_json::to_vec(trust).expect("json");
        let len = trust.len().to_string();
        let headers = [(types::TRUST_LEN_HEADER, len.as_str())];
        self.send_with(
            "POST",
            "/api/v1/releases",
            &headers,
            &[&trust, bundle].concat(),
        )
    }

    pub fn get<T: DeserializeOwned>(&self, path: &str) -> T {
        self.send("GET", path, "application/json", b"").json(200)
    }

    pub fn call(&self, method: &str, path: &str, body: &impl Serialize) -> Answer {
        let body = serde_json::to_vec(body).expect("json");
        self.send(method, path, "application/json", &body)
    }

    pub fn claim(&self, name: &str) -> types::Claim {
        let request = types::CreateDevice {
            name: Some(name.to_owned()),
            ..Default::default()
        };
        self.call("POST", "/api/v1/devices", &request).json(201)
    }

    pub fn revoke(&self, name: &str) -> types::Revocation {
        let request = types::RevokeDevice {
            reason: "lost".into(),
            dry_run: false,
        };
        self.call("POST", &format!("/api/v1/devices/{name}/revoke"), &request)
            .json(200)
    }

    pub fn publish(&self, bundle: &[u8]) -> Answer {
        let content_type = "application/octet-stream";
        self.send("POST", "/api/v1/releases", content_type, bundle)
    }

    pub fn yank(&self, digest: &str) -> types::ReleaseInfo {
        let request = types::YankRelease {
            reason: "broken".into(),
        };
        self.call("POST", &format!("/api/v1/releases/{digest}/yank"), &request)
            .json(200)
    }

    pub fn set_trust(&self, trust: &types::SetTrust) -> Answer {
        let (vendor, class) = (vendor::vendor_id(), vendor::class_id());
        let path = format!(
            "/api/v1/products/{}/{}/trust",
            hex::encode(vendor),
            hex::encode(class)
        );
        self.call("PUT", &path, trust)
    }
}

/// A device with a TLS key and a recipient key.
pub struct Device {
    pub address: SocketAddr,
    pub name: String,
    pub tls: Arc<ClientConfig>,
    pub recipient: vendor::DeviceKey,
}

pub type Tls = StreamOwned<ClientConnection, TcpStream>;

impl Device {
    pub fn new(address: SocketAddr, ca_pem: &str, name: &str) -> Self {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("key");
        Self::with_key(address, ca_pem, name, &key, name)
    }

    /// `certificate_name` is what the certificate claims; the server must not care.
    pub fn with_key(
        address: SocketAddr,
        ca_pem: &str,
        name: &str,
        key: &rcgen::KeyPair,
        certificate_name: &str,
    ) -> Self {
        let params =
            rcgen::CertificateParams::new(vec![certificate_name.to_owned()]).expect("params");
        let certificate = params.self_signed(key).expect("certificate");
        Self::with_chain(address, ca_pem, name, vec![certificate.into()], key)
    }

    /// Shows these certificates, the first of which is for `key`, whatever they are.
    pub fn with_chain(
        address: SocketAddr,
        ca_pem: &str,
        name: &str,
        chain: Vec<CertificateDer<'static>>,
        key: &rcgen::KeyPair,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).expect("ca"))
            .expect("root");
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let tls = ClientConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, private)
        .expect("client certificate");
        Self {
            address,
            name: name.to_owned(),
            tls: Arc::new(tls),
            recipient: vendor::DeviceKey::new(),
        }
    }

    pub fn connect(&self) -> Tls {
        let name = ServerName::from(self.address.ip());
        let connection = ClientConnection::new(Arc::clone(&self.tls), name).expect("client");
        let tcp = TcpStream::connect(self.address).expect("connects");
        tcp.set_read_timeout(Some(Duration::from_secs(20)))
            .expect("timeout");
        StreamOwned::new(connection, tcp)
    }

    pub fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        exchange(&mut self.connect(), "GET", path, headers, b"").expect("an answer")
    }

    pub fn post<'a>(&self, path: &str, message: &impl Message<'a>) -> Answer {
        post(&mut self.connect(), path, message).expect("an answer")
    }

    pub fn enroll(&self, claim_token: &str) -> Answer {
        let answer = self.post(
            airseal_protocol::path::ENROLL,
            &EnrollRequest {
                claim_token,
                vendor_id: vendor::vendor_id(),
                class_id: vendor::class_id(),
                hw_rev: 1,
                wrap_suite: 1,
                recipient_key: &self.recipient.public(),
                groups: RecipientIds::default(),
            },
        );
        if answer.status == 200 {
            EnrollResponse::parse(&answer.body).expect("an enroll response");
        }
        answer
    }

    pub fn poll(&self) -> PollResponse {
        self.poll_from(0)
    }

    /// Polls as a device that runs the release with this sequence.
    pub fn poll_from(&self, release_seq: u64) -> PollResponse {
        let answer = self.post(
            airseal_protocol::path::POLL,
            &PollRequest {
                order_keyset: u32::from(release_seq > 0),
                release_seq,
                ..self.poll_request()
            },
        );
        assert_eq!(answer.status, 200, "{}", answer.text());
        PollResponse::parse(&answer.body).expect("a poll response")
    }

    pub fn poll_request(&self) -> PollRequest<'static> {
        PollRequest {
            recipients: RecipientIds::default(),
            installed: None,
            order_keyset: 0,
            release_seq: 0,
            security_version: 0,
            keyset_version: 0,
            hw_rev: 1,
            state: DeviceState::Idle,
        }
    }

    /// The offered release, which must be one.
    pub fn offered(&self) -> [u8; 32] {
        self.offered_on(&mut self.connect())
    }

    /// The release offered on a connection that is open already, which must be one.
    pub fn offered_on(&self, stream: &mut Tls) -> [u8; 32] {
        let request = self.poll_request();
        let answer = post(stream, airseal_protocol::path::POLL, &request).expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
        match PollResponse::parse(&answer.body).expect("a poll response") {
            PollResponse::Install {
                manifest_digest, ..
            } => manifest_digest,
            other => panic!("{} is offered {other:?}", self.name),
        }
    }

    pub fn report(&self, digest: [u8; 32], stage: Stage, code: u16, attempt: u32) {
        let report = Report {
            manifest_digest: digest,
            stage,
            code,
            attempt,
            detail: "",
        };
        let answer = self.post(airseal_protocol::path::REPORT, &report);
        assert_eq!(answer.status, 204, "{}", answer.text());
    }
}

pub fn post<'a>(
    stream: &mut (impl Read + Write),
    path: &str,
    message: &impl Message<'a>,
) -> std::io::Result<Answer> {
    let mut body = vec![0; 1024];
    let len = message.encode(&mut body).expect("encodes");
    body.truncate(len);
    let headers = [("Content-Type", airseal_protocol::CONTENT_TYPE)];
    exchange(stream, "POST", path, &headers, &body)
}

/// Asserts a refusal of the device interface by its number.
#[track_caller]
pub fn refused(answer: &Answer, code: airseal_protocol::ProblemCode) {
    assert_eq!(answer.status, code.status(), "{}", answer.text());
    let problem = Problem::parse(&answer.body).expect("a problem");
    assert_eq!(problem.known(), Some(code), "{}", problem.title);
}

//! A device's connection to an update server: HTTPS with the device's own key.

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

use airseal_format::Digest;
use airseal_format::bundle::{SECTION_HEADER_LEN, Section, SectionKind};
use airseal_format::recipient::seed::{self, Purpose};
use airseal_protocol::path::{self, Path};
use airseal_protocol::{
    DeviceState, EnrollRequest, EnrollResponse, Message, MessageError, PollRequest, PollResponse,
    ProblemCode, RecipientIds, Report, Stage, limits,
};
use airseal_update::blocking::block_on;
use airseal_update::port::{BootState, Device, PendingStage};
use airseal_update::{Action, Fetch, Refusal, Seen, UpdateSession};
use rustls::ClientConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};

use crate::device::SimDevice;
use crate::fault::{FaultPlan, FaultTransport, UNKNOWN_LEN};
use crate::source::Source;
use crate::static_files::StaticFiles;
use crate::traffic::Traffic;

mod exchange;
mod trust;

use exchange::Link;

/// Why a request did not succeed.
#[derive(Debug)]
pub enum ClientError {
    /// The device refused what came, or its flash failed.
    Refusal(Refusal),
    /// The server refused, with its reason.
    Problem {
        /// HTTP status.
        status: u16,
        /// Number of the problem, see [`ProblemCode`]; 0 when the answer was none.
        code: u16,
        /// The server's words.
        title: String,
        /// Seconds to wait before the next try.
        retry_after: Option<u32>,
    },
    /// The answer is no such message.
    Message(MessageError),
    /// The connection failed.
    Io(io::Error),
    /// The stream was interrupted and can be read only once.
    Spent,
    /// The address or the CA certificate can't be used.
    Address(String),
}

impl ClientError {
    /// The server's problem, if it is a known one.
    #[must_use]
    pub fn problem(&self) -> Option<ProblemCode> {
        match self {
            ClientError::Problem { code, .. } => ProblemCode::from_number(*code),
            _ => None,
        }
    }

    /// True when trying again later may help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            ClientError::Refusal(refusal) => refusal.is_transient(),
            ClientError::Problem { status, .. } => *status >= 500,
            ClientError::Io(_) => true,
            ClientError::Message(_) | ClientError::Spent | ClientError::Address(_) => false,
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::Refusal(refusal) => refusal.fmt(f),
            ClientError::Problem { title, status, .. } => write!(f, "{title} (HTTP {status})"),
            ClientError::Message(error) => write!(f, "the server's answer: {error}"),
            ClientError::Io(error) => write!(f, "the connection failed: {error}"),
            ClientError::Spent => f.write_str(
                "the update was interrupted, and this stream can't be read again; send the sealed file once more: the device goes on where it was",
            ),
            ClientError::Address(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for ClientError {}

impl From<Refusal> for ClientError {
    fn from(refusal: Refusal) -> Self {
        ClientError::Refusal(refusal)
    }
}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> Self {
        ClientError::Io(error)
    }
}

impl From<MessageError> for ClientError {
    fn from(error: MessageError) -> Self {
        ClientError::Message(error)
    }
}

/// A device's way to one server.
pub struct HttpsClient {
    host: String,
    port: u16,
    tls: Arc<ClientConfig>,
    name: ServerName<'static>,
    link: Option<Link>,
    faults: Option<FaultTransport>,
    traffic: Traffic,
}

impl HttpsClient {
    /// A client for `url` (`https://host:port`) that trusts the CA certificate in `ca_pem`
    /// and shows a certificate for the request key derived from `seed`.
    ///
    /// Dates in the server's certificate are not compared with any clock: a device that
    /// stands at 1970 still reaches its server.
    ///
    /// # Errors
    /// `Address` for anything else than such a URL, or a CA that can't be read.
    pub fn new(url: &str, ca_pem: &[u8], seed: &[u8; 32]) -> Result<Self, ClientError> {
        let (host, port) = parse_url(url)?;
        let name = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let name = ServerName::try_from(name)
            .map_err(|_| ClientError::Address(format!("`{host}` is no host name or address")))?;
        let unusable = |why: &dyn fmt::Display| {
            ClientError::Address(format!("the CA certificate can't be used: {why}"))
        };
        let ca = CertificateDer::from_pem_slice(ca_pem).map_err(|error| unusable(&error))?;
        let (chain, key) = client_certificate(seed);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            trust::AnyDate::new(ca, Arc::clone(&provider)).map_err(|error| unusable(&error))?;
        let tls = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| unusable(&error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(chain, key)
            .map_err(|error| unusable(&error))?;
        Ok(Self {
            host,
            port,
            tls: Arc::new(tls),
            name,
            link: None,
            faults: None,
            traffic: Traffic::default(),
        })
    }

    /// Introduces the device with a claim token. Returns its name on the server.
    ///
    /// # Errors
    /// The server's problem, or a failed connection.
    pub fn enroll(&mut self, device: &SimDevice, token: &str) -> Result<String, ClientError> {
        let own = device.public();
        let ids: Vec<u8> = device.group_ids().iter().flat_map(|id| id.0).collect();
        let request = EnrollRequest {
            claim_token: token,
            vendor_id: device.model().vendor_id.0,
            class_id: device.model().class_id.0,
            hw_rev: device.model().hw_rev,
            wrap_suite: 1,
            recipient_key: &own,
            groups: RecipientIds::new(&ids)?,
        };
        let body = self.exchange(path::ENROLL, &request)?;
        Ok(EnrollResponse::parse(&body)?.device_id.to_owned())
    }

    /// Fetches what lies under a path, whatever the device makes of it.
    ///
    /// # Errors
    /// The server's problem, a failed connection, or an answer above 256 KiB.
    pub fn fetch(&mut self, path: &str) -> Result<Vec<u8>, ClientError> {
        let answer = self.get(path, None)?;
        let mut out = vec![0; usize::try_from(answer.body_len).unwrap_or(usize::MAX)];
        self.body_exact(&mut out)?;
        Ok(out)
    }

    async fn drive<D: Device>(
        &mut self,
        session: &mut UpdateSession<'_, D>,
        release: Digest,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), ClientError> {
        let mut is_payload_open = false;
        loop {
            match session.next() {
                Action::NeedManifest => self.fetch_manifest(session, release).await?,
                Action::NeedEnvelope => self.fetch_envelope(session, release).await?,
                Action::Fetch(wanted) => {
                    self.fetch_payload(session, release, wanted, &mut is_payload_open, progress)
                        .await?;
                }
                Action::Stage => session.stage().await?,
                Action::Reboot => return Ok(()),
                Action::Refused(refusal) => return Err(refusal.into()),
            }
        }
    }

    async fn fetch_manifest<D: Device>(
        &mut self,
        session: &mut UpdateSession<'_, D>,
        release: Digest,
    ) -> Result<(), ClientError> {
        let version = session.keyset_version().await?;
        let path = Path::manifest(&release.0, version.0);
        let answer = self.get(path.as_str(), None)?;
        let mut left = answer.body_len;
        while session.next() == Action::NeedManifest {
            let mut header = [0; SECTION_HEADER_LEN];
            self.body_exact(&mut header)?;
            let section = Section::parse(&header).map_err(|_| what_came(&header))?;
            left = left
                .checked_sub(SECTION_HEADER_LEN as u64)
                .and_then(|left| left.checked_sub(section.len))
                .ok_or(Refusal::BadLength)?;
            session.begin_section(section).await?;
            let mut rest = section.len;
            while rest > 0 {
                let mut piece = [0; PIECE];
                let read = self.body(&mut piece, rest)?;
                session.push(&piece[..read]).await?;
                rest -= read as u64;
            }
        }
        if left > 0 {
            return Err(Refusal::TooLong.into());
        }
        if session.release() == Some(release) {
            Ok(())
        } else {
            Err(Refusal::Changed.into())
        }
    }

    async fn fetch_envelope<D: Device>(
        &mut self,
        session: &mut UpdateSession<'_, D>,
        release: Digest,
    ) -> Result<(), ClientError> {
        let path = Path::envelope(&release.0);
        let answer = self.get(path.as_str(), None)?;
        let mut rest = answer.body_len;
        session
            .begin_section(Section {
                kind: SectionKind::EnvelopePack,
                len: rest,
            })
            .await?;
        while rest > 0 {
            let mut piece = [0; PIECE];
            let read = self.body(&mut piece, rest)?;
            session.push(&piece[..read]).await?;
            rest -= read as u64;
        }
        Ok(())
    }

    async fn fetch_payload<D: Device>(
        &mut self,
        session: &mut UpdateSession<'_, D>,
        release: Digest,
        wanted: Fetch,
        is_open: &mut bool,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), ClientError> {
        let path = Path::payload(&release.0);
        let answer = self.get(path.as_str(), Some(wanted))?;
        if !*is_open {
            session
                .begin_section(Section {
                    kind: SectionKind::Payload,
                    len: answer.total,
                })
                .await?;
            *is_open = true;
        }
        let mut skip = answer.skip;
        let mut at = wanted.offset - skip.min(wanted.offset);
        let mut rest = answer.body_len;
        while rest > 0 {
            let mut piece = [0; PIECE];
            let read = self.body(&mut piece, rest)?;
            self.traffic.add_payload(at, read as u64);
            at += read as u64;
            rest -= read as u64;
            let passed = usize::try_from(skip).unwrap_or(usize::MAX).min(read);
            skip -= passed as u64;
            let mut bytes = &piece[passed..read];
            while !bytes.is_empty() {
                let taken = session.push(bytes).await?;
                bytes = &bytes[taken..];
                if taken == 0 || !matches!(session.next(), Action::Fetch(_)) {
                    break;
                }
            }
            if let Some((written, all)) = session.progress() {
                progress(written, all);
            }
        }
        Ok(())
    }
}

impl Source for HttpsClient {
    fn poll(&mut self, device: &mut SimDevice) -> Result<Option<PollResponse>, ClientError> {
        let boot = device.boot_state()?;
        let own = device.own()?;
        let state = device.device_state(&boot)?;
        let ids: Vec<u8> = device.recipient_ids()?.iter().flat_map(|id| id.0).collect();
        let request = PollRequest {
            recipients: RecipientIds::new(&ids)?,
            installed: own.digest.map(|digest| digest.0),
            order_keyset: own.order.keyset_version.0,
            release_seq: own.order.release_seq.0,
            security_version: own.security_version.0,
            keyset_version: device.keyset_version()?.0,
            hw_rev: device.model().hw_rev,
            state,
        };
        let body = self.exchange(path::POLL, &request)?;
        Ok(Some(PollResponse::parse(&body)?))
    }

    /// # Errors
    /// `WrongCall` when no release is named.
    fn install(
        &mut self,
        device: &mut SimDevice,
        release: Option<Digest>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), ClientError> {
        let release = release.ok_or(Refusal::WrongCall)?;
        device.with(|ports, config, buffers| {
            block_on(async {
                let mut session = UpdateSession::begin(ports, config, buffers).await?;
                self.drive(&mut session, release, progress).await
            })
        })
    }

    fn report(
        &mut self,
        release: Digest,
        stage: Stage,
        code: u16,
        attempt: u32,
        detail: &str,
    ) -> Result<(), ClientError> {
        let mut end = detail.len().min(limits::REPORT_DETAIL_MAX);
        while !detail.is_char_boundary(end) {
            end -= 1;
        }
        let report = Report {
            manifest_digest: release.0,
            stage,
            code,
            attempt,
            detail: &detail[..end],
        };
        self.exchange(path::REPORT, &report).map(|_| ())
    }

    fn set_faults(&mut self, plan: &FaultPlan, payload_len: Option<u64>) {
        let total = payload_len.unwrap_or(UNKNOWN_LEN);
        self.faults = Some(FaultTransport::new(plan, total));
    }

    fn may_recover(&self) -> bool {
        true
    }

    fn disconnect(&mut self) {
        self.link = None;
    }

    fn traffic(&self) -> Option<&Traffic> {
        Some(&self.traffic)
    }

    fn forget_traffic(&mut self) {
        self.traffic.forget();
    }
}

/// The body that was announced.
struct BodyReader<'c> {
    client: &'c mut HttpsClient,
    /// Where in a payload the next byte stands; none for other files.
    at: Option<u64>,
}

impl Read for BodyReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let link = self.client.link.as_ref();
        if link.is_none_or(|link| link.body_left == 0) {
            return Ok(0);
        }
        let read = self.client.body(buffer, u64::MAX);
        let read = read.map_err(|error| match error {
            ClientError::Io(error) => error,
            other => io::Error::other(other.to_string()),
        })?;
        if let Some(at) = &mut self.at {
            self.client.traffic.add_payload(*at, read as u64);
            *at += read as u64;
        }
        Ok(read)
    }
}

impl StaticFiles for HttpsClient {
    fn open(
        &mut self,
        path: &str,
        wanted: Option<Fetch>,
    ) -> Result<Box<dyn Read + '_>, ClientError> {
        let answer = self.get(&format!("/{path}"), wanted)?;
        let mut body = BodyReader {
            client: self,
            at: wanted.map(|wanted| wanted.offset - answer.skip),
        };
        io::copy(&mut (&mut body).take(answer.skip), &mut io::sink())?;
        Ok(Box::new(body))
    }

    fn traffic(&self) -> Option<&Traffic> {
        Some(&self.traffic)
    }

    fn forget_traffic(&mut self) {
        self.traffic.forget();
    }
}

impl SimDevice {
    fn device_state(&mut self, boot: &BootState) -> Result<DeviceState, Refusal> {
        let stage = boot.pending.map(|pending| pending.stage);
        Ok(match stage {
            Some(PendingStage::Staged) => DeviceState::Staged,
            Some(PendingStage::Trial { .. }) => DeviceState::Trial,
            None if self.checkpoint()?.is_some() => DeviceState::Downloading,
            None => DeviceState::Idle,
        })
    }
}

/// A self-signed certificate for the request key: the key in it is the identity, the rest
/// means nothing.
fn client_certificate(seed: &[u8; 32]) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let secret = seed::derive(seed, Purpose::Request);
    let mut pkcs8 = ED25519_PKCS8.to_vec();
    pkcs8.extend_from_slice(secret.as_ref());
    let der = PrivatePkcs8KeyDer::from(pkcs8);
    let key = rcgen::KeyPair::try_from(&der).expect("any 32 bytes are an Ed25519 seed");
    let certificate = rcgen::CertificateParams::new(Vec::new())
        .and_then(|params| params.self_signed(&key))
        .expect("an empty certificate can be signed");
    (vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(der))
}

/// Something else than sections: a login page, say.
fn what_came(header: &[u8; SECTION_HEADER_LEN]) -> Refusal {
    let first = header.first_chunk().copied().unwrap_or_default();
    Refusal::NotARelease(Seen(first))
}

fn parse_url(url: &str) -> Result<(String, u16), ClientError> {
    let wrong = || ClientError::Address(format!("`{url}` is no address like https://host:port"));
    let rest = url.strip_prefix("https://").ok_or_else(wrong)?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| wrong())?),
        _ => (rest, 443),
    };
    if host.is_empty() || host.contains('/') {
        return Err(wrong());
    }
    Ok((host.to_owned(), port))
}

/// PrivateKeyInfo of an Ed25519 seed up to the seed (RFC 8410, section 7).
const ED25519_PKCS8: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
const PIECE: usize = 4096;

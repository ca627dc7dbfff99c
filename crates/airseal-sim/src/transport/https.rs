//! A device's connection to an update server: TLS 1.3 with its own key, and the bounded
//! HTTP framing that real devices use.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use airseal_update::transport::http::{Head, HttpError, MAX_HEAD, Method, Request};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Longest answer that is read into memory, bytes; payloads are streamed instead.
const MAX_ANSWER: u64 = 256 * 1024;
/// How long one read or write may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A server as one device reaches it.
pub struct Https {
    config: Arc<ClientConfig>,
    authority: String,
    name: ServerName<'static>,
    connection: Option<Connection>,
}

impl Https {
    /// Prepares connections to `url` (`https://HOST:PORT`), trusting the certificate
    /// authority `ca_pem` and nothing else, with the device's Ed25519 request key.
    ///
    /// # Errors
    /// The URL, certificate or key can't be used.
    pub fn new(url: &str, ca_pem: &[u8], request_key: &[u8; 32]) -> Result<Self, HttpsError> {
        let authority = url
            .strip_prefix("https://")
            .map(|rest| rest.trim_end_matches('/'))
            .filter(|rest| !rest.is_empty() && !rest.contains('/'))
            .ok_or_else(|| HttpsError::Setup(format!("{url:?} is not https://HOST:PORT")))?;
        let (host, authority) = match authority.rsplit_once(':') {
            Some((host, _)) if !host.ends_with(':') => (host, authority.to_owned()),
            _ => (authority, format!("{authority}:443")),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self {
            config: Arc::new(client_config(ca_pem, request_key)?),
            name: ServerName::try_from(host).map_err(setup)?,
            authority,
            connection: None,
        })
    }

    /// Sends `body` and reads the answer.
    ///
    /// # Errors
    /// The connection fails, or the answer is not usable.
    pub fn post(&mut self, path: &str, body: &[u8]) -> Result<Answer, HttpsError> {
        let request = Request {
            body: Some((body.len(), "application/cbor")),
            ..self.request(Method::Post, path)
        };
        let head = write_head(&request)?;
        self.exchange(&[&head, body])
    }

    /// Fetches a small document.
    ///
    /// # Errors
    /// The connection fails, or the answer is not usable.
    pub fn get(&mut self, path: &str) -> Result<Answer, HttpsError> {
        let head = write_head(&self.request(Method::Get, path))?;
        self.exchange(&[&head])
    }

    /// Fetches the bytes from `first` on of a document of `total` bytes, as a stream.
    ///
    /// # Errors
    /// The connection fails, or the server does not answer with those bytes.
    pub fn get_from(&mut self, path: &str, first: u64, total: u64) -> Result<Body<'_>, HttpsError> {
        let last = total.saturating_sub(1);
        let request = Request {
            range: Some((first, last)),
            ..self.request(Method::Get, path)
        };
        let bytes = write_head(&request)?;
        let (status, result, length) = self.send(&[&bytes], |head| {
            (head.status, head.expect_range(first, last, total), head.content_length)
        })?;
        if result.is_err() && status >= 300 {
            let answer = self.answer(status, length)?;
            return Err(HttpsError::Refused(answer));
        }
        if let Err(error) = result {
            self.connection = None;
            return Err(error.into());
        }
        Ok(Body {
            left: total.saturating_sub(first),
            https: self,
        })
    }

    /// Ends the connection; the next request opens another one.
    pub fn disconnect(&mut self) {
        self.connection = None;
    }

    fn request<'a>(&'a self, method: Method, path: &'a str) -> Request<'a> {
        Request {
            method,
            path,
            host: &self.authority,
            body: None,
            range: None,
            if_range: None,
        }
    }

    fn exchange(&mut self, parts: &[&[u8]]) -> Result<Answer, HttpsError> {
        let (status, length) = self.send(parts, |head| (head.status, head.content_length))?;
        self.answer(status, length)
    }

    fn answer(&mut self, status: u16, length: Option<u64>) -> Result<Answer, HttpsError> {
        let length = match (status, length) {
            (204 | 304, _) => 0,
            (_, Some(length)) if length <= MAX_ANSWER => length,
            _ => {
                self.connection = None;
                return Err(HttpError::Malformed("content-length").into());
            }
        };
        let mut body = Vec::new();
        Body {
            left: length,
            https: self,
        }
        .read_to_end(&mut body)?;
        Ok(Answer { status, body })
    }

    /// Sends a request and reads the head of the answer; tries once more when a kept
    /// connection turns out to be closed.
    fn send<T>(
        &mut self,
        parts: &[&[u8]],
        read_head: impl Fn(&Head<'_>) -> T,
    ) -> Result<T, HttpsError> {
        let is_kept = self.connection.is_some();
        match self.send_once(parts, &read_head) {
            Err(HttpsError::Io(error)) if is_kept && is_closed(&error) => {
                self.send_once(parts, &read_head)
            }
            other => other,
        }
    }

    fn send_once<T>(
        &mut self,
        parts: &[&[u8]],
        read_head: &impl Fn(&Head<'_>) -> T,
    ) -> Result<T, HttpsError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        connection.stream.write_all(&parts.concat())?;
        connection.stream.flush()?;
        loop {
            if let Some((head, len)) = Head::parse(&connection.unread)? {
                let out = read_head(&head);
                connection.unread.drain(..len);
                self.connection = Some(connection);
                return Ok(out);
            }
            let mut buffer = [0; MAX_HEAD];
            match connection.stream.read(&mut buffer)? {
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                got => connection.unread.extend(&buffer[..got]),
            }
        }
    }

    fn connect(&self) -> Result<Connection, HttpsError> {
        let address = self
            .authority
            .to_socket_addrs()?
            .next()
            .ok_or_else(|| HttpsError::Setup(format!("{} has no address", self.authority)))?;
        let tcp = TcpStream::connect_timeout(&address, TIMEOUT)?;
        tcp.set_read_timeout(Some(TIMEOUT))?;
        tcp.set_write_timeout(Some(TIMEOUT))?;
        tcp.set_nodelay(true)?;
        let tls = ClientConnection::new(Arc::clone(&self.config), self.name.clone())
            .map_err(setup)?;
        Ok(Connection {
            stream: StreamOwned::new(tls, tcp),
            unread: Vec::new(),
        })
    }
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// The body of an answer as a stream. Dropped before its end, it closes the connection.
pub struct Body<'h> {
    https: &'h mut Https,
    left: u64,
}

impl Body<'_> {
    /// Bytes that are still to come.
    pub fn remaining(&self) -> u64 {
        self.left
    }
}

impl io::Read for Body<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let wanted = out.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let Some(connection) = self.https.connection.as_mut().filter(|_| wanted > 0) else {
            return Ok(0);
        };
        let out = &mut out[..wanted];
        let got = if connection.unread.is_empty() {
            connection.stream.read(out)?
        } else {
            let got = connection.unread.len().min(wanted);
            out[..got].copy_from_slice(&connection.unread[..got]);
            connection.unread.drain(..got);
            got
        };
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= got as u64;
        Ok(got)
    }
}

impl embedded_io::ErrorType for Body<'_> {
    type Error = io::Error;
}

impl embedded_io::Read for Body<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        io::Read::read(self, out)
    }
}

impl Drop for Body<'_> {
    fn drop(&mut self) {
        if self.left > 0 {
            self.https.connection = None;
        }
    }
}

/// Why a server can't be talked to.
#[derive(Debug)]
pub enum HttpsError {
    /// URL, certificate or key can't be used.
    Setup(String),
    /// The connection failed.
    Io(io::Error),
    /// The answer is not usable.
    Http(HttpError),
    /// The server says no.
    Refused(Answer),
}

impl fmt::Display for HttpsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setup(reason) => f.write_str(reason),
            Self::Io(error) => write!(f, "the connection failed: {error}"),
            Self::Http(error) => error.fmt(f),
            Self::Refused(answer) => write!(f, "the server answers HTTP {}", answer.status),
        }
    }
}

impl std::error::Error for HttpsError {}

impl From<io::Error> for HttpsError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<HttpError> for HttpsError {
    fn from(error: HttpError) -> Self {
        Self::Http(error)
    }
}

struct Connection {
    stream: StreamOwned<ClientConnection, TcpStream>,
    unread: Vec<u8>,
}

/// PKCS#8 (RFC 8410) in front of the 32 bytes of an Ed25519 secret.
const ED25519_PKCS8: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// The certificate only carries the key: the server looks at nothing else in it.
fn client_config(ca_pem: &[u8], request_key: &[u8; 32]) -> Result<ClientConfig, HttpsError> {
    let pkcs8 = PrivatePkcs8KeyDer::from([&ED25519_PKCS8[..], request_key].concat());
    let key = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &rcgen::PKCS_ED25519)
        .map_err(setup)?;
    let certificate = rcgen::CertificateParams::default()
        .self_signed(&key)
        .map_err(setup)?;
    let mut roots = RootCertStore::empty();
    for ca in CertificateDer::pem_slice_iter(ca_pem) {
        roots.add(ca.map_err(setup)?).map_err(setup)?;
    }
    if roots.is_empty() {
        return Err(HttpsError::Setup("the CA file holds no certificate".into()));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(setup)?
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(pkcs8))
        .map_err(setup)
}

fn write_head(request: &Request<'_>) -> Result<Vec<u8>, HttpsError> {
    let mut head = vec![0; MAX_HEAD];
    let len = request.write(&mut head)?;
    head.truncate(len);
    Ok(head)
}

fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
    )
}

fn setup(error: impl fmt::Display) -> HttpsError {
    HttpsError::Setup(error.to_string())
}

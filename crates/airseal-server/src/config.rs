use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How a server runs.
#[derive(Debug, Clone)]
pub struct Config {
    /// The data directory; made when missing. One server per directory.
    pub data: PathBuf,
    /// Where devices connect. Port 0 takes a free one.
    pub https: SocketAddr,
    /// Where administrators connect: plain HTTP on a loopback address, otherwise TLS. Port 0 takes a free one.
    pub admin: SocketAddr,
    /// Names and addresses for the server certificate, beside localhost and its addresses.
    pub names: Vec<String>,
    /// What devices are told the server's address is, when it is not the one listened on.
    pub public_url: Option<String>,
    /// Makes a new administrator token even if there is one; the old one stops working.
    pub renew_admin_token: bool,
    /// What one peer may take.
    pub limits: Limits,
    /// Where the time comes from.
    pub clock: Clock,
}

impl Config {
    /// The defaults for a data directory.
    #[must_use]
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            https: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8443),
            admin: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8440),
            names: Vec::new(),
            public_url: None,
            renew_admin_token: false,
            limits: Limits::default(),
            clock: Clock::system(),
        }
    }

    /// The defaults on loopback with free ports, for tests and demonstrations.
    #[must_use]
    pub fn local(data: impl Into<PathBuf>) -> Self {
        let local = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        Self {
            https: local,
            admin: local,
            ..Self::new(data)
        }
    }
}

/// What one peer, or all together, may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections of one listener at a time; more wait in the system's queue. Half of them are for who has shown that
    /// it is served.
    pub connections: usize,
    /// Connections of one address (IPv6: one /64) at a time that have not yet shown that they are served; more are
    /// closed.
    pub newcomers: usize,
    /// Connections of one device key at a time; another one ends the oldest.
    pub per_key: usize,
    /// Time for a TLS handshake.
    pub handshake: Duration,
    /// Time for the head of a request, counted from the answer before, and for a device's message body.
    pub request: Duration,
    /// A connection without a byte in either direction for so long is closed.
    pub idle: Duration,
    /// Largest bundle in bytes.
    pub upload_max: u64,
    /// Seconds between two polls of one device, before spreading.
    pub poll_interval_s: u32,
    /// Time for open requests to end when the server stops.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            newcomers: 512,
            per_key: 8,
            handshake: Duration::from_secs(10),
            request: Duration::from_secs(15),
            idle: Duration::from_secs(90),
            upload_max: 8 << 30,
            poll_interval_s: 300,
            drain: Duration::from_secs(5),
        }
    }
}

/// The server's clock, in unix seconds.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> u64 + Send + Sync>);

impl Clock {
    /// The system's clock; a time before 1970 reads as 0.
    #[must_use]
    pub fn system() -> Self {
        Self::from_fn(|| {
            std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(0, |since| since.as_secs())
        })
    }

    /// A clock that a test moves.
    pub fn from_fn(now: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// Unix seconds.
    #[must_use]
    pub fn now(&self) -> u64 {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

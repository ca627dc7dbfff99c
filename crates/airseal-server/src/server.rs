use std::fs::{File, TryLockError};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::ser::{Serialize, SerializeStruct, Serializer};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::accept::{Listener, stopping};
use crate::api::{self, About, App};
use crate::auth;
use crate::blob::BlobFolder;
use crate::config::{Clock, Config};
use crate::error::StartError;
use crate::files;
use crate::live::Live;
use crate::open_files;
use crate::store::Store;
use crate::store::sqlite::SqliteStore;
use crate::tls::ca::{CertificateAuthority, fingerprint};
use crate::tls::{self, Leaf};

/// An update server.
#[derive(Debug)]
pub struct Server;

impl Server {
    /// Starts a server on the current tokio runtime. It is ready to serve on return.
    ///
    /// # Errors
    /// [`StartError`] with what is in the way and what to do about it.
    pub async fn start(config: Config) -> Result<Running, StartError> {
        let known = config
            .data
            .is_dir()
            .then(|| lock(&config.data))
            .transpose()?;
        // Before anything is written, so that a taken address leaves no data directory behind.
        let https = bind(config.https).await?;
        let admin = bind(config.admin).await?;
        make_data_folder(&config.data)?;
        let lock = known.map_or_else(|| lock(&config.data), Ok)?;
        let now = config.clock.now();
        let authority = Arc::new(CertificateAuthority::open(&config.data)?);
        let ready = Ready {
            https: https.local_addr().unwrap_or(config.https),
            admin: admin.local_addr().unwrap_or(config.admin),
            ca: authority.certificate_path().to_owned(),
            admin_token_file: PathBuf::new(),
        };
        let leaf = Arc::new(Leaf::new(
            Arc::clone(&authority),
            names(&config, &ready),
            now,
        )?);
        let database = config.data.join(DATABASE_FILE);
        // SQLite gives the files beside it the same mode.
        files::open_private(&database)?;
        let store = SqliteStore::open(&database).await?;
        let (tokens, token_file) =
            auth::open_admin_token(&store, &config.data, config.renew_admin_token, now).await?;
        let ready = Ready {
            admin_token_file: token_file,
            ..ready
        };
        let app = Arc::new(App {
            store: Arc::new(store),
            blobs: BlobFolder::open(&config.data)?,
            live: Live::new(),
            tokens,
            limits: config.limits.clone(),
            clock: config.clock.clone(),
            about: About {
                https: ready.https.to_string(),
                public_url: config.public_url.clone(),
                ca_pem: authority.certificate_pem().to_owned(),
                ca_sha256: fingerprint(authority.certificate_pem())
                    .map(hex::encode)
                    .unwrap_or_default(),
            },
        });
        let (stop, stopped) = watch::channel(false);
        let (device_limits, admin_limits) = open_files::share(&config.limits);
        let listener = |tcp, tls, router, limits| Listener {
            tcp,
            tls,
            router,
            limits,
            live: Arc::clone(&app.live),
        };
        let devices = listener(
            https,
            Some(TlsAcceptor::from(Arc::new(tls::for_devices(&leaf)?))),
            api::device_router(Arc::clone(&app)),
            device_limits,
        );
        let admin_tls = if ready.admin.ip().is_loopback() {
            None
        } else {
            Some(TlsAcceptor::from(Arc::new(tls::for_administrators(&leaf)?)))
        };
        let admins = listener(
            admin,
            admin_tls,
            api::admin_router(Arc::clone(&app)),
            admin_limits,
        );
        let tasks = vec![
            tokio::spawn(devices.run(stopped.clone())),
            tokio::spawn(admins.run(stopped.clone())),
            tokio::spawn(renew(leaf, config.clock.clone(), stopped)),
        ];
        tracing::info!(https = %ready.https, admin = %ready.admin, "ready");
        Ok(Running {
            ready,
            stop,
            tasks,
            store: Arc::clone(&app.store),
            _lock: lock,
        })
    }

    /// Starts a server on a runtime of its own, for callers without one.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_blocking(config: Config) -> Result<RunningBlocking, StartError> {
        let data = config.data.clone();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .thread_name("airseal-server")
            .build()
            .map_err(|error| StartError::io(&data, error))?;
        let running = runtime.block_on(Self::start(config))?;
        Ok(RunningBlocking {
            ready: running.ready.clone(),
            running: Some(running),
            runtime,
        })
    }
}

/// A server at work. Dropping it without [`Running::stop`] ends it when its runtime ends.
#[derive(Debug)]
pub struct Running {
    ready: Ready,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    store: Arc<dyn Store>,
    _lock: File,
}

impl Running {
    /// Where it is to be found.
    #[must_use]
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Takes no new connections, lets open requests end, closes the database.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        for task in self.tasks {
            let _ = task.await;
        }
        self.store.close().await;
    }
}

/// A server at work on its own threads. Dropping it stops it.
#[derive(Debug)]
pub struct RunningBlocking {
    ready: Ready,
    running: Option<Running>,
    runtime: tokio::runtime::Runtime,
}

impl RunningBlocking {
    /// Where it is to be found.
    #[must_use]
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Takes no new connections, lets open requests end, closes the database.
    pub fn stop(mut self) {
        self.stop_now();
    }

    fn stop_now(&mut self) {
        if let Some(running) = self.running.take() {
            self.runtime.block_on(running.stop());
        }
    }
}

impl Drop for RunningBlocking {
    fn drop(&mut self) {
        self.stop_now();
    }
}

/// Where a server is to be found. As JSON it is the line that `serve --json` prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// Where devices connect.
    pub https: SocketAddr,
    /// Where administrators connect.
    pub admin: SocketAddr,
    /// The authority's certificate, PEM.
    pub ca: PathBuf,
    /// The file with the administrator's token.
    pub admin_token_file: PathBuf,
}

impl Ready {
    /// Address of the administrators' interface as a URL: plain HTTP on loopback, else HTTPS.
    #[must_use]
    pub fn admin_url(&self) -> String {
        let scheme = if self.admin.ip().is_loopback() {
            "http"
        } else {
            "https"
        };
        format!("{scheme}://{}", self.admin)
    }

    /// Address of the device interface as a URL.
    #[must_use]
    pub fn https_url(&self) -> String {
        format!("https://{}", self.https)
    }
}

impl Serialize for Ready {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut line = serializer.serialize_struct("Ready", 7)?;
        line.serialize_field("ready", &true)?;
        line.serialize_field("https", &self.https.to_string())?;
        line.serialize_field("noise", &None::<String>)?;
        line.serialize_field("admin", &self.admin.to_string())?;
        line.serialize_field("metrics", &None::<String>)?;
        line.serialize_field("ca", &self.ca)?;
        line.serialize_field("admin_token_file", &self.admin_token_file)?;
        line.end()
    }
}

fn make_data_folder(path: &Path) -> Result<(), StartError> {
    if path.is_file() {
        let kind = std::io::ErrorKind::NotADirectory;
        let message = "is a file; --data names a folder";
        return Err(StartError::io(path, std::io::Error::new(kind, message)));
    }
    files::make_private_folder(path)
}

/// One server per data directory; the lock ends with the process, however it ends.
fn lock(data: &Path) -> Result<File, StartError> {
    let path = data.join(LOCK_FILE);
    let file = files::open_private(&path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StartError::InUse {
            data: data.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(StartError::io(&path, error)),
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| StartError::Listen { address, source })
}

/// What the server certificate is for: this machine, the addresses listened on, and what the configuration names.
fn names(config: &Config, ready: &Ready) -> Vec<String> {
    let mut names = ["localhost", "127.0.0.1", "::1"].map(String::from).to_vec();
    let listening = [ready.https.ip(), ready.admin.ip()];
    let is_everywhere = listening.iter().any(IpAddr::is_unspecified);
    let addresses = listening
        .into_iter()
        .filter(|ip| !ip.is_unspecified())
        .chain(own_address().filter(|_| is_everywhere))
        .map(|ip| ip.to_string());
    let public = config
        .public_url
        .iter()
        .filter_map(|url| url.parse::<axum::http::Uri>().ok())
        .filter_map(|url| {
            url.host()
                .map(|host| host.trim_matches(['[', ']']).to_owned())
        });
    for name in config.names.iter().cloned().chain(addresses).chain(public) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The address this machine is reached at from its network, if it has one. Connecting a UDP socket sends nothing.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(DOCUMENTATION_ADDRESS).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// Keeps the server certificate fresh.
async fn renew(leaf: Arc<Leaf>, clock: Clock, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = stopping(&mut stop) => return,
            () = tokio::time::sleep(RENEWAL_CHECK) => match leaf.renew(clock.now()) {
                Ok(true) => tracing::info!("server certificate renewed"),
                Ok(false) => {}
                Err(error) => tracing::error!(%error, "can't renew the server certificate"),
            },
        }
    }
}

/// Any address outside: TEST-NET-1 of RFC 5737.
const DOCUMENTATION_ADDRESS: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 9);

const DATABASE_FILE: &str = "airseal.db";
const LOCK_FILE: &str = "lock";
const RENEWAL_CHECK: Duration = Duration::from_secs(3600);

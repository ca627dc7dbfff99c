//! Why a server does not start, and why the store or a blob fails.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why the server did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// A file or folder of the data directory can't be used.
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another server works on the same data directory.
    InUse {
        /// The data directory.
        data: PathBuf,
    },
    /// An address can't be listened on.
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The authority's key file is missing or damaged while its certificate is there.
    CaKey {
        /// The key file.
        path: PathBuf,
    },
    /// A certificate can't be issued, for example for a name that is none.
    Certificate(rcgen::Error),
    /// TLS can't be set up.
    Tls(rustls::Error),
    /// The database can't be opened.
    Store(StoreError),
}

impl StartError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Self::InUse { data } => write!(
                f,
                "{}: another server works on this data directory; stop it or take another --data",
                data.display()
            ),
            Self::Listen { address, source } => {
                write!(
                    f,
                    "can't listen on {address}: {source}; choose another port, or 0 for a free one"
                )
            }
            Self::CaKey { path } => write!(
                f,
                "{}: the certificate authority's key is missing or damaged; restore it from a backup, \
                 or delete ca.pem too to start a new authority (devices must then be given the new certificate)",
                path.display()
            ),
            Self::Certificate(source) => write!(f, "can't issue the server certificate: {source}"),
            Self::Tls(source) => write!(f, "can't set up TLS: {source}"),
            Self::Store(source) => source.fmt(f),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } | Self::Listen { source, .. } => Some(source),
            Self::Certificate(source) => Some(source),
            Self::Tls(source) => Some(source),
            Self::Store(source) => Some(source),
            Self::InUse { .. } | Self::CaKey { .. } => None,
        }
    }
}

impl From<rcgen::Error> for StartError {
    fn from(source: rcgen::Error) -> Self {
        Self::Certificate(source)
    }
}

impl From<rustls::Error> for StartError {
    fn from(source: rustls::Error) -> Self {
        Self::Tls(source)
    }
}

impl From<StoreError> for StartError {
    fn from(source: StoreError) -> Self {
        Self::Store(source)
    }
}

/// Why the store can't answer.
#[derive(Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// The database failed.
    Database {
        /// The transaction.
        name: &'static str,
        /// What the driver says.
        source: sqlx::Error,
    },
    /// The database did not become free in time.
    Busy {
        /// The transaction.
        name: &'static str,
    },
    /// The disk of the database is full.
    Full {
        /// The transaction.
        name: &'static str,
    },
    /// A newer version of this program wrote the database.
    NewerSchema {
        /// Schema version found.
        found: i64,
        /// Newest schema version this program knows.
        known: i64,
    },
    /// A stored value does not have the shape it was written with.
    Damaged {
        /// Table and column.
        column: &'static str,
    },
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database { name, source } => write!(f, "database, {name}: {source}"),
            Self::Busy { name } => write!(
                f,
                "database, {name}: not free in time; too many requests, or another program holds it"
            ),
            Self::Full { name } => write!(f, "database, {name}: the disk is full; free some space"),
            Self::NewerSchema { found, known } => write!(
                f,
                "the database has schema version {found}, this program knows up to {known}; use the newer program"
            ),
            Self::Damaged { column } => {
                write!(
                    f,
                    "the database is damaged: {column}; restore it from a backup"
                )
            }
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Database { source, .. } => Some(source),
            Self::Busy { .. }
            | Self::Full { .. }
            | Self::NewerSchema { .. }
            | Self::Damaged { .. } => None,
        }
    }
}

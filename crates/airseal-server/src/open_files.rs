//! How many files the system lets this process have open, and how connections share them.
//!
//! Each connection takes a file, each download another one. When there are none left, payloads, uploads and the
//! administrators' connections fail as well; so listeners take no more connections than there are files for.

use crate::config::Limits;

/// Limits of the two listeners, devices and administrators, as far as the system has files for them.
pub(crate) fn share(limits: &Limits) -> (Limits, Limits) {
    let connections = u64::try_from(limits.connections).unwrap_or(u64::MAX);
    let wanted = connections
        .saturating_mul(DEVICE_FILES.saturating_add(ADMIN_FILES))
        .saturating_add(OWN_FILES);
    let Some(files) = allowed(wanted) else {
        return (limits.clone(), limits.clone());
    };
    let rest = files.saturating_sub(OWN_FILES);
    let devices = (rest / 4).saturating_mul(3) / DEVICE_FILES;
    if devices < connections {
        tracing::warn!(
            files,
            devices,
            "fewer connections than configured: the system allows too few open files (ulimit -n)"
        );
    }
    let admins = rest / 4 / ADMIN_FILES;
    (at_most(limits, devices), at_most(limits, admins))
}

/// Fewer connections; half of them are for who is known, as always.
fn at_most(limits: &Limits, connections: u64) -> Limits {
    let most = usize::try_from(connections).unwrap_or(usize::MAX).max(2);
    if most >= limits.connections {
        return limits.clone();
    }
    Limits {
        connections: most,
        ..limits.clone()
    }
}

/// Raises the limit on open files towards `wanted` and says what it is then; `None` where there is none.
#[cfg(unix)]
fn allowed(wanted: u64) -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let current = limit.current?;
    let raised = wanted.min(limit.maximum.unwrap_or(u64::MAX));
    if raised > current {
        let raised = Rlimit {
            current: Some(raised),
            maximum: limit.maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::debug!(%error, "the limit on open files stays");
        }
    }
    getrlimit(Resource::Nofile).current
}

#[cfg(not(unix))]
fn allowed(_wanted: u64) -> Option<u64> {
    None
}

/// Files that the server has open whoever connects: database, listeners, log, and some to spare.
const OWN_FILES: u64 = 64;

/// Files of a device's connection: the socket and a payload.
const DEVICE_FILES: u64 = 2;

/// Files of an administrator's connection: the socket, an upload under two handles, and its payload on the way in.
const ADMIN_FILES: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_files_make_few_connections() {
        let connections = |most| at_most(&Limits::default(), most).connections;
        assert_eq!([0, 36, 5000].map(connections), [2, 36, 4096]);
    }
}

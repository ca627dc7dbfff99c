//! The one type for everything that ends a command without success.

use std::fmt;
use std::io;
use std::path::Path;

/// Why a command ends, which decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// The input, a key, a signature or the peer said no.
    Refused,
    /// The call makes no sense as it stands.
    Usage,
    /// A file, the network, the server's machine or the system failed.
    Environment,
    /// Ctrl-C, or a request to terminate.
    Interrupted,
    /// Whoever read our output has seen enough.
    OutputClosed,
}

impl FailureKind {
    /// The exit code of the process.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            FailureKind::OutputClosed => 0,
            FailureKind::Refused => 1,
            FailureKind::Usage => 2,
            FailureKind::Environment | FailureKind::Interrupted => 3,
        }
    }

    /// One word for `--json`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            FailureKind::Refused => "refused",
            FailureKind::Usage => "usage",
            FailureKind::Environment => "environment",
            FailureKind::Interrupted => "interrupted",
            FailureKind::OutputClosed => "output-closed",
        }
    }

    /// What stands before the message on a terminal.
    pub(crate) fn heading(self) -> &'static str {
        match self {
            FailureKind::Refused => "refused",
            FailureKind::Usage => "usage",
            FailureKind::Interrupted => "stopped",
            FailureKind::Environment | FailureKind::OutputClosed => "error",
        }
    }
}

/// A failed command: what is wrong, where, and what to do.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Decides the exit code.
    pub(crate) kind: FailureKind,
    /// What is wrong, with the file, field or offset.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
    /// The number for `airseal explain`, where there is one.
    pub(crate) code: Option<u16>,
}

impl Failure {
    /// The input, a key or the peer said no.
    pub(crate) fn refused(message: impl fmt::Display) -> Failure {
        Failure::new(FailureKind::Refused, message)
    }

    /// The call makes no sense.
    pub(crate) fn usage(message: impl fmt::Display) -> Failure {
        Failure::new(FailureKind::Usage, message)
    }

    /// Files, network or system failed.
    pub(crate) fn environment(message: impl fmt::Display) -> Failure {
        Failure::new(FailureKind::Environment, message)
    }

    /// Ctrl-C.
    pub(crate) fn interrupted() -> Failure {
        Failure::new(
            FailureKind::Interrupted,
            "interrupted; nothing half-written is left",
        )
    }

    /// An I/O failure with what was done, as in `can't read x`.
    pub(crate) fn io(action: impl fmt::Display, error: &io::Error) -> Failure {
        Failure::environment(format_args!("{action}: {error}"))
    }

    /// A connection that failed: what to do depends on who ended it. `authority` is the file of the certificate that the
    /// server was checked with.
    pub(crate) fn connection(
        text: impl fmt::Display,
        authority: Option<&Path>,
        otherwise: &str,
    ) -> Failure {
        let text = text.to_string();
        let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
        let hint = if has(&["UnknownIssuer", "BadSignature", "unknown issuer"]) {
            let authority = authority.map_or_else(
                || "the authority given".to_owned(),
                |file| format!("the authority in {}", file.display()),
            );
            return Failure::environment(&text).hint(format!(
                "the server's certificate is not from {authority}: name that of its own authority with --ca (`airseal server trust` writes the one of `airseal serve`)"
            ));
        } else if has(&["CaUsedAsEndEntity"]) {
            "the server shows the authority's own certificate: give it one that the authority signed"
        } else if has(&["ProtocolVersion", "peer is incompatible"]) {
            "the server must speak TLS 1.3: allow it there"
        } else if has(&["NotValidForName"]) {
            "the server's certificate is for other names: start it with `airseal serve --name HOST`, or use a name it has"
        } else if has(&["CertificateRequired"]) {
            "this is the port for devices: use the administration address that `airseal serve` prints"
        } else if has(&["InvalidContentType", "InvalidMessage", "corrupt message"]) {
            "what answers there speaks no TLS: write the address and port for devices that `airseal serve` prints"
        } else {
            otherwise
        };
        Failure::environment(&text).hint(hint)
    }

    /// Standard output can't be written.
    pub(crate) fn output(error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::new(
                FailureKind::OutputClosed,
                "the reader of the output went away",
            ),
            _ => Failure::io("can't write to standard output", error),
        }
    }

    /// Adds what to do.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Failure {
        let hint = hint.into();
        self.hint = (!hint.is_empty()).then_some(hint);
        self
    }

    /// Adds the number that `airseal explain` knows.
    #[must_use]
    pub(crate) fn code(mut self, code: u16) -> Failure {
        self.code = Some(code);
        self
    }

    fn new(kind: FailureKind, message: impl fmt::Display) -> Failure {
        Failure {
            kind,
            message: message.to_string(),
            hint: None,
            code: None,
        }
    }
}

impl From<airseal_pack::Error> for Failure {
    fn from(error: airseal_pack::Error) -> Failure {
        use airseal_pack::{Error, ErrorKind};
        let remedy = error.remedy().to_owned();
        let text = error.to_string();
        let message = text.strip_suffix(&format!("; {remedy}")).unwrap_or(&text);
        let failure = match (&error, error.kind()) {
            (Error::Cancelled, _) => Failure::interrupted(),
            (Error::Io { source, .. }, _) if source.kind() == io::ErrorKind::BrokenPipe => {
                Failure::output(source)
            }
            (_, ErrorKind::Refused) => Failure::refused(message),
            (_, ErrorKind::Usage) => Failure::usage(message),
            (_, ErrorKind::Io) => Failure::environment(message),
        };
        let failure = failure.hint(remedy);
        match error {
            Error::Format { source, .. } | Error::Signatures { source, .. } => {
                failure.code(source.reason.code())
            }
            _ => failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_pipe_is_no_error() {
        let failure = Failure::output(&io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(failure.kind.exit_code(), 0);
        let failure = Failure::output(&io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(failure.kind.exit_code(), 3);
    }

    #[test]
    fn the_remedy_becomes_the_hint() {
        let failure = Failure::from(airseal_pack::Error::Refused {
            subject: "a.key".into(),
            message: "is no key".into(),
            remedy: "make one".into(),
        });
        assert_eq!(failure.message, "a.key: is no key");
        assert_eq!(failure.hint.as_deref(), Some("make one"));
        assert_eq!(failure.kind.exit_code(), 1);
    }
}

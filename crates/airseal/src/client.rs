//! The administrators' side of a server: one request, one answer, and what went wrong in the server's own words.

use std::fs::{self, File};
use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use airseal_server::api::types::{ProblemBody, SetTrust, TRUST_LEN_HEADER};
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::{Response, Uri};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::typestate::WithBody;
use ureq::{Agent, Body, RequestBuilder, SendBody};
use zeroize::Zeroizing;

use crate::commands::shared::checked_token;
use crate::failure::Failure;

/// Which server, and as whom.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ServerArgs {
    /// The server's administration address
    #[arg(
        long,
        value_name = "URL",
        env = "AIRSEAL_SERVER",
        default_value = "http://127.0.0.1:8440",
        hide_env_values = true,
        help_heading = "Server"
    )]
    pub(crate) server: String,

    /// File with the administration token [default: AIRSEAL_TOKEN, or the one in --data]
    #[arg(
        long,
        value_name = "FILE",
        env = "AIRSEAL_TOKEN_FILE",
        hide_env_values = true,
        help_heading = "Server"
    )]
    pub(crate) token_file: Option<PathBuf>,

    /// The certificate to trust when the address is https, PEM [default: the one in --data]
    #[arg(long, value_name = "FILE", help_heading = "Server")]
    pub(crate) ca: Option<PathBuf>,

    /// The data directory of a server on this machine
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA, help_heading = "Server")]
    pub(crate) data: PathBuf,
}

/// Where `airseal serve` keeps everything, unless told otherwise.
pub(crate) const DEFAULT_DATA: &str = "airseal-data";

/// A connection to a server's administration.
pub(crate) struct Client {
    agent: Agent,
    base: String,
    token: Zeroizing<String>,
}

impl Client {
    /// Finds address, token and certificate.
    ///
    /// # Errors
    /// Usage for a bad address or a missing token, environment if a file can't be read.
    pub(crate) fn new(args: &ServerArgs) -> Result<Client, Failure> {
        let base = args.server.trim_end_matches('/').to_owned();
        check_address(&base)?;
        let ca = args
            .ca
            .clone()
            .or_else(|| existing(args.data.join(CA_FILE)));
        let mut tls = TlsConfig::builder().unversioned_rustls_crypto_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ));
        if base.starts_with("https:") {
            let ca = ca.ok_or_else(|| {
                Failure::usage("no certificate to check the server with").hint(
                    "give --ca FILE; `airseal server trust` on the server's machine writes it",
                )
            })?;
            tls = tls.root_certs(RootCerts::new_with_certs(&certificates(&ca)?));
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("airseal/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_recv_response(Some(Duration::from_secs(600)))
            .tls_config(tls.build())
            .build();
        Ok(Client {
            agent: config.new_agent(),
            base,
            token: token(args)?,
        })
    }

    /// Reads.
    ///
    /// # Errors
    /// Refused by the server, or environment.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let request = self
            .agent
            .get(self.url(path))
            .header("authorization", self.bearer().as_str());
        self.answer(request.call())
    }

    /// Sends a JSON message.
    ///
    /// # Errors
    /// Refused by the server, or environment.
    pub(crate) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        self.send_json(self.agent.post(self.url(path)), body)
    }

    /// Replaces something.
    ///
    /// # Errors
    /// Refused by the server, or environment.
    pub(crate) fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        self.send_json(self.agent.put(self.url(path)), body)
    }

    fn send_json<T: DeserializeOwned>(
        &self,
        request: RequestBuilder<WithBody>,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        self.answer(
            request
                .header("authorization", self.bearer().as_str())
                .header("content-type", "application/json")
                .send(json(body)?.as_bytes()),
        )
    }

    /// Sends a file as it is.
    ///
    /// # Errors
    /// Refused by the server, or environment.
    pub(crate) fn upload<T: DeserializeOwned>(
        &self,
        path: &str,
        file: &Path,
    ) -> Result<T, Failure> {
        let opened = open_upload(file)?;
        let request = self
            .agent
            .post(self.url(path))
            .header("authorization", self.bearer().as_str());
        self.answer(
            request
                .header("content-type", "application/octet-stream")
                .send(&opened),
        )
    }

    /// Publishes a bundle together with the trust to verify it under: both are stored or neither.
    ///
    /// # Errors
    /// Refused by the server, or environment.
    pub(crate) fn publish_with<T: DeserializeOwned>(
        &self,
        trust: &SetTrust,
        file: &Path,
    ) -> Result<T, Failure> {
        let opened = open_upload(file)?;
        let trust = json(trust)?;
        let request = self
            .agent
            .post(self.url("releases"))
            .header("authorization", self.bearer().as_str())
            .header("content-type", "application/octet-stream")
            .header(TRUST_LEN_HEADER, trust.len().to_string());
        let mut body = trust.as_bytes().chain(opened);
        self.answer(request.send(SendBody::from_reader(&mut body)))
    }

    fn url(&self, path: &str) -> String {
        format!("{}/api/v1/{path}", self.base)
    }

    fn bearer(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("Bearer {}", self.token.as_str()))
    }

    fn answer<T: DeserializeOwned>(
        &self,
        sent: Result<Response<Body>, ureq::Error>,
    ) -> Result<T, Failure> {
        let mut response = sent.map_err(|error| self.unreachable(&error))?;
        let status = response.status().as_u16();
        let body = response
            .body_mut()
            .with_config()
            .limit(ANSWER_MAX)
            .read_to_vec()
            .map_err(|error| self.unreachable(&error))?;
        if (200..300).contains(&status) {
            return serde_json::from_slice(&body).map_err(|error| {
                Failure::environment(format_args!("{}: the answer can't be read: {error}", self.base))
                    .hint("check that the address is an Airseal server's administration, of the same version as this program")
            });
        }
        Err(self.refused(status, &body))
    }

    fn refused(&self, status: u16, body: &[u8]) -> Failure {
        let Ok(problem) = serde_json::from_slice::<ProblemBody>(body) else {
            return Failure::environment(format_args!(
                "{}: status {status}, and no reason given",
                self.base
            ))
            .hint("check that the address is an Airseal server's administration");
        };
        let (message, hint) = match problem.remedy {
            Some(remedy) => (problem.detail.clone(), remedy),
            None => (problem.title.clone(), problem.detail.clone()),
        };
        let failure = match status {
            401 | 403 => Failure::refused(&problem.title).hint(if problem.detail.is_empty() {
                "give the token of this server: AIRSEAL_TOKEN_FILE, or --data on the server's machine".to_owned()
            } else {
                problem.detail
            }),
            400..500 => Failure::refused(message).hint(hint),
            _ => Failure::environment(format_args!("the server failed: {}", problem.title)).hint(problem.detail),
        };
        match problem.code {
            Some(code) => failure.code(code),
            None => failure,
        }
    }

    fn unreachable(&self, error: &ureq::Error) -> Failure {
        Failure::connection(
            format_args!("{}: {error}", self.base),
            None,
            "is the server running (airseal serve), and is this its administration address (--server, AIRSEAL_SERVER)?",
        )
    }
}

fn open_upload(file: &Path) -> Result<File, Failure> {
    let failed = |error| Failure::io(format_args!("can't read {}", file.display()), &error);
    let opened = File::open(file).map_err(failed)?;
    if opened.metadata().map_err(failed)?.is_dir() {
        return Err(Failure::refused(format_args!(
            "{}: is a directory, not a file",
            file.display()
        )));
    }
    Ok(opened)
}

/// One segment of a path: ids and names hold no reserved characters, or they name nothing.
pub(crate) fn segment(text: &str) -> String {
    let mut segment = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                segment.push(char::from(byte))
            }
            _ => segment.push_str(&format!("%{byte:02X}")),
        }
    }
    segment
}

fn check_address(base: &str) -> Result<(), Failure> {
    let bad = || {
        Failure::usage(format_args!("{base} is no server address"))
            .hint("write http://127.0.0.1:8440 for a server on this machine, https://NAME:PORT for another")
    };
    let uri: Uri = base.parse().map_err(|_| bad())?;
    let host = uri.host().ok_or_else(bad)?.trim_matches(['[', ']']);
    let loopback = host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    match uri.scheme_str() {
        Some("https") => Ok(()),
        Some("http") if loopback => Ok(()),
        Some("http") => Err(Failure::usage(format_args!(
            "{base}: the token would travel in the clear"
        ))
        .hint("use https, or a tunnel to the server's loopback address")),
        _ => Err(bad()),
    }
}

fn token(args: &ServerArgs) -> Result<Zeroizing<String>, Failure> {
    let file = match &args.token_file {
        Some(file) => file.clone(),
        None => {
            if let Some(token) = std::env::var("AIRSEAL_TOKEN")
                .ok()
                .filter(|token| !token.is_empty())
            {
                return checked_token("AIRSEAL_TOKEN", &token);
            }
            existing(args.data.join(TOKEN_FILE)).ok_or_else(|| {
                Failure::usage("no administration token").hint(format!(
                    "set AIRSEAL_TOKEN_FILE to the file that `airseal serve` names, or give --data if the server's \
                     directory is not {DEFAULT_DATA}"
                ))
            })?
        }
    };
    let text = fs::read_to_string(&file)
        .map(Zeroizing::new)
        .map_err(|error| {
            Failure::io(
                format_args!("can't read the token file {}", file.display()),
                &error,
            )
        })?;
    checked_token(&file.display().to_string(), &text)
}

fn certificates(file: &Path) -> Result<Vec<Certificate<'static>>, Failure> {
    let pem = fs::read(file)
        .map_err(|error| Failure::io(format_args!("can't read {}", file.display()), &error))?;
    let certificates: Vec<_> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(
            Failure::refused(format_args!("{}: holds no certificate", file.display()))
                .hint("name the ca.pem that `airseal server trust` writes"),
        );
    }
    Ok(certificates)
}

fn existing(path: PathBuf) -> Option<PathBuf> {
    path.is_file().then_some(path)
}

fn json(body: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(body)
        .map_err(|error| Failure::environment(format_args!("can't write JSON: {error}")))
}

const TOKEN_FILE: &str = "admin-token";
const CA_FILE: &str = "ca.pem";
const ANSWER_MAX: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_never_travels_in_the_clear() {
        assert!(check_address("http://127.0.0.1:8440").is_ok());
        assert!(check_address("http://[::1]:8440").is_ok());
        assert!(check_address("https://updates.example.com").is_ok());
        for bad in [
            "http://updates.example.com",
            "http://10.0.0.1:8440",
            "updates.example.com",
            "ftp://localhost",
            "",
        ] {
            assert!(check_address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_can_not_leave_its_segment() {
        assert_eq!(segment("al-1/../x?y"), "al-1%2F..%2Fx%3Fy");
    }
}

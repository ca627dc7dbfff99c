//! `simulate device --from https://...`: an exported folder behind a file server that is not ours, over TLS.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::harness::{Room, SEAL};

#[test]
fn a_device_updates_from_a_file_server_and_tells_what_it_cost() {
    let site = Site::new(Manners::default());
    let report = site.room.json(&site.update("d", ""));
    assert_eq!(report["outcome"], "updated");
    assert_eq!(report["version"], "1.2.3");
    let traffic = &report["traffic"];
    assert!(
        traffic["payload"].as_u64().unwrap() >= IMAGE_LEN,
        "{report}"
    );
    assert_eq!(traffic["twice"], 0);
    assert!(
        traffic["received"].as_u64() > traffic["payload"].as_u64(),
        "{report}"
    );
    assert!(
        report["bytes_per_byte"].as_f64().unwrap() < 1.05,
        "{report}"
    );
    let again = site.room.json(&site.update("d", ""));
    assert_eq!(again["outcome"], "nothing to install");
}

#[test]
fn power_cuts_cost_little_where_parts_can_be_had_and_are_survived_where_not() {
    for (ranges, most) in [(true, 1.1), (false, 100.0)] {
        let site = Site::new(Manners {
            ranges,
            ..Manners::default()
        });
        let report = site.room.json(&site.update("d", "--cut-power-at 40"));
        assert_eq!(report["version"], "1.2.3", "{report}");
        assert_eq!(report["power_cuts"], 2, "{report}");
        let ratio = report["bytes_per_byte"].as_f64().unwrap();
        assert!(ratio < most, "ranges {ranges}: {report}");
        let twice = report["traffic"]["twice"].as_u64().unwrap();
        assert!(twice > 0, "ranges {ranges}: {report}");
        assert_eq!(twice > IMAGE_LEN, !ranges, "{report}");
    }
}

#[test]
fn connections_that_end_early_are_taken_up_again() {
    let site = Site::new(Manners {
        cut_after: Some(IMAGE_LEN / 3),
        ..Manners::default()
    });
    let report = site.room.json(&site.update("d", ""));
    assert_eq!(report["version"], "1.2.3", "{report}");
    let events = report["events"].as_array().unwrap();
    let interrupted = events
        .iter()
        .filter(|event| event["event"] == "interrupted");
    assert_eq!(interrupted.count(), 3, "{report}");
}

#[test]
fn a_file_that_is_not_there_is_explained() {
    let site = Site::new(Manners::default());
    let wrong = site
        .update("d", "")
        .replace(&site.capability, &"0".repeat(32));
    let error = site.room.fails(1, &wrong);
    assert!(
        error.contains("404") && error.contains("export static"),
        "{error}"
    );
    assert!(!error.contains("explain"), "{error}");
    fs::remove_dir_all(site.room.file("www/blobs")).unwrap();
    let error = site.room.fails(1, &site.update("d", ""));
    assert!(error.contains("404") && error.contains("blobs"), "{error}");
    assert!(!error.contains(&site.capability), "{error}");
}

#[test]
fn the_wrong_authority_is_named() {
    let site = Site::new(Manners::default());
    let other = CertifiedIssuer::self_signed(authority(), key()).unwrap();
    site.room.write("other.pem", other.pem().as_bytes());
    let wrong = site.update("d", "").replace("ca.pem", "other.pem");
    let error = site.room.fails(3, &wrong);
    assert!(
        error.contains("other.pem") && error.contains("--ca"),
        "{error}"
    );
    let error = site
        .room
        .fails(3, &site.update("d", "").replace(" --ca ca.pem", ""));
    assert!(error.contains("--ca"), "{error}");
}

/// A device, its release as an exported folder, and the file server in front of it.
struct Site {
    room: Room,
    address: SocketAddr,
    capability: String,
}

/// What the file server can do.
#[derive(Clone, Copy)]
struct Manners {
    /// It sends parts of files.
    ranges: bool,
    /// It ends each connection after this many bytes.
    cut_after: Option<u64>,
}

impl Default for Manners {
    fn default() -> Manners {
        Manners {
            ranges: true,
            cut_after: None,
        }
    }
}

impl Site {
    /// The server's threads end with the process.
    fn new(manners: Manners) -> Site {
        let room = Room::new();
        room.ok("key new --kind signing -o vendor");
        room.ok("simulate device --state d --vendor example.com --class lamp --trust vendor.pub --slot-kib 512");
        let image: Vec<u8> = (0..IMAGE_LEN).map(|i| (i % 251) as u8).collect();
        room.write("fw.bin", &image);
        let args = SEAL.replace("--to dev.pub", "--to d/device.pub");
        room.ok(&format!("seal fw.bin -o d.seal {args}"));
        room.ok("export static www --release d.seal --to d/device.pub");
        let list = fs::read_to_string(room.file("www-capabilities.csv")).unwrap();
        let path = list.lines().nth(1).unwrap().rsplit(',').next().unwrap();
        let capability = path.trim_matches('/').strip_suffix("/index").unwrap();

        let issuer = CertifiedIssuer::self_signed(authority(), key()).unwrap();
        room.write("ca.pem", issuer.pem().as_bytes());
        let key = key();
        let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &issuer).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![leaf.into()],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tls, root) = (Arc::new(tls), room.file("www"));
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (tls, root) = (Arc::clone(&tls), root.clone());
                std::thread::spawn(move || {
                    let connection = ServerConnection::new(tls).unwrap();
                    let stream = StreamOwned::new(connection, socket);
                    // A device that loses its power ends a connection in any way.
                    let _ = Visit::new(stream, root, manners).serve();
                });
            }
        });
        Site {
            capability: capability.to_owned(),
            room,
            address,
        }
    }

    /// The command line of an update.
    fn update(&self, state: &str, more: &str) -> String {
        format!(
            "simulate device --state {state} --from https://{}/{}/ --ca ca.pem {more}",
            self.address, self.capability
        )
    }
}

/// One connection to the file server.
struct Visit {
    stream: BufReader<StreamOwned<ServerConnection, TcpStream>>,
    root: PathBuf,
    ranges: bool,
    /// Bytes until it ends.
    left: u64,
}

impl Visit {
    fn new(
        stream: StreamOwned<ServerConnection, TcpStream>,
        root: PathBuf,
        manners: Manners,
    ) -> Visit {
        Visit {
            stream: BufReader::new(stream),
            root,
            ranges: manners.ranges,
            left: manners.cut_after.unwrap_or(u64::MAX),
        }
    }

    fn serve(mut self) -> io::Result<()> {
        loop {
            let mut lines = Vec::new();
            loop {
                let mut line = String::new();
                if self.stream.read_line(&mut line)? == 0 {
                    return Ok(());
                }
                match line.trim_end() {
                    "" => break,
                    line => lines.push(line.to_owned()),
                }
            }
            let path = lines[0].split(' ').nth(1).unwrap_or("/");
            let range = lines.iter().find_map(|line| {
                let line = line.to_lowercase();
                let range = line.strip_prefix("range: bytes=")?.split_once('-')?;
                Some((range.0.parse().ok()?, range.1.parse().ok()?))
            });
            let file = self.root.join(path.trim_start_matches('/'));
            self.answer(&file, range.filter(|_| self.ranges))?;
        }
    }

    fn answer(&mut self, file: &Path, range: Option<(usize, usize)>) -> io::Result<()> {
        let Ok(bytes) = fs::read(file) else {
            let page = "<html><body><h1>404 Not Found</h1></body></html>";
            return self.send("404 Not Found", "", page.as_bytes());
        };
        match range {
            None => self.send("200 OK", "", &bytes),
            Some((first, last)) => {
                let part = format!("Content-Range: bytes {first}-{last}/{}\r\n", bytes.len());
                self.send("206 Partial Content", &part, &bytes[first..=last])
            }
        }
    }

    fn send(&mut self, status: &str, more: &str, body: &[u8]) -> io::Result<()> {
        let len = body.len();
        let head =
            format!("HTTP/1.1 {status}\r\nServer: any\r\nContent-Length: {len}\r\n{more}\r\n");
        for bytes in [head.as_bytes(), body] {
            let now = usize::try_from(self.left).unwrap().min(bytes.len());
            self.stream.get_mut().write_all(&bytes[..now])?;
            self.stream.get_mut().flush()?;
            self.left -= now as u64;
            if now < bytes.len() {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        }
        Ok(())
    }
}

fn authority() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn key() -> KeyPair {
    KeyPair::generate().unwrap()
}

/// Bytes of the release's image.
const IMAGE_LEN: u64 = 400_000;

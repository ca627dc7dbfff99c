//! No secret reaches a log line, at any level.

mod common;

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use airseal_protocol::ProblemCode;
use common::{Admin, Bench, refused};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("lock").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn tokens_and_keys_are_not_logged() {
    let lines = Lines::default();
    let writer = lines.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .init();
    let data = tempfile::tempdir().expect("tempdir");
    let bench = Bench::start(data.path());
    let wrong = Admin {
        token: "asa_this-one-is-wrong".into(),
        ..bench.admin()
    };
    wrong.send("GET", "/api/v1/server", "application/json", b"");
    let claim = bench.admin().claim("lamp");
    let device = bench.stranger("lamp");
    refused(
        &device.enroll("asc_this-one-is-wrong"),
        ProblemCode::ClaimRefused,
    );
    assert_eq!(device.enroll(&claim.claim_token).status, 200);
    device.poll();
    let ca_key = std::fs::read_to_string(data.path().join("ca.key")).expect("ca.key");
    let ca_key = ca_key.lines().nth(1).expect("a line of the key").to_owned();
    let token = bench.token.clone();
    bench.server.stop();
    let log = String::from_utf8_lossy(&lines.0.lock().expect("lock")).into_owned();
    assert!(log.contains("enrolled"), "the log works");
    for secret in [&token, &claim.claim_token, &ca_key] {
        assert!(!log.contains(secret.as_str()));
    }
    for attempt in ["asa_this-one-is-wrong", "asc_this-one-is-wrong"] {
        assert!(
            !log.contains(attempt),
            "a typing error may be half a secret"
        );
    }
}

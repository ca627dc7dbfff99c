//! Starting, stopping, dying and starting again.

mod common;

use std::path::Path;
use std::process::{Command, Stdio};

use airseal_protocol::{PollResponse, ProblemCode, path};
use airseal_server::api::types;
use airseal_server::{Config, Server, StartError};
use common::vendor::{Vendor, Wish};
use common::{Admin, Bench, Device, refused};
use sqlx::{Connection, Executor};

#[test]
fn a_restart_keeps_everything() {
    let data = tempfile::tempdir().expect("tempdir");
    let bench = Bench::start(data.path());
    let mut device = bench.device("lamp");
    let vendor = Vendor::new();
    bench
        .admin()
        .set_trust(&vendor.trust())
        .json::<types::ProductTrust>(200);
    let (bundle, _) = vendor.seal(&Wish::default(), &[&device.recipient]);
    bench.admin().publish(&bundle).json::<types::Published>(201);
    let digest = device.offered();
    let before: types::TrustInfo = bench.admin().get("/api/v1/trust");
    let token = bench.token.clone();
    bench.server.stop();

    let bench = Bench::start(data.path());
    assert_eq!(bench.token, token);
    let after: types::TrustInfo = bench.admin().get("/api/v1/trust");
    assert_eq!(before, after, "devices pin this authority");
    device.address = bench.https();
    assert_eq!(device.offered(), digest);
    let payload = device.get(path::Path::payload(&digest).as_str(), &[]);
    assert!(bundle.ends_with(&payload.body));
    bench.admin().revoke("lamp");
    bench.server.stop();

    let bench = Bench::start(data.path());
    device.address = bench.https();
    let answer = device.post(path::POLL, &device.poll_request());
    refused(&answer, ProblemCode::Revoked);
}

#[test]
fn a_second_server_on_the_same_data_is_refused() {
    let data = tempfile::tempdir().expect("tempdir");
    let bench = Bench::start(data.path());
    let error = Server::start_blocking(Config::local(data.path())).expect_err("refused");
    assert!(matches!(error, StartError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("--data"));
    bench.server.stop();
    Bench::start(data.path());
}

#[test]
fn a_taken_port_is_named() {
    let (one, two) = (tempfile::tempdir(), tempfile::tempdir());
    let bench = Bench::start(one.expect("tempdir").path());
    let new = two.expect("tempdir").path().join("data");
    let mut config = Config::local(&new);
    config.https = bench.https();
    let error = Server::start_blocking(config).expect_err("refused");
    assert!(error.to_string().contains(&bench.https().to_string()));
    assert!(!new.exists(), "a failed first start leaves nothing");
}

#[test]
fn a_file_in_place_of_the_data_folder_is_named() {
    let folder = tempfile::tempdir().expect("tempdir");
    let file = folder.path().join("data");
    std::fs::write(&file, b"x").expect("written");
    let error = Server::start_blocking(Config::local(&file)).expect_err("refused");
    assert!(error.to_string().contains("a folder"), "{error}");
}

#[test]
fn a_database_of_a_newer_version_is_refused() {
    let data = tempfile::tempdir().expect("tempdir");
    Bench::start(data.path()).server.stop();
    OtherProgram::open(data.path()).execute("PRAGMA user_version = 99");
    let error = Server::start_blocking(Config::local(data.path())).expect_err("refused");
    assert!(error.to_string().contains("99"), "{error}");
}

/// Another program at work on the database of a server.
struct OtherProgram {
    runtime: tokio::runtime::Runtime,
    database: sqlx::SqliteConnection,
}

impl OtherProgram {
    fn open(data: &Path) -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("runtime");
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(data.join("airseal.db"));
        let database = runtime.block_on(sqlx::SqliteConnection::connect_with(&options));
        Self {
            database: database.expect("opens"),
            runtime,
        }
    }

    fn execute(&mut self, statement: &'static str) {
        let done = self.runtime.block_on(self.database.execute(statement));
        done.expect(statement);
    }
}

#[test]
fn a_database_that_another_program_holds_is_waited_for_and_then_named() {
    let data = tempfile::tempdir().expect("tempdir");
    let bench = Bench::start(data.path());
    let mut program = OtherProgram::open(data.path());
    program.execute("BEGIN IMMEDIATE");
    let request = types::CreateDevice::default();
    let answer = bench.admin().call("POST", "/api/v1/devices", &request);
    assert_eq!(answer.header("retry-after"), Some("30"));
    let problem: types::ProblemBody = answer.json(503);
    assert_eq!(problem.kind, "about:blank#busy");
    program.execute("ROLLBACK");
    bench.admin().claim("lamp");
}

#[test]
fn a_payload_stays_when_nobody_knows_whether_its_release_was_stored() {
    let data = tempfile::tempdir().expect("tempdir");
    let bench = Bench::start(data.path());
    let mut program = OtherProgram::open(data.path());
    program.execute(
        "CREATE TABLE late (digest REFERENCES release (digest) DEFERRABLE INITIALLY DEFERRED);
         CREATE TRIGGER late AFTER INSERT ON release BEGIN INSERT INTO late VALUES (x''); END",
    );
    let vendor = Vendor::new();
    let (bundle, _) = vendor.seal(&Wish::default(), &[]);
    let answer = bench.admin().publish_with(&vendor.trust(), &bundle);
    assert_eq!(answer.status, 500, "the commit fails");
    let blobs = std::fs::read_dir(data.path().join("blobs")).expect("folder");
    assert_eq!(blobs.count(), 1);
    program.execute("DROP TRIGGER late");
    let answer = bench.admin().publish_with(&vendor.trust(), &bundle);
    assert_eq!(answer.status, 201, "{}", answer.text());
}

#[test]
fn a_renewed_token_replaces_the_old_one() {
    let data = tempfile::tempdir().expect("tempdir");
    let bench = Bench::start(data.path());
    let old = bench.token.clone();
    bench.server.stop();
    let mut config = Config::local(data.path());
    config.renew_admin_token = true;
    let bench = Bench::start_with(config);
    assert_ne!(bench.token, old);
    bench.admin().get::<types::ServerInfo>("/api/v1/server");
    let admin = Admin {
        token: old,
        ..bench.admin()
    };
    let answer = admin.send("GET", "/api/v1/server", "application/json", b"");
    assert_eq!(answer.status, 401);
}

#[cfg(unix)]
#[test]
fn secrets_on_disk_are_for_the_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let data = tempfile::tempdir().expect("tempdir");
    let data = data.path().join("fresh");
    let _bench = Bench::start(&data);
    let mode = |path: &Path| {
        let metadata = std::fs::metadata(path).expect("exists");
        metadata.permissions().mode() & 0o777
    };
    assert_eq!(mode(&data), 0o700);
    assert_eq!(mode(&data.join("ca.key")), 0o600);
    assert_eq!(mode(&data.join("admin-token")), 0o600);
}

#[test]
fn tokens_are_stored_hashed_only() {
    let data = tempfile::tempdir().expect("tempdir");
    let bench = Bench::start(data.path());
    let claim = bench.admin().claim("lamp");
    bench.device("other");
    let secrets = [bench.token.clone(), claim.claim_token];
    bench.server.stop();
    for entry in std::fs::read_dir(data.path()).expect("data") {
        let path = entry.expect("entry").path();
        if path.is_dir() || path.ends_with("admin-token") {
            continue;
        }
        let content = std::fs::read(&path).expect("file");
        for secret in &secrets {
            let found = content
                .windows(secret.len())
                .any(|window| window == secret.as_bytes());
            assert!(!found, "{}", path.display());
        }
    }
}

#[test]
fn the_ready_line_has_the_fields_of_the_contract() {
    let data = tempfile::tempdir().expect("tempdir");
    let bench = Bench::start(data.path());
    let line = serde_json::to_value(bench.server.ready()).expect("json");
    let ready = bench.server.ready();
    let expected = serde_json::json!({
        "ready": true,
        "https": ready.https.to_string(),
        "noise": null,
        "admin": ready.admin.to_string(),
        "metrics": null,
        "ca": data.path().join("ca.pem"),
        "admin_token_file": data.path().join("admin-token"),
    });
    assert_eq!(line, expected);
}

/// Runs in a process of its own, started by the test below, until it is killed.
#[test]
#[ignore = "the child process of an_acknowledged_write_survives_kill_9"]
fn child_server() {
    let data = std::env::var_os("AIRSEAL_TEST_DATA").expect("set by the parent");
    let bench = Bench::start(Path::new(&data));
    let ready = bench.server.ready();
    let line = format!("{} {}", ready.https, ready.admin);
    std::fs::write(Path::new(&data).join("ready.new"), line).expect("written");
    std::fs::rename(
        Path::new(&data).join("ready.new"),
        Path::new(&data).join("ready"),
    )
    .expect("renamed");
    std::thread::park();
}

/// A server in a process of its own, started by a shell that says `before` first.
struct Child {
    process: std::process::Child,
    https: std::net::SocketAddr,
    admin: Admin,
}

impl Child {
    fn start(data: &Path, before: &str) -> Self {
        let _ = std::fs::remove_file(data.join("ready"));
        let process = Command::new("sh")
            .arg("-c")
            .arg(format!(
                "{before} exec \"$0\" --ignored --exact child_server"
            ))
            .arg(std::env::current_exe().expect("this test"))
            .env("AIRSEAL_TEST_DATA", data)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("child");
        let ready = loop {
            if let Ok(line) = std::fs::read_to_string(data.join("ready")) {
                break line;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        };
        let (https, address) = ready.split_once(' ').expect("two addresses");
        let token = std::fs::read_to_string(data.join("admin-token")).expect("token");
        Self {
            process,
            https: https.parse().expect("address"),
            admin: Admin {
                address: address.parse().expect("address"),
                token: token.trim().to_owned(),
            },
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[cfg(unix)]
#[test]
fn connections_without_a_word_do_not_take_the_last_open_file() {
    let folder = tempfile::tempdir().expect("tempdir");
    let child = Child::start(folder.path(), "ulimit -n 160;");
    let ca = std::fs::read_to_string(folder.path().join("ca.pem")).expect("ca");
    let device = Device::new(child.https, &ca, "lamp");
    let claim = child.admin.claim("lamp");
    assert_eq!(device.enroll(&claim.claim_token).status, 200);
    let mut served = device.connect();
    let request = device.poll_request();
    common::post(&mut served, path::POLL, &request).expect("answer");
    let silent: Vec<_> = (0..400)
        .filter_map(|_| std::net::TcpStream::connect(child.https).ok())
        .collect();
    std::thread::sleep(std::time::Duration::from_millis(300));
    let start = std::time::Instant::now();
    let answer = common::post(&mut served, path::POLL, &request).expect("answer");
    assert_eq!(answer.status, 200);
    let vendor = Vendor::new();
    let (bundle, _) = vendor.seal(&Wish::default(), &[&device.recipient]);
    let answer = child.admin.publish_with(&vendor.trust(), &bundle);
    assert_eq!(answer.status, 201, "{}", answer.text());
    let payload = path::Path::payload(&device.offered_on(&mut served));
    let payload = common::http::exchange(&mut served, "GET", payload.as_str(), &[], b"");
    assert!(bundle.ends_with(&payload.expect("answer").body));
    let waited = start.elapsed();
    assert!(waited < std::time::Duration::from_secs(9), "{waited:?}");
    drop(silent);
}

#[test]
fn an_acknowledged_write_survives_kill_9() {
    let folder = tempfile::tempdir().expect("tempdir");
    let data = folder.path();
    let mut known: Vec<Device> = Vec::new();
    for round in 0..4 {
        let child = Child::start(data, "");
        for device in &mut known {
            device.address = child.https;
            assert!(matches!(device.poll(), PollResponse::Nothing { .. }));
        }
        let ca = std::fs::read_to_string(data.join("ca.pem")).expect("ca");
        let device = Device::new(child.https, &ca, "x");
        let claim = child.admin.claim(&format!("device-{round}"));
        assert_eq!(device.enroll(&claim.claim_token).status, 200);
        drop(child);
        known.push(device);
    }
}

#[test]
fn a_server_killed_in_the_middle_of_a_publication_starts_consistent() {
    let folder = tempfile::tempdir().expect("tempdir");
    let data = folder.path();
    let vendor = Vendor::new();
    let wish = |seq| Wish {
        seq,
        size: 3 << 20,
        ..Default::default()
    };
    let recipient = common::vendor::DeviceKey::new();
    let mut stored = 0;
    for seq in 1..=6 {
        let child = Child::start(data, "");
        let releases = || -> Vec<types::ReleaseInfo> {
            child
                .admin
                .get::<types::ReleaseList>("/api/v1/releases")
                .releases
        };
        let left = std::fs::read_dir(data.join("tmp")).expect("tmp").count();
        assert_eq!(left, 0, "leftovers");
        for release in releases() {
            let name = release.payload_sha256;
            let blob = data.join("blobs").join(&name[..2]).join(&name);
            let len = std::fs::metadata(blob).expect("its payload").len();
            assert_eq!(len, release.payload_len);
        }
        assert!(releases().len() >= stored, "what was acknowledged stays");
        let (bundle, _) = vendor.seal(&wish(seq), &[&recipient]);
        let (admin, trust) = (child.admin.clone(), vendor.trust());
        let upload = std::thread::spawn(move || {
            std::panic::catch_unwind(|| admin.publish_with(&trust, &bundle).status)
        });
        std::thread::sleep(std::time::Duration::from_millis(8 * seq));
        drop(child);
        let status = upload.join().expect("ended");
        stored += usize::from(status.is_ok_and(|status| status == 201));
    }
    let child = Child::start(data, "");
    let (bundle, _) = vendor.seal(&wish(7), &[&recipient]);
    let answer = child.admin.publish_with(&vendor.trust(), &bundle);
    assert_eq!(answer.status, 201, "{}", answer.text());
}

#[test]
fn a_folder_with_other_things_in_it_keeps_them() {
    let folder = tempfile::tempdir().expect("tempdir");
    let file = folder.path().join("tmp/thesis/chapter");
    std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
    std::fs::write(&file, b"years of work").expect("written");
    Bench::start(folder.path()).server.stop();
    assert_eq!(std::fs::read(&file).expect("still there"), b"years of work");
}

#[cfg(unix)]
#[test]
fn a_folder_that_all_can_enter_shows_no_file_of_the_server() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("tempdir");
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).expect("opened");
    let bench = Bench::start(folder.path());
    bench.device("lamp");
    for entry in std::fs::read_dir(folder.path()).expect("listed") {
        let entry = entry.expect("entry");
        let mode = entry.metadata().expect("metadata").permissions().mode() & 0o077;
        let name = entry.file_name();
        assert!(mode == 0 || name == "ca.pem", "{} {mode:o}", name.display());
    }
}

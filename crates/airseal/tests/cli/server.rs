//! `serve` and everything that talks to it, over real sockets.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::harness::{Done, Room, SEAL, done};

/// A running server in a room; killed when the test ends.
pub(crate) struct Serving {
    pub(crate) room: Room,
    child: Child,
    pub(crate) admin: String,
    pub(crate) https: String,
}

impl Serving {
    pub(crate) fn start(room: Room) -> Serving {
        let mut child = room
            .command(&[
                "serve",
                "--https",
                "127.0.0.1:0",
                "--admin",
                "127.0.0.1:0",
                "--json",
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(ready["ready"], true);
        assert!(ready["noise"].is_null() && ready["metrics"].is_null());
        assert!(
            std::path::Path::new(ready["ca"].as_str().unwrap()).is_file(),
            "{ready}"
        );
        let token = ready["admin_token_file"].as_str().unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(
                std::fs::metadata(token).unwrap().permissions().mode() & 0o777,
                0o600
            );
        }
        let secret = std::fs::read_to_string(token).unwrap();
        assert!(!line.contains(secret.trim()), "the token is printed");
        Serving {
            admin: format!("http://{}", ready["admin"].as_str().unwrap()),
            https: format!("https://{}", ready["https"].as_str().unwrap()),
            room,
            child,
        }
    }

    fn run(&self, line: &str) -> Done {
        let args: Vec<&str> = line.split_whitespace().collect();
        done(
            self.room
                .command(&args)
                .env("AIRSEAL_SERVER", &self.admin)
                .stdin(Stdio::null())
                .output()
                .unwrap(),
        )
    }

    #[track_caller]
    pub(crate) fn ok(&self, line: &str) -> String {
        let done = self.run(line);
        assert_eq!(
            done.code, 0,
            "airseal {line}\n{}{}",
            done.stdout, done.stderr
        );
        done.stdout
    }

    #[track_caller]
    fn json(&self, line: &str) -> serde_json::Value {
        let stdout = self.ok(&format!("{line} --json"));
        serde_json::from_str(stdout.trim()).unwrap_or_else(|error| panic!("{error}: {stdout}"))
    }

    #[track_caller]
    pub(crate) fn fails(&self, code: i32, line: &str) -> String {
        let done = self.run(line);
        assert_eq!(
            done.code, code,
            "airseal {line}\n{}{}",
            done.stdout, done.stderr
        );
        done.stderr
    }

    /// A device that is enrolled, and may open `fw.seal`.
    fn device(&self, name: &str) {
        let new = "--vendor example.com --class lamp --trust vendor.pub --slot-kib 64";
        self.ok(&format!("simulate device --state {name} {new}"));
        self.ok(&format!("device enroll {name} --token-out {name}.claim"));
    }

    fn update(&self, name: &str, more: &str) -> Done {
        self.run(&format!(
            "simulate device --state {name} --server {} --json {more}",
            self.https
        ))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_device_enrols_updates_and_is_cut_off() {
    let serving = Serving::start(Room::new().with_release());
    serving.device("dev1");
    let error = serving.fails(1, "release publish fw.seal");
    assert!(error.contains("--trust"), "{error}");
    let args = SEAL.replace("--to dev.pub", "--to dev1/device.pub");
    serving.ok(&format!("seal fw.bin -o one.seal {args}"));
    let published = serving.json("release publish one.seal --trust vendor.pub");
    assert_eq!(published["new_envelopes"], 1);
    assert_eq!(serving.json("server show")["content_keys_held"], 0);

    let stranger = serving.update("dev1", "");
    assert_eq!(stranger.code, 1, "{}", stranger.stdout);
    assert!(
        stranger.stderr.contains("not enrolled"),
        "{}",
        stranger.stderr
    );
    let first = serving.update("dev1", "--claim-file dev1.claim");
    assert_eq!(first.code, 0, "{}{}", first.stdout, first.stderr);
    let report: serde_json::Value = serde_json::from_str(&first.stdout).unwrap();
    assert_eq!(report["version"], "1.2.3");
    let again = serving.update("dev1", "");
    assert_eq!(again.code, 0);
    assert!(again.stdout.contains("nothing-newer"), "{}", again.stdout);

    let shown = serving.json("device show dev1");
    assert_eq!(shown["device"]["state"], "active");
    assert_eq!(shown["device"]["release_seq"], 7);
    assert_eq!(shown["readable_releases"][0]["version"], "1.2.3");
    let detail = serving.json("release show 1.2.3");
    assert_eq!(detail["recipients"].as_array().unwrap().len(), 1);

    let preview = serving.json("device revoke dev1 --reason lost --dry-run");
    assert_eq!(preview["dry_run"], true);
    assert_eq!(preview["readable_releases"].as_array().unwrap().len(), 1);
    assert_eq!(serving.json("device list")[0]["state"], "active");
    serving.ok("device revoke dev1 --reason lost");
    let revoked = serving.update("dev1", "");
    assert_eq!(revoked.code, 1);
    assert!(
        revoked.stderr.contains("1103") || revoked.stderr.contains("revoked"),
        "{}",
        revoked.stderr
    );
    serving.ok("device reinstate dev1");
    assert_eq!(serving.update("dev1", "").code, 0);

    serving.ok("release yank 1.2.3 --reason test");
    assert!(serving.json("release list")[0]["yanked_at"].is_number());
    let error = serving.fails(1, "device show nobody");
    assert!(!error.is_empty());
}

#[test]
fn r40_power_cuts_every_40_chunks_cost_at_most_a_tenth() {
    let room = Room::new().with_release();
    room.write(
        "big.bin",
        &(0..1_000_000_u32)
            .map(|i| (i % 251) as u8)
            .collect::<Vec<u8>>(),
    );
    let serving = Serving::start(room);
    serving.ok("simulate device --state d --vendor example.com --class lamp --trust vendor.pub --slot-kib 1024");
    serving.ok("device enroll d --token-out d.claim");
    let args = SEAL.replace("--to dev.pub", "--to d/device.pub");
    serving.ok(&format!("seal big.bin -o big.seal {args}"));
    serving.ok("release publish big.seal --trust vendor.pub");
    let updated = serving.update("d", "--claim-file d.claim --cut-power-at 40");
    assert_eq!(updated.code, 0, "{}{}", updated.stdout, updated.stderr);
    let report: serde_json::Value = serde_json::from_str(&updated.stdout).unwrap();
    assert!(report["power_cuts"].as_u64().unwrap() >= 4, "{report}");
    let ratio = report["traffic"]["received"].as_f64().unwrap() / 1_000_000.0;
    assert!(ratio <= 1.1, "{ratio} bytes per byte of image");
}

#[test]
fn r29_a_connection_that_dies_at_63_percent_is_taken_up_again() {
    let serving = Serving::start(Room::new().with_release());
    serving.device("d");
    let args = SEAL.replace("--to dev.pub", "--to d/device.pub");
    serving.ok(&format!("seal fw.bin -o one.seal {args}"));
    serving.ok("release publish one.seal --trust vendor.pub");
    let updated = serving.update("d", "--claim-file d.claim --faults cut@63%");
    assert_eq!(updated.code, 0, "{}{}", updated.stdout, updated.stderr);
    let report: serde_json::Value = serde_json::from_str(&updated.stdout).unwrap();
    assert_eq!(report["version"], "1.2.3");
    assert!(
        report["events"].to_string().contains("interrupted"),
        "{report}"
    );
}

#[test]
fn a_failed_self_test_goes_back_and_is_held_after_three() {
    let serving = Serving::start(Room::new().with_release());
    serving.device("d");
    let args = SEAL.replace("--to dev.pub", "--to d/device.pub");
    serving.ok(&format!("seal fw.bin -o one.seal {args}"));
    serving.ok("release publish one.seal --trust vendor.pub");
    assert_eq!(serving.update("d", "--claim-file d.claim").code, 0);
    let args = args.replace("--seq 7 --version 1.2.3", "--seq 8 --version 1.2.4");
    serving.ok(&format!("seal fw.bin -o two.seal {args}"));
    serving.ok("release publish two.seal");
    for _ in 0..3 {
        let failed = serving.update("d", "--fail-self-test");
        assert_eq!(failed.code, 1, "{}", failed.stdout);
        assert!(
            failed.stdout.contains("\"version\":\"1.2.3\""),
            "{}",
            failed.stdout
        );
    }
    let held = serving.update("d", "");
    assert_eq!(held.code, 1, "{}", held.stdout);
    assert!(held.stderr.contains("three times"), "{}", held.stderr);
    assert!(serving.json("device show d")["device"]["held"].is_string());
}

#[test]
fn a_device_without_an_envelope_is_told_so() {
    let serving = Serving::start(Room::new().with_release());
    serving.device("d");
    serving.ok("release publish fw.seal --trust vendor.pub");
    let waiting = serving.update("d", "--claim-file d.claim");
    assert_eq!(waiting.code, 1);
    assert!(
        waiting.stderr.contains("sealed it to this device"),
        "{}",
        waiting.stderr
    );
}

#[test]
fn an_upload_that_does_not_verify_is_refused_and_not_kept() {
    let serving = Serving::start(Room::new().with_release());
    let mut bundle = serving.room.read("fw.seal");
    *bundle.last_mut().unwrap() ^= 1;
    serving.room.write("bad.seal", &bundle);
    let error = serving.fails(1, "release publish bad.seal --trust vendor.pub");
    assert!(error.contains("52"), "{error}");
    assert_eq!(serving.json("release list").as_array().unwrap().len(), 0);
}

#[test]
fn a_release_signed_by_the_wrong_key_names_who_signed_and_who_should_have() {
    let serving = Serving::start(Room::new().with_release());
    serving.ok("release publish fw.seal --trust vendor.pub");
    serving.ok("key new --kind signing -o other");
    let args = SEAL
        .replace("vendor.key", "other.key")
        .replace("--seq 7", "--seq 8");
    serving.ok(&format!("seal fw.bin -o other.seal {args}"));
    let error = serving.fails(1, "release publish other.seal");
    for name in ["other", "vendor"] {
        let id = serving.json(&format!("key show {name}.pub"))["id"].clone();
        assert!(error.contains(id.as_str().unwrap()), "{name}: {error}");
    }
    assert!(error.contains("cosign"), "{error}");
}

#[test]
fn a_token_is_needed_and_never_shown() {
    let serving = Serving::start(Room::new());
    let none = serving.fails(2, "device list --data elsewhere");
    assert!(none.contains("AIRSEAL_TOKEN_FILE"), "{none}");
    serving.room.write("wrong-token", b"asa_not_the_token");
    let wrong = serving.fails(1, "device list --token-file wrong-token");
    assert!(!wrong.contains("asa_not_the_token"), "{wrong}");
    let right = std::fs::read_to_string(serving.room.file("airseal-data/admin-token")).unwrap();
    let output = serving
        .room
        .command(&["device", "list", "--data", "elsewhere"])
        .env("AIRSEAL_SERVER", &serving.admin)
        .env("AIRSEAL_TOKEN", right.trim())
        .output()
        .unwrap();
    assert!(output.status.success());
    let clear = serving.fails(2, "device list --server http://192.0.2.1:8440");
    assert!(clear.contains("in the clear"), "{clear}");
}

#[test]
fn trust_for_firmware_is_written_as_files() {
    let serving = Serving::start(Room::new());
    serving.ok("server trust -o trust");
    let pem = std::fs::read_to_string(serving.room.file("trust/ca.pem")).unwrap();
    assert_eq!(
        pem,
        std::fs::read_to_string(serving.room.file("airseal-data/ca.pem")).unwrap()
    );
    assert!(
        std::fs::read_to_string(serving.room.file("trust/airseal_trust.h"))
            .unwrap()
            .contains("#")
    );
    assert!(
        serving
            .fails(1, "server trust -o trust")
            .contains("--force")
    );
}

#[test]
fn a_second_server_on_the_same_data_is_refused() {
    let serving = Serving::start(Room::new());
    let error = serving.fails(3, "serve --https 127.0.0.1:0 --admin 127.0.0.1:0");
    assert!(error.contains("another server"), "{error}");
}

#[test]
fn nobody_there_is_an_environment_failure() {
    let room = Room::new();
    room.write("token", b"asa_x");
    let error = room.fails(
        3,
        "device list --server http://127.0.0.1:9 --token-file token",
    );
    assert!(
        error.contains("127.0.0.1:9") && error.contains("airseal serve"),
        "{error}"
    );
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_a_server_in_order() {
    let mut serving = Serving::start(Room::new());
    let sent = std::process::Command::new("kill")
        .args(["-INT", &serving.child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
    assert_eq!(serving.child.wait().unwrap().code(), Some(0));
}

#[test]
fn r30_a_device_takes_a_bundle_from_a_file_and_from_a_slow_pipe() {
    let room = Room::new().with_release();
    let new = "--vendor example.com --class lamp --trust vendor.pub --slot-kib 64";
    for name in ["file", "pipe"] {
        room.ok(&format!("simulate device --state {name} {new}"));
        let args = SEAL.replace("--to dev.pub", &format!("--to {name}/device.pub"));
        room.ok(&format!("seal fw.bin -o {name}.seal {args}"));
    }
    let report = room.json("simulate device --state file --from file.seal");
    assert_eq!(report["version"], "1.2.3");
    let again = room.json("simulate device --state file --from file.seal");
    assert_eq!(again["outcome"], "nothing to install");
    assert_eq!(again["version"], "1.2.3");

    let bundle = room.read("pipe.seal");
    let mut child = room
        .command(&[
            "simulate", "device", "--state", "pipe", "--from", "-", "--json",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        for (index, byte) in bundle.iter().enumerate() {
            if index % 4096 == 0 {
                std::thread::sleep(Duration::from_millis(20));
            }
            if stdin
                .write_all(&[*byte])
                .and_then(|()| stdin.flush())
                .is_err()
            {
                return;
            }
        }
    });
    let done = done(child.wait_with_output().unwrap());
    writer.join().unwrap();
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    assert!(done.stdout.contains("1.2.3"), "{}", done.stdout);
}

#[test]
fn faults_and_power_cuts_on_a_cable_are_survived() {
    let room = Room::new().with_release();
    room.write(
        "big.bin",
        &(0..700_000_u32)
            .map(|i| (i % 253) as u8)
            .collect::<Vec<u8>>(),
    );
    let new = "--vendor example.com --class lamp --trust vendor.pub --slot-kib 1024";
    for name in ["d", "e"] {
        room.ok(&format!("simulate device --state {name} {new}"));
    }
    let args = SEAL.replace("--to dev.pub", "--to d/device.pub --to e/device.pub");
    room.ok(&format!("seal big.bin -o big.seal {args}"));
    let noisy = "simulate device --state d --from big.seal --faults garbage@300000:64";
    let report = room.json(noisy);
    assert_eq!(report["version"], "1.2.3");
    assert!(
        report["events"].to_string().contains("interrupted"),
        "{report}"
    );
    let report = room.json("simulate device --state e --from big.seal --cut-power-at random");
    assert_eq!(report["version"], "1.2.3");
    assert!(report["power_cuts"].as_u64().unwrap() > 0, "{report}");
    let error = room.fails(
        2,
        "simulate device --state d --from big.seal --faults boom@7",
    );
    assert!(error.contains("boom@7"), "{error}");
}

#[test]
fn a_device_refuses_what_is_no_release() {
    let room = Room::new().with_release();
    room.ok("simulate device --state d --vendor example.com --class lamp --trust vendor.pub --slot-kib 64");
    room.write(
        "login.html",
        b"<html><body>Please sign in to the network</body></html>",
    );
    let image = format!(
        "{}/../../firmware/images/esp32c3-wifi-1.0.0.bin",
        env!("CARGO_MANIFEST_DIR")
    );
    for (from, what) in [
        ("login.html", "an HTML page"),
        ("vendor.pub", "a PEM key"),
        (&image, "an Espressif image"),
    ] {
        let error = room.fails(1, &format!("simulate device --state d --from {from}"));
        assert!(error.contains(from) && error.contains(what), "{error}");
    }
    let page = room.run_with(
        "simulate device --state d --from -",
        &room.read("login.html"),
    );
    assert_eq!(page.code, 1);
    assert!(page.stderr.contains("<html>"), "{}", page.stderr);
    let other = room.fails(1, "simulate device --state d --from fw.seal");
    assert!(other.contains("no envelope"), "{other}");
    let missing = room.fails(2, "simulate device --state fresh --from fw.seal");
    assert!(missing.contains("--vendor"), "{missing}");
}

#[test]
fn a_static_export_names_nobody() {
    let room = Room::new().with_release();
    let exported = room.json("export static www --release fw.seal --to dev.pub");
    assert_eq!(exported["written"].as_array().unwrap().len(), 1);
    let list = std::fs::read_to_string(room.file("www-capabilities.csv")).unwrap();
    let path = list.lines().nth(1).unwrap().rsplit(',').next().unwrap();
    let secret = path.trim_matches('/').strip_suffix("/index").unwrap();
    assert!(
        room.file("www").join(secret).join("index").is_file(),
        "{path}"
    );
    assert!(!exported.to_string().contains(secret));
    let error = room.fails(
        1,
        "export static www --release fw.seal --to dev.pub --paths www/list.csv",
    );
    assert!(error.contains("inside"), "{error}");
}

#[test]
fn a_device_installs_from_an_exported_folder() {
    let room = Room::new().with_release();
    room.ok("simulate device --state d --vendor example.com --class lamp --trust vendor.pub --slot-kib 64");
    let args = SEAL.replace("--to dev.pub", "--to d/device.pub");
    room.ok(&format!("seal fw.bin -o d.seal {args}"));
    room.ok("export static www --release d.seal --to d/device.pub");
    let list = std::fs::read_to_string(room.file("www-capabilities.csv")).unwrap();
    let path = list.lines().nth(1).unwrap().rsplit(',').next().unwrap();
    let path = path.trim_matches('/').strip_suffix("/index").unwrap();
    let report = room.json(&format!(
        "simulate device --state d --from www/{path} --cut-power-at 4"
    ));
    assert_eq!(report["version"], "1.2.3");
    assert_eq!(report["outcome"], "updated");
    assert!(report["events"].to_string().contains("booted"), "{report}");
    let again = room.json(&format!(
        "simulate device --state d --from www/{path}/index"
    ));
    assert_eq!(again["outcome"], "nothing to install");
    assert_eq!(
        room.json("simulate device --state d --from d.seal")["outcome"],
        "nothing to install"
    );
    let error = room.fails(1, "simulate device --state d --from www");
    assert!(error.contains("DIR/CAPABILITY"), "{error}");
    let error = room.fails(2, "simulate device --state d --from http://localhost/x/");
    assert!(error.contains("https"), "{error}");
}

#[test]
fn a_device_is_what_it_was_made_as() {
    let room = Room::new().with_release();
    let new = "simulate device --state d --vendor example.com --class lamp --trust vendor.pub --slot-kib 64";
    room.ok(new);
    room.ok(new);
    for (other, option) in [
        (new.replace("lamp", "door"), "--class"),
        (new.replace("vendor.pub --", "other.pub --"), "--trust"),
        (new.replace("64", "128"), "--slot-kib"),
        (format!("{new} --hw-rev 3"), "--hw-rev"),
    ] {
        room.run("key new --kind signing -o other");
        let error = room.fails(2, &other);
        assert!(error.contains(option), "{error}");
    }
    let error = room.fails(
        3,
        "simulate device --state d --from fw.seal --faults absent.txt",
    );
    assert!(error.contains("absent.txt"), "{error}");
    room.write("report.json", b"mine");
    let error = room.fails(1, "simulate device --state d --report report.json");
    assert!(
        error.contains("report.json") && error.contains("--force"),
        "{error}"
    );
    assert_eq!(room.read("report.json"), b"mine");
    room.ok("simulate device --state d --report report.json --force");
    assert_ne!(room.read("report.json"), b"mine");
}

#[test]
fn a_token_is_not_asked_for_when_it_can_not_be_kept() {
    let serving = Serving::start(Room::new());
    serving.room.write("taken", b"mine");
    let error = serving.fails(1, "device enroll lamp1 --token-out taken");
    assert!(
        error.contains("taken") && !error.contains("--force"),
        "{error}"
    );
    serving.fails(3, "device enroll lamp1 --token-out no/folder/token");
    assert_eq!(serving.json("device list").as_array().unwrap().len(), 0);
    serving.ok("device enroll lamp1 --token-out token");
    assert_eq!(serving.room.read("taken"), b"mine");
    assert!(!serving.room.read("token").is_empty());
}

#[test]
fn a_connection_that_fails_says_what_to_do() {
    let serving = Serving::start(Room::new().with_release());
    serving.room.ok("simulate device --state d --vendor example.com --class lamp --trust vendor.pub --slot-kib 64");
    let other = Serving::start(Room::new());
    let foreign = other.room.file("airseal-data/ca.pem");
    let foreign = foreign.display();
    let error = serving.fails(
        3,
        &format!(
            "simulate device --state d --server {} --ca {foreign}",
            serving.https
        ),
    );
    assert!(error.contains("--ca"), "{error}");
    let error = serving.fails(
        3,
        &format!("device list --server {} --ca {foreign}", serving.https),
    );
    assert!(error.contains("--ca"), "{error}");
    let error = serving.fails(3, &format!("device list --server {}", serving.https));
    assert!(error.contains("port for devices"), "{error}");
    let error = serving.fails(
        1,
        &format!(
            "simulate device --state d --server {} --ca fw.bin",
            serving.https
        ),
    );
    assert!(error.contains("fw.bin"), "{error}");
    for (name, bytes) in [
        ("empty", &b"\n"[..]),
        ("words", b"two words"),
        ("key", b"\xff\xfe"),
    ] {
        serving.room.write(name, bytes);
        let code = if name == "key" { 3 } else { 2 };
        let error = serving.fails(code, &format!("device list --token-file {name}"));
        assert!(error.contains(name), "{error}");
        let line = format!(
            "simulate device --state d --server {} --claim-file {name}",
            serving.https
        );
        let error = serving.fails(code, &line);
        assert!(error.contains(name), "{error}");
    }
}

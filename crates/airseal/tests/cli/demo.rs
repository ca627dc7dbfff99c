//! `airseal demo`: the story, its data, and what it leaves behind.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::harness::{Room, firmware};

fn temporary_folders() -> BTreeSet<String> {
    std::fs::read_dir(std::env::temp_dir())
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("airseal-demo-"))
        .collect()
}

#[test]
fn every_event_is_as_expected() {
    let room = Room::new();
    let started = Instant::now();
    let done = room.run("demo --json");
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    assert!(started.elapsed().as_secs() < 60);
    let events: Vec<serde_json::Value> = done
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(events.len() > 50, "{}", events.len());
    for event in &events {
        for field in ["device", "event", "expected", "seen"] {
            assert!(event[field].is_string(), "{event}");
        }
        assert_eq!(event["expected"], event["seen"], "{event}");
    }
    let attacks = events
        .iter()
        .filter(|event| event["flash_operations"] == 0)
        .count();
    assert!(attacks >= 15, "{attacks}");
    let text = done.stdout;
    for part in [
        "too-few-signatures",
        "bad-signature",
        "older",
        "wrong-class",
        "not-targeted",
        "revoked",
        "held back",
        "keyset 2",
    ] {
        assert!(text.contains(part), "{part}");
    }
    assert_eq!(room.files(), Vec::<String>::new());
}

#[test]
fn the_story_is_told_and_ends_with_a_table() {
    let room = Room::new();
    let told = room.ok("demo");
    assert!(told.contains("1. Keys, a server and a fleet"));
    assert!(told.contains("WHO") && told.contains("EXPECTED") && told.contains("SEEN"));
    assert!(told.contains("events as expected"));
    assert!(!told.contains("UNEXPECTED"), "{told}");
}

#[test]
fn firmware_of_ones_own_plays_the_same_story() {
    let room = Room::new();
    room.write("own.bin", &firmware());
    let done = room.run("demo own.bin --json");
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    assert!(room.fails(3, "demo absent.bin").contains("absent.bin"));
    room.write(
        "page.bin",
        b"<!DOCTYPE html><html><body>Sign in</body></html>",
    );
    let done = room.run("demo page.bin");
    assert_eq!(done.code, 1, "{}", done.stderr);
    assert!(
        done.stderr.contains("page.bin") && done.stderr.contains("HTML"),
        "{}",
        done.stderr
    );
    assert_eq!(done.stdout, "", "the story began");
    room.write("empty.bin", b"");
    assert!(room.fails(1, "demo empty.bin").contains("empty"));
}

#[cfg(unix)]
#[test]
fn a_kept_server_goes_on_and_leaves_nothing_after_ctrl_c() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;
    let room = Room::new();
    let mut child = room
        .command(&["demo", "--keep", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let kept = lines
        .map(|line| serde_json::from_str::<serde_json::Value>(&line.unwrap()).unwrap())
        .find_map(|line| line.get("kept").cloned())
        .unwrap();
    let token = kept["admin_token_file"].as_str().unwrap();
    let devices = room.json(&format!(
        "device list --server {} --token-file {token}",
        kept["admin"].as_str().unwrap()
    ));
    assert_eq!(devices.as_array().unwrap().len(), 5);
    let folder = kept["folder"].as_str().unwrap();
    let name = folder.rsplit('/').next().unwrap().to_owned();
    assert!(temporary_folders().contains(&name));
    let sent = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!temporary_folders().contains(&name));
}

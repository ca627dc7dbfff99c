//! The crate graph is the architecture: any arrow that is not drawn here fails.

use std::collections::BTreeSet;
use std::process::Command;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

#[test]
fn no_arrow_but_the_drawn_ones() {
    let wrong = undrawn(DependencyKind::Normal, ARROWS);
    assert!(
        wrong.is_empty(),
        "not in the architecture: {wrong:?}; move the code, add no arrow"
    );
}

#[test]
fn no_test_arrow_but_the_drawn_ones() {
    let wrong = undrawn(DependencyKind::Development, &[ARROWS, TEST_ARROWS].concat());
    assert!(wrong.is_empty(), "not in the architecture: {wrong:?}");
}

#[test]
fn no_build_script_depends_on_a_room() {
    let wrong = undrawn(DependencyKind::Build, &[]);
    assert!(wrong.is_empty(), "not in the architecture: {wrong:?}");
}

#[test]
fn every_room_is_drawn() {
    let metadata = metadata();
    let rooms: BTreeSet<&str> = rooms(&metadata)
        .map(|package| package.name.as_str())
        .collect();
    let drawn: BTreeSet<&str> = ARROWS.iter().map(|(room, _)| *room).collect();
    assert_eq!(rooms, drawn);
}

#[test]
fn device_crates_see_nothing_that_needs_an_operating_system() {
    for room in DEVICE_ROOMS {
        let tree = tree(room, &["--prefix", "none", "--format", "{p}"]);
        for line in tree.lines() {
            let name = line.split(' ').next().unwrap_or_default();
            assert!(!HOST_ONLY.contains(&name), "{room} reaches {name}");
        }
        assert!(
            tree.starts_with(room),
            "cargo tree of {room} printed: {tree}"
        );
    }
}

#[test]
fn device_crates_reach_only_stable_releases() {
    for room in DEVICE_ROOMS {
        for line in tree(room, &["--prefix", "none", "--format", "{p}"]).lines() {
            let version = line.split(' ').nth(1).unwrap_or_default();
            let numbers = version.split('+').next().unwrap_or_default();
            assert!(
                !numbers.contains('-'),
                "{room} reaches the pre-release {line}"
            );
        }
    }
}

#[test]
fn device_crates_reach_no_crate_twice() {
    for room in DEVICE_ROOMS {
        let twice = tree(room, &["--duplicates"]);
        assert!(
            twice.trim().is_empty(),
            "{room} reaches two versions of one crate:\n{twice}"
        );
    }
}

/// Arrows of one kind between rooms that the drawing does not have.
fn undrawn(kind: DependencyKind, drawn: &[(&str, &[&str])]) -> Vec<String> {
    let metadata = metadata();
    let names: BTreeSet<String> = rooms(&metadata).map(|room| room.name.to_string()).collect();
    let mut wrong = Vec::new();
    for room in rooms(&metadata) {
        let allowed: BTreeSet<&str> = drawn
            .iter()
            .filter(|(from, _)| *from == room.name.as_str())
            .flat_map(|(_, to)| *to)
            .copied()
            .collect();
        for dependency in &room.dependencies {
            let other = dependency.name.as_str();
            if dependency.kind == kind && names.contains(other) && !allowed.contains(other) {
                wrong.push(format!("{} -> {other}", room.name));
            }
        }
    }
    wrong
}

fn rooms(metadata: &Metadata) -> impl Iterator<Item = &Package> {
    metadata
        .workspace_packages()
        .into_iter()
        .filter(|package| package.name.as_str() != "xtask")
}

fn metadata() -> Metadata {
    MetadataCommand::new()
        .no_deps()
        .exec()
        .expect("cargo metadata")
}

fn tree(room: &str, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "-e",
            "normal",
            "--target",
            "riscv32imc-unknown-none-elf",
            "-p",
            room,
        ])
        .args(arguments)
        .output()
        .expect("cargo tree");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("cargo tree prints UTF-8")
}

const FORMAT: &str = "airseal-format";
const PROTOCOL: &str = "airseal-protocol";
const UPDATE: &str = "airseal-update";
const ESP: &str = "airseal-esp";
const PACK: &str = "airseal-pack";
const SERVER: &str = "airseal-server";
const SIM: &str = "airseal-sim";
const FACTORY: &str = "airseal-factory";

const DEVICE_ROOMS: [&str; 4] = [FORMAT, PROTOCOL, UPDATE, ESP];

/// What each room may depend on. The server sees neither the device logic nor code that handles keys.
const ARROWS: &[(&str, &[&str])] = &[
    (FORMAT, &[]),
    (PROTOCOL, &[FORMAT]),
    (UPDATE, &[FORMAT, PROTOCOL]),
    (ESP, &[UPDATE]),
    (PACK, &[FORMAT, ESP]),
    (SERVER, &[FORMAT, PROTOCOL]),
    (SIM, &[FORMAT, PROTOCOL, UPDATE, ESP, PACK]),
    (FACTORY, &[FORMAT, UPDATE, ESP, PACK]),
    (
        "airseal",
        &[FORMAT, PROTOCOL, UPDATE, ESP, PACK, SERVER, SIM, FACTORY],
    ),
];

/// What its tests may use beside that.
const TEST_ARROWS: &[(&str, &[&str])] = &[(UPDATE, &[SIM, PACK]), (SERVER, &[PACK])];

const HOST_ONLY: [&str; 12] = [
    "tokio",
    "serde_json",
    "hyper",
    "axum",
    "rustls",
    "sqlx",
    "getrandom",
    "clap",
    "tempfile",
    "aws-lc-rs",
    "libc",
    "tracing",
];

//! Rules about the text of the sources.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn every_crate_inherits_the_lints() {
    let root = root();
    let workspace = fs::read_to_string(root.join("Cargo.toml")).expect("Cargo.toml");
    assert!(workspace.contains("unsafe_code = \"forbid\""));
    for file in tracked().iter().filter(|file| file.ends_with("Cargo.toml")) {
        if file == "Cargo.toml" || OWN_WORKSPACES.iter().any(|folder| file.starts_with(folder)) {
            continue;
        }
        let text = fs::read_to_string(root.join(file)).expect("a manifest");
        assert!(
            text.contains("[lints]\nworkspace = true"),
            "{file} does not take the workspace's lints"
        );
    }
}

#[test]
fn device_crates_have_neither_std_nor_alloc() {
    let root = root();
    for room in [
        "airseal-format",
        "airseal-protocol",
        "airseal-update",
        "airseal-esp",
    ] {
        let entry =
            fs::read_to_string(root.join("crates").join(room).join("src/lib.rs")).expect("lib.rs");
        assert!(
            entry.contains("#![no_std]") || entry.contains("#![cfg_attr(not(test), no_std)]"),
            "{room} is not no_std"
        );
    }
    for (file, text) in sources().iter().filter(|(file, _)| is_device(file)) {
        let outside_tests = text.split("#[cfg(test)]").next().unwrap_or_default();
        assert!(
            !outside_tests.contains("extern crate alloc"),
            "{file} uses alloc"
        );
        assert!(
            !outside_tests.contains("extern crate std"),
            "{file} uses std"
        );
    }
}

#[test]
fn no_source_file_is_longer_than_700_lines() {
    let long: Vec<String> = sources()
        .iter()
        .filter(|(file, _)| file.starts_with("crates/") && file.contains("/src/"))
        .map(|(file, text)| (file, text.lines().count()))
        .filter(|(_, lines)| *lines > 700)
        .map(|(file, lines)| format!("{file}: {lines}"))
        .collect();
    assert!(long.is_empty(), "split by meaning: {long:?}");
}

#[test]
fn nothing_names_a_place_on_somebody_s_machine() {
    let root = root();
    let mut found = Vec::new();
    for file in tracked() {
        let Ok(text) = fs::read_to_string(root.join(&file)) else {
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            if PLACES.iter().any(|place| line.contains(&place.concat())) {
                found.push(format!("{file}:{}: {line}", number + 1));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_attack_has_the_test_and_the_refusal_it_names() {
    let page = fs::read_to_string(root().join("docs/THREAT-MODEL.md")).expect("the threat model");
    let (_, page) = page
        .split_once("\n## Attacks")
        .expect("the list of attacks");
    let code: String = sources().into_iter().map(|(_, text)| text).collect();
    let mut rows = 0;
    let mut wrong = Vec::new();
    for line in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [attack, refusal, tests] = cells[..] else {
            continue;
        };
        if tests == "test" {
            continue;
        }
        rows += 1;
        let named = |cell: &str| {
            cell.split('`')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        if named(tests).is_empty() {
            wrong.push(format!("no test: {attack}"));
        }
        wrong.extend(
            named(tests)
                .into_iter()
                .filter(|name| !code.contains(&format!("fn {name}("))),
        );
        wrong.extend(named(refusal).into_iter().filter(|word| {
            !code.contains(&format!("\"{word}\"")) && !code.contains(&format!(" {word} = "))
        }));
    }
    assert!(rows >= 40, "only {rows} attacks are listed");
    assert!(
        wrong.is_empty(),
        "named in the threat model and not in the code: {wrong:#?}"
    );
}

fn is_device(file: &str) -> bool {
    ["format", "protocol", "update", "esp"]
        .iter()
        .any(|room| file.starts_with(&format!("crates/airseal-{room}/src/")))
}

/// Rust files under version control with their text.
fn sources() -> Vec<(String, String)> {
    let root = root();
    tracked()
        .into_iter()
        .filter(|file| file.ends_with(".rs"))
        .filter_map(|file| {
            fs::read_to_string(root.join(&file))
                .ok()
                .map(|text| (file, text))
        })
        .collect()
}

fn tracked() -> Vec<String> {
    let output = Command::new("git")
        .args(["ls-files"])
        .current_dir(root())
        .output()
        .expect("git ls-files");
    assert!(output.status.success(), "git ls-files failed");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
        .to_path_buf()
}

/// Not part of the workspace: an instrumented build, and a program with registers.
const OWN_WORKSPACES: [&str; 2] = ["fuzz/", "xtask/size-probe/"];
/// In halves, so that this file does not find itself.
const PLACES: [[&str; 2]; 4] = [
    ["/ro", "ot/"],
    ["/wo", "rk/"],
    ["/hom", "e/"],
    ["~/.car", "go/registry"],
];

//! The edge of the command line: what a person or a script gets wrong, and what the machine takes away.

use std::process::Stdio;

use crate::harness::Room;

#[test]
fn the_first_help_fits_one_screen() {
    let room = Room::new();
    let help = room.ok("--help");
    assert!(help.lines().count() <= 24);
    assert!(help.lines().all(|line| line.chars().count() <= 80));
    assert_eq!(help, room.ok("-h"));
    let order: Vec<_> = ["demo ", "key ", "seal "].iter().map(|name| help.find(&format!("  {name}"))).collect();
    assert!(order.iter().all(Option::is_some) && order.is_sorted(), "{help}");
}

#[test]
fn usage_errors_exit_with_2_and_say_what_is_missing() {
    let room = Room::new();
    assert!(room.fails(2, "seal").contains("--sign"));
    assert!(room.fails(2, "key new --kind rsa -o x").contains("signing-p256"));
    assert!(room.fails(2, "nonsense").contains("nonsense"));
    assert!(room.fails(2, "explain 9999").contains("9999"));
    assert_eq!(room.files(), Vec::<String>::new());
}

#[test]
fn a_broken_pipe_is_no_error() {
    let room = Room::new();
    for line in ["explain", "--help", "completions bash"] {
        let mut child = room
            .command(&line.split_whitespace().collect::<Vec<_>>())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "airseal {line}");
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn completions_and_manual_pages_come_from_the_definitions() {
    let room = Room::new();
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let script = room.ok(&format!("completions {shell}"));
        assert!(script.contains("sign-request") && script.contains("--content-key-out"), "{shell}");
    }
    room.ok("man pages");
    let pages = std::fs::read_dir(room.file("pages")).unwrap().count();
    assert!(pages > 30, "{pages}");
    let page = String::from_utf8(room.read("pages/airseal-seal.1")).unwrap();
    assert!(page.contains("security\\-version"), "{page}");
    assert!(room.fails(1, "man pages").contains("--force"));
}

#[test]
fn explain_knows_every_number_it_prints() {
    let room = Room::new();
    let all = room.json("explain");
    let all = all.as_array().unwrap();
    assert!(all.len() > 100, "{}", all.len());
    let mut numbers: Vec<u64> = all.iter().map(|entry| entry["code"].as_u64().unwrap()).collect();
    let count = numbers.len();
    numbers.dedup();
    assert_eq!(numbers.len(), count, "a number stands twice");
    assert!(numbers.is_sorted());
    for entry in [&all[0], &all[count / 2], &all[count - 1]] {
        assert_eq!(&room.json(&format!("explain {}", entry["code"])), entry);
        assert_eq!(room.json(&format!("explain {}", entry["word"].as_str().unwrap()))["word"], entry["word"]);
    }
}

//! What a terminal gets that a pipe does not: questions, colours, bars.

#[cfg(target_os = "linux")]
use std::process::Stdio;

use crate::harness::Room;
#[cfg(target_os = "linux")]
use crate::harness::{done, skip};

#[test]
fn colours_and_bars_are_for_terminals_only() {
    let room = Room::new().with_release();
    for line in [
        "inspect fw.seal",
        "verify fw.seal --trust dev.pub",
        "--help",
        "nonsense",
        "verify fw.seal --trust vendor.pub",
    ] {
        let done = room.run(line);
        assert!(
            !done.stdout.contains('\x1b') && !done.stderr.contains('\x1b'),
            "{line}"
        );
    }
    let done = room.run("verify fw.seal --trust vendor.pub");
    assert!(done.stderr.is_empty(), "{}", done.stderr);
}

/// Runs a shell line on a terminal of its own; `None` where `script` is missing.
#[cfg(target_os = "linux")]
fn on_a_terminal(room: &Room, line: &str, input: &[u8]) -> Option<crate::harness::Done> {
    use std::io::Write as _;
    let line = line.replace("airseal", env!("CARGO_BIN_EXE_airseal"));
    let mut child = std::process::Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .current_dir(room.path())
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .env_remove("AIRSEAL_PASSPHRASE_FILE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    let mut stdin = child.stdin.take().unwrap();
    for line in input.split_inclusive(|byte| *byte == b'\n') {
        std::thread::sleep(std::time::Duration::from_millis(700));
        stdin.write_all(line).unwrap();
    }
    let done = done(child.wait_with_output().unwrap());
    drop(stdin);
    Some(done)
}

#[cfg(target_os = "linux")]
#[test]
fn a_terminal_is_asked_for_a_passphrase_and_shown_colours() {
    let room = Room::new().with_release();
    let Some(made) = on_a_terminal(
        &room,
        "airseal key new --kind signing -o secret --passphrase",
        b"open sesame\nopen sesame\n",
    ) else {
        skip("script");
        return;
    };
    assert_eq!(made.code, 0, "{}", made.stdout);
    assert!(made.stdout.contains("New passphrase"), "{}", made.stdout);
    assert!(
        !made.stdout.contains("open sesame"),
        "the passphrase is echoed"
    );
    let shown = on_a_terminal(&room, "airseal key show secret.key", b"open sesame\n").unwrap();
    assert_eq!(shown.code, 0, "{}", shown.stdout);
    let wrong = on_a_terminal(&room, "airseal verify fw.seal --trust dev.pub", b"").unwrap();
    assert_eq!(wrong.code, 1);
    assert!(wrong.stdout.contains("\x1b["), "{}", wrong.stdout);
    let plain = on_a_terminal(
        &room,
        "NO_COLOR=1 airseal verify fw.seal --trust dev.pub",
        b"",
    )
    .unwrap();
    assert!(!plain.stdout.contains("\x1b["), "{}", plain.stdout);
    let bar = on_a_terminal(&room, "airseal demo >/dev/null", b"").unwrap();
    assert_eq!(bar.code, 0);
    assert!(bar.stdout.contains("installing"), "{}", bar.stdout);
}

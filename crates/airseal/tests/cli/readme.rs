//! The sessions of README and CLI.md, as they are printed, from an empty folder.

use std::process::{Command, Stdio};

use crate::harness::{Done, Room, done};
use crate::server::Serving;

#[test]
fn the_readme_works_as_printed() {
    let text = include_str!("../../../../README.md");
    let room = Room::new();
    for line in commands(text, "## Seal a build") {
        run(&room, &line, None);
    }
    assert_eq!(room.read("firmware.out"), room.read("firmware.bin"));
    let lines = commands(text, "## Serve it");
    let (serve, rest) = lines.split_first().unwrap();
    assert!(serve.starts_with("airseal serve "), "{serve}");
    let serving = Serving::start(room);
    for line in rest {
        let line = line.replace("https://localhost:8443", &serving.https);
        run(&serving.room, &line, Some(&serving.admin));
    }
    assert!(rest.last().unwrap().contains("# refused"));
}

#[test]
fn the_sessions_of_cli_md_work_as_printed() {
    let text = include_str!("../../../../docs/CLI.md");
    let serving = Serving::start(Room::new());
    for heading in ["## A session from nothing", "## Several signers"] {
        for line in commands(text, heading) {
            let line = line.replace("https://127.0.0.1:8443", &serving.https);
            run(&serving.room, &line, Some(&serving.admin));
        }
    }
    let shown = serving.room.json("keyset show keyset");
    assert_eq!(shown["complete"], true, "{shown}");
}

/// Runs one line in a shell; it must do what its comment says.
fn run(room: &Room, line: &str, server: Option<&str>) {
    let bin = room.file("bin");
    if !bin.exists() {
        std::fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_airseal"), bin.join("airseal")).unwrap();
    }
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    command
        .args(["-c", line])
        .current_dir(room.path())
        .env("PATH", path)
        .env_remove("AIRSEAL_TOKEN")
        .env_remove("AIRSEAL_TOKEN_FILE")
        .stdin(Stdio::null());
    if let Some(server) = server {
        command.env("AIRSEAL_SERVER", server);
    }
    let Done {
        code,
        stdout,
        stderr,
        ..
    } = done(command.output().unwrap());
    let expected = i32::from(line.contains("# refused"));
    assert_eq!(code, expected, "{line}\n{stdout}{stderr}");
    if expected == 1 {
        assert!(stderr.contains("revoked"), "{stderr}");
    }
}

/// The lines of the fenced blocks of a section, with continued ones joined.
fn commands(text: &str, heading: &str) -> Vec<String> {
    let section = text.split(heading).nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let blocks = section.split("```").skip(1).step_by(2);
    blocks
        .flat_map(|block| {
            block
                .replace("\\\n", " ")
                .lines()
                .skip(1)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .filter(|line| !line.trim().is_empty())
        .collect()
}

//! The demo as a new user meets it: a fresh clone, a cold build, one command.

use std::fs;
use std::path::Path;
use std::time::Instant;

use serde_json::Value;

use crate::workshop::{Failure, Workshop, forget_cargo, read_aloud, run};

pub(super) fn fresh_clone(workshop: &Workshop) -> Result<String, Failure> {
    let folder = workshop.target.join("fresh-clone");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&workshop.target)?;
    let outcome = build_and_tell(workshop, &folder);
    fs::remove_dir_all(&folder)?;
    outcome
}

fn build_and_tell(workshop: &Workshop, folder: &Path) -> Result<String, Failure> {
    run(workshop
        .command("git")
        .args(["clone", "--quiet", "--no-hardlinks", "."])
        .arg(folder))?;
    let cargo = |arguments: &[&str]| {
        let mut command = workshop.cargo(arguments);
        forget_cargo(&mut command);
        command
            .current_dir(folder)
            .env("CARGO_TARGET_DIR", folder.join("target"));
        command
    };
    // Downloads are not the build; they are done before the clock starts.
    run(&mut cargo(&["fetch", "--quiet", "--locked"]))?;
    let started = Instant::now();
    run(&mut cargo(&["build", "--quiet", "--locked", "--release"]))?;
    let build = started.elapsed().as_secs_f64();
    let verdict = if build < LONGEST_BUILD {
        "met"
    } else {
        "NOT MET"
    };
    println!("cold release build: {build:.0} s; below {LONGEST_BUILD} s on 2 cores: {verdict}");

    let started = Instant::now();
    let text = read_aloud(&mut cargo(&[
        "run",
        "--quiet",
        "--locked",
        "--release",
        "--",
        "demo",
        "--json",
    ]))?;
    let demo = started.elapsed().as_secs_f64();
    let events = as_expected(&text)?;
    if demo >= LONGEST_DEMO {
        return Err(Failure(format!(
            "the demo took {demo:.0} s, {LONGEST_DEMO} s are allowed"
        )));
    }
    Ok(format!(
        "cold build {build:.0} s ({LONGEST_BUILD} s: {verdict}), demo {demo:.1} s, {events} events as expected"
    ))
}

/// Counts the events; each must have been seen as it was expected.
fn as_expected(text: &str) -> Result<usize, Failure> {
    let mut events = 0;
    for line in text.lines() {
        let event: Value = serde_json::from_str(line)
            .map_err(|_| Failure(format!("the demo printed a line that is no JSON: {line}")))?;
        if event.get("event").is_none() {
            continue;
        }
        if event.get("expected").is_none() || event["expected"] != event["seen"] {
            return Err(Failure(format!("not as expected: {line}")));
        }
        events += 1;
    }
    if events < FEWEST_EVENTS {
        return Err(Failure(format!("the demo told only {events} events")));
    }
    Ok(events)
}

/// Seconds, on 2 cores; judged in words alone, because machines differ.
const LONGEST_BUILD: f64 = 180.0;
/// Seconds.
const LONGEST_DEMO: f64 = 60.0;
/// Installs, refusals, resumes, a revert, a rotation: the story has at least this many.
const FEWEST_EVENTS: usize = 20;

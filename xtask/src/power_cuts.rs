//! `cargo xtask power-cuts`: the proof by exhaustion, run by the simulator's example.

use clap::Args;
use serde_json::Value;

use crate::workshop::{Failure, Workshop, last_object, read_aloud};

/// How much of it.
#[derive(Args)]
pub(crate) struct Options {
    /// All pairs of cuts, not a sample
    #[arg(long)]
    full: bool,
    /// End with one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the proof; false when a device was left without a bootable slot.
pub(crate) fn run(workshop: &Workshop, options: &Options) -> Result<bool, Failure> {
    let report = prove(workshop, options.full)?;
    // The proof's own last line is the object.
    if !options.json {
        println!("{}", sentence(&report));
    }
    Ok(bricks(&report) == Some(0))
}

/// The sampled proof as a step: no brick, and as many cuts and pairs as promised.
pub(crate) fn step(workshop: &Workshop) -> Result<String, Failure> {
    let report = prove(workshop, false)?;
    if bricks(&report) != Some(0) {
        return Err(Failure(format!("bricked: {}", sentence(&report))));
    }
    let pairs = report["pairs"].as_u64().unwrap_or_default();
    if pairs < LEAST_PAIRS {
        return Err(Failure(format!(
            "only {pairs} pairs of cuts, at least {LEAST_PAIRS} are promised"
        )));
    }
    Ok(sentence(&report))
}

fn prove(workshop: &Workshop, full: bool) -> Result<Value, Failure> {
    let mut command = workshop.cargo([
        "run",
        "--quiet",
        "--locked",
        "--release",
        "--package",
        "airseal-sim",
        "--example",
        "power_cuts",
        "--",
        "--json",
    ]);
    if full {
        command.arg("--full");
    }
    last_object(&read_aloud(&mut command)?)
}

fn bricks(report: &Value) -> Option<u64> {
    report["bricks"].as_u64()
}

fn sentence(report: &Value) -> String {
    format!(
        "{} cuts, {} pairs, {} flows, {} bricks",
        report["cuts"],
        report["pairs"],
        report["flows"].as_array().map_or(0, Vec::len),
        report["bricks"]
    )
}

const LEAST_PAIRS: u64 = 10_000;

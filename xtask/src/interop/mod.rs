//! `cargo xtask interop`: our commands against the vendors' own tools and openssl, in both directions, on random inputs.

use std::fs;

use clap::Args;
use serde_json::Value;

use crate::bench;
use crate::setup;
use crate::vendor_tools::{Availability, VendorTools};
use crate::workshop::{Failure, Workshop, last_object, read_aloud, run as run_program};

/// What to compare.
#[derive(Args)]
pub(crate) struct Options {
    /// Where the random inputs come from: the same number, the same inputs
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Compare only this area (repeatable): flash, images, boot, containers, mcuboot, nvs, efuses, keys
    #[arg(long, value_name = "AREA")]
    only: Vec<String>,
    /// End with one JSON object
    #[arg(long)]
    json: bool,
}

/// Compares; false when something differed.
pub(crate) fn run(workshop: &Workshop, options: &Options) -> Result<bool, Failure> {
    let tools = match VendorTools::install(workshop)? {
        Availability::Installed(tools) => tools,
        Availability::Unreachable(reason) => {
            return Err(Failure(format!("no tools to compare with: {reason}")));
        }
    };
    let outcome = compare(workshop, &tools, options.seed, &options.only)?;
    if options.only.is_empty() {
        factory(workshop, &tools, Stops::Every)?;
    }
    if options.json {
        println!("{outcome}");
    } else {
        println!("{}", sentence(&outcome));
    }
    Ok(count(&outcome, "failed") == 0)
}

/// The step of `cargo xtask test`. Where the tools can't be installed, the comparison is left out, and the remark says so.
pub(crate) fn step(workshop: &Workshop) -> Result<String, Failure> {
    let tools = match VendorTools::install(workshop)? {
        Availability::Installed(tools) => tools,
        Availability::Unreachable(reason) => {
            return Ok(format!(
                "NOT compared: the vendors' tools can't be installed from here ({reason})"
            ));
        }
    };
    let outcome = compare(workshop, &tools, STEP_SEED, &[])?;
    factory(workshop, &tools, Stops::Some)?;
    if count(&outcome, "failed") == 0 && count(&outcome, "cases") >= FEWEST_CASES {
        return Ok(sentence(&outcome));
    }
    Err(Failure(format!(
        "{}; `cargo xtask interop` shows them again",
        sentence(&outcome)
    )))
}

fn compare(
    workshop: &Workshop,
    tools: &VendorTools,
    seed: u64,
    areas: &[String],
) -> Result<Value, Failure> {
    setup::openssl()?;
    run_program(&mut workshop.cargo(["build", "--quiet", "--locked", "--package", "airseal"]))?;
    let folder = workshop.target.join("interop");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let text = read_aloud(
        workshop
            .command(tools.python())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .arg(workshop.root.join("xtask/src/interop/run.py"))
            .arg(workshop.target.join("debug/airseal"))
            .arg(&folder)
            .arg(seed.to_string())
            .args(areas),
    )?;
    let outcome = last_object(&text)?;
    // What failed can be looked at.
    if count(&outcome, "failed") == 0 {
        fs::remove_dir_all(&folder)?;
    }
    Ok(outcome)
}

/// Where a board on the simulated line is stopped.
#[derive(Clone, Copy)]
enum Stops {
    /// At every call, before, after and inside it, and before every line of the journal: some minutes.
    Every,
    /// At every third of them.
    Some,
}

/// The factory's tests with the vendor's tools at hand: plans burned into virtual eFuses, boards made on a simulated line.
fn factory(workshop: &Workshop, tools: &VendorTools, stops: Stops) -> Result<(), Failure> {
    let folder = workshop.target.join("interop-factory");
    fs::create_dir_all(&folder)?;
    bench::factory::smoke(workshop, &folder)?;
    fs::remove_dir_all(&folder)?;
    let scopes: [&[&str]; 2] = [
        &["--package", "airseal-factory", "--tests"],
        &["--package", "airseal", "--test", "cli", "factory"],
    ];
    for scope in scopes {
        run_program(
            workshop
                .cargo(["test", "--quiet", "--locked"])
                .args(scope)
                .env("AIRSEAL_ESPEFUSE", tools.program("espefuse"))
                .env("AIRSEAL_ESPTOOLS", tools.folder())
                .env("AIRSEAL_INTEROP", "1")
                .env(
                    "AIRSEAL_FAULTS",
                    match stops {
                        Stops::Every => "all",
                        Stops::Some => "some",
                    },
                )
                .env("AIRSEAL_TEST_ALL", "1"),
        )?;
    }
    Ok(())
}

fn sentence(outcome: &Value) -> String {
    let tools: Vec<&str> = outcome["tools"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    format!(
        "{} cases, {} failed, seed {}, against {}",
        outcome["cases"],
        outcome["failed"],
        outcome["seed"],
        tools.join(", ")
    )
}

fn count(outcome: &Value, name: &str) -> u64 {
    outcome[name].as_u64().unwrap_or(u64::MAX)
}

/// In CI the inputs stay the same, so that a failure belongs to the change that brought it.
const STEP_SEED: u64 = 1;
const FEWEST_CASES: u64 = 300;

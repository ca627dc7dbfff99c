//! `cargo xtask test`: everything CI runs, every step timed, all steps run, failures at the end.

mod demo;
mod device;
mod reader;
mod rules;
mod rust;

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use crate::workshop::{Failure, Workshop};
use crate::{bench, fuzz, interop, power_cuts};

/// Which steps to run and how to report.
#[derive(Args)]
pub(crate) struct Options {
    /// Run only this step (repeatable)
    #[arg(long, value_name = "STEP")]
    only: Vec<String>,
    /// Leave this step out (repeatable)
    #[arg(long, value_name = "STEP")]
    skip: Vec<String>,
    /// List the steps and run none
    #[arg(long)]
    list: bool,
    /// Stop at the first step that fails
    #[arg(long)]
    fail_fast: bool,
    /// End with one JSON object in place of the closing line
    #[arg(long)]
    json: bool,
}

/// Runs the steps; false when one failed.
pub(crate) fn run(workshop: &Workshop, options: &Options) -> Result<bool, Failure> {
    if options.list {
        for step in STEPS {
            println!("{:<12} {}", step.name, step.what);
        }
        return Ok(true);
    }
    let chosen = chosen(options)?;
    let mut results: Vec<Finished> = Vec::new();
    for (index, step) in chosen.iter().enumerate() {
        println!(
            "\n==> [{}/{}] {}: {}",
            index + 1,
            chosen.len(),
            step.name,
            step.what
        );
        let started = Instant::now();
        let outcome = (step.run)(workshop);
        let took = started.elapsed();
        if let Err(failure) = &outcome {
            println!("==> {} failed: {failure}", step.name);
        }
        let failed = outcome.is_err();
        results.push(Finished {
            name: step.name,
            took,
            outcome,
        });
        if failed && options.fail_fast {
            break;
        }
    }
    Ok(report(&results, options.json))
}

struct Step {
    name: &'static str,
    what: &'static str,
    /// Does the work; the text is a remark for the table.
    run: fn(&Workshop) -> Result<String, Failure>,
}

struct Finished {
    name: &'static str,
    took: Duration,
    outcome: Result<String, Failure>,
}

fn chosen(options: &Options) -> Result<Vec<&'static Step>, Failure> {
    if let Some(unknown) = options
        .only
        .iter()
        .chain(&options.skip)
        .find(|name| !STEPS.iter().any(|step| step.name == name.as_str()))
    {
        return Err(Failure(format!(
            "no step is called `{unknown}`; see `cargo xtask test --list`"
        )));
    }
    let named = |list: &[String], step: &Step| list.iter().any(|name| name == step.name);
    Ok(STEPS
        .iter()
        .filter(|step| options.only.is_empty() || named(&options.only, step))
        .filter(|step| !named(&options.skip, step))
        .collect())
}

fn report(results: &[Finished], as_json: bool) -> bool {
    let failed = results
        .iter()
        .filter(|result| result.outcome.is_err())
        .count();
    let passed = results.len() - failed;
    println!("\n{:<12} {:<8} {:>8}  remark", "step", "result", "seconds");
    for result in results {
        let (verdict, remark) = match &result.outcome {
            Ok(remark) => ("passed", remark.clone()),
            Err(failure) => ("FAILED", failure.to_string()),
        };
        println!(
            "{:<12} {:<8} {:>8.1}  {}",
            result.name,
            verdict,
            result.took.as_secs_f64(),
            remark
        );
    }
    let total: f64 = results.iter().map(|result| result.took.as_secs_f64()).sum();
    println!("{:<12} {:<8} {total:>8.1}\n", "all", "");
    if as_json {
        let steps: Vec<_> = results
            .iter()
            .map(|result| {
                json!({
                    "name": result.name,
                    "passed": result.outcome.is_ok(),
                    "seconds": result.took.as_secs_f64(),
                    "remark": match &result.outcome {
                        Ok(remark) => remark.clone(),
                        Err(failure) => failure.to_string(),
                    },
                })
            })
            .collect();
        println!(
            "{}",
            json!({ "passed": passed, "failed": failed, "steps": steps })
        );
    } else {
        println!("{passed} passed, {failed} failed");
    }
    failed == 0
}

/// In the order they run: the quick ones first.
const STEPS: &[Step] = &[
    Step {
        name: "fmt",
        what: "the formatting is rustfmt's",
        run: rust::fmt,
    },
    Step {
        name: "rules",
        what: "crate arrows, duplicate crates and source rules",
        run: rules::rules,
    },
    Step {
        name: "deny",
        what: "licences, banned crates, sources; advisories where reachable",
        run: rules::deny,
    },
    Step {
        name: "clippy",
        what: "lints, warnings denied",
        run: rust::clippy,
    },
    Step {
        name: "doc",
        what: "documentation, warnings denied",
        run: rust::doc,
    },
    Step {
        name: "test",
        what: "unit and integration tests",
        run: rust::test,
    },
    Step {
        name: "doctest",
        what: "examples in the documentation",
        run: rust::doctest,
    },
    Step {
        name: "device",
        what: "device crates without std for riscv32imc and thumbv7em",
        run: device::build,
    },
    Step {
        name: "reader",
        what: "the independent Python reader on every vector",
        run: reader::decode,
    },
    Step {
        name: "interop",
        what: "against the vendors' tools and openssl, where they can be installed",
        run: interop::step,
    },
    Step {
        name: "bench",
        what: "every benchmark once, with little work; figures are for cargo xtask bench",
        run: bench::step,
    },
    Step {
        name: "fuzz",
        what: "a few seconds of every fuzz target",
        run: fuzz_smoke,
    },
    Step {
        name: "power-cuts",
        what: "a cut at every flash operation of every flow",
        run: power_cuts::step,
    },
    Step {
        name: "demo",
        what: "a fresh clone, a cold build, the demo's story as data",
        run: demo::fresh_clone,
    },
];

fn fuzz_smoke(workshop: &Workshop) -> Result<String, Failure> {
    fuzz::smoke(workshop, SMOKE_SECONDS)
}

const SMOKE_SECONDS: u32 = 5;

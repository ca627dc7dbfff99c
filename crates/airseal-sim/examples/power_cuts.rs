//! Prints what power cuts do to an update: `cargo xtask power-cuts`.
//!
//! ```text
//! power_cuts [--full] [--seed N] [--pairs N] [--depth N] [--json]
//! ```
//!
//! `--full` tries every pair of cuts and longer sequences of events. With `--json` the last
//! line is one JSON object.

use std::process::ExitCode;
use std::time::Instant;

use airseal_sim::proof::{FlowReport, Pairs, SearchReport, World, flows, prove, search};

fn main() -> ExitCode {
    let options = match Options::from_arguments() {
        Ok(options) => options,
        Err(why) => {
            eprintln!("power_cuts: {why}");
            return ExitCode::from(2);
        }
    };
    let world = World::new();
    let flows = flows(&world);
    let start = Instant::now();
    let pairs = match options.is_full {
        true => Pairs::All,
        false => Pairs::Sample(options.pairs.div_ceil(flows.len() as u64)),
    };
    let mut reports: Vec<FlowReport> = Vec::new();
    for flow in flows.chunks(1) {
        for report in prove(&world, flow, pairs, options.seed) {
            print_flow(&report);
            reports.push(report);
        }
    }
    let cutting = start.elapsed();
    let found = search(&world, options.depth, options.cuts(), options.seed);
    println!(
        "\nsequences of up to {} events: {} tried, {} states, {} broken promises",
        found.depth,
        found.sequences,
        found.states,
        found.broken.len()
    );
    println!(
        "{:.1} s for the cuts, {:.1} s for the sequences",
        cutting.as_secs_f64(),
        (start.elapsed() - cutting).as_secs_f64()
    );
    for line in reports.iter().flat_map(|report| &report.first_violations) {
        println!("VIOLATION {line}");
    }
    for line in found.broken.iter().take(20) {
        println!("VIOLATION {line}");
    }
    if options.is_json {
        println!(
            "{}",
            summary(&reports, &found, start.elapsed().as_secs_f64())
        );
    }
    let violations: u64 = reports.iter().map(|report| report.violations).sum();
    if violations == 0 && found.broken.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

struct Options {
    is_full: bool,
    is_json: bool,
    seed: u64,
    pairs: u64,
    depth: u32,
}

impl Options {
    fn from_arguments() -> Result<Self, String> {
        let mut options = Self {
            is_full: false,
            is_json: false,
            seed: 1,
            pairs: 12_000,
            depth: 0,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut number = || -> Result<u64, String> {
                let value = arguments
                    .next()
                    .ok_or(format!("{argument} needs a number"))?;
                value
                    .parse()
                    .map_err(|_| format!("{argument} needs a number, not {value}"))
            };
            match argument.as_str() {
                "--full" => options.is_full = true,
                "--json" => options.is_json = true,
                "--seed" => options.seed = number()?,
                "--pairs" => options.pairs = number()?,
                "--depth" => options.depth = number()? as u32,
                other => return Err(format!("unknown option {other}")),
            }
        }
        if options.depth == 0 {
            options.depth = if options.is_full { 6 } else { 4 };
        }
        Ok(options)
    }

    /// Random cuts per event of a sequence.
    fn cuts(&self) -> u64 {
        if self.is_full { 2 } else { 1 }
    }
}

fn print_flow(report: &FlowReport) {
    println!(
        "{:<42} {:>4} operations {:>5} cuts: {:>4} old {:>4} new {} bricks, {:>7} pairs",
        report.name,
        report.operations,
        report.cuts,
        report.boots_old,
        report.boots_new,
        report.bricks,
        report.pairs
    );
}

fn summary(reports: &[FlowReport], found: &SearchReport, seconds: f64) -> serde_json::Value {
    let sum = |value: fn(&FlowReport) -> u64| reports.iter().map(value).sum::<u64>();
    let flows: Vec<_> = reports
        .iter()
        .map(|report| {
            serde_json::json!({
                "name": report.name,
                "operations": report.operations,
                "cuts": report.cuts,
                "pairs": report.pairs,
                "boots_old": report.boots_old,
                "boots_new": report.boots_new,
            })
        })
        .collect();
    serde_json::json!({
        "cuts": sum(|report| report.cuts),
        "pairs": sum(|report| report.pairs),
        "flows": flows,
        "sequences": found.sequences,
        "states": found.states,
        "depth": found.depth,
        "bricks": sum(|report| report.bricks),
        "violations": sum(|report| report.violations) + found.broken.len() as u64,
        "seconds": seconds,
    })
}

//! Prints what power cuts do to an update: `cargo xtask power-cuts`.
//!
//! `--full` tries every pair of cuts instead of a sample.

use std::process::ExitCode;
use std::time::Instant;

use airseal_sim::proof::{flows, prove_pairs, prove_singles, search};

fn main() -> ExitCode {
    let is_full = std::env::args().any(|argument| argument == "--full");
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let start = Instant::now();
    let flows = flows();
    let pairs_each = PAIRS.div_ceil(flows.len() as u64);
    let (mut cuts, mut pairs, mut boots, mut bricks) = (0, 0, 0, 0);
    let mut violations = Vec::new();
    for flow in &flows {
        for report in [
            prove_singles(flow, threads),
            prove_pairs(flow, (!is_full).then_some(pairs_each), 1, threads),
        ] {
            cuts += report.cuts;
            pairs += report.pairs;
            boots += report.boots;
            bricks += report.bricks;
            violations.extend(report.violations);
        }
        println!(
            "{:<24} {cuts:>6} cuts {pairs:>8} pairs {boots:>8} boots {bricks} bricks so far",
            flow.name
        );
    }
    let found = search(if is_full { 7 } else { 5 });
    println!(
        "sequences of up to {} events: {} events, {} states, {} without a bootable slot",
        found.depth,
        found.events,
        found.states,
        found.dead_ends.len()
    );
    violations.extend(found.dead_ends.iter().cloned());
    for violation in violations.iter().take(20) {
        println!("VIOLATION {violation}");
    }
    let names: Vec<_> = flows.iter().map(|flow| flow.name).collect();
    let summary = serde_json::json!({
        "cuts": cuts,
        "pairs": pairs,
        "flows": names,
        "boots": boots,
        "bricks": bricks + found.dead_ends.len() as u64,
        "violations": violations.len(),
        "sequences": {"depth": found.depth, "events": found.events, "states": found.states},
        "seconds": start.elapsed().as_secs(),
    });
    println!("{summary}");
    if violations.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Pairs of cuts that are sampled, all flows together.
const PAIRS: u64 = 12_000;

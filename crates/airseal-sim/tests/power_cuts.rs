//! Every power cut of every flow with tiny images, and some pairs of cuts. The whole proof
//! is `cargo xtask power-cuts`.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a test may unwrap, and documents itself by its name"
)]

use airseal_sim::proof::{Pairs, World, prove, short_flows};

#[test]
fn after_any_power_cut_the_old_or_the_new_image_boots_and_the_flow_ends_as_intended() {
    let world = World::new();
    let flows = short_flows(&world);
    let reports = prove(&world, &flows, Pairs::Sample(400), 1);
    for report in &reports {
        assert_eq!(report.violations, 0, "{report:#?}");
        assert_eq!(report.cuts, 5 * report.operations, "{}", report.name);
        assert_eq!(report.cuts, report.boots_old + report.boots_new);
    }
    assert!(reports.iter().map(|report| report.pairs).sum::<u64>() >= 400);
    assert!(reports.len() >= 19);
}

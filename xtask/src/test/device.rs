//! The device crates, built for targets that have no standard library.

use crate::setup::{self, COMPACT_FLAGS, DEVICE_TARGETS};
use crate::size;
use crate::workshop::{Failure, Workshop, run};

pub(super) fn build(workshop: &Workshop) -> Result<String, Failure> {
    let toolchain = setup::device_toolchain(workshop)?;
    println!("compiling with {}", toolchain.name());
    for target in DEVICE_TARGETS {
        for features in [&[][..], &["--no-default-features"][..]] {
            run(toolchain
                .cargo(workshop)
                .args(["--locked", "--target", target])
                .args(features)
                .args(DEVICE_CRATES.iter().flat_map(|name| ["-p", name]))
                .arg("--target-dir")
                .arg(workshop.target.join("device"))
                .env("RUSTFLAGS", COMPACT_FLAGS))?;
        }
    }
    Ok(format!(
        "with {}; {}",
        toolchain.name(),
        size::remark(workshop)?
    ))
}

const DEVICE_CRATES: [&str; 4] = [
    "airseal-format",
    "airseal-protocol",
    "airseal-update",
    "airseal-esp",
];

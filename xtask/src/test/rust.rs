//! The steps that are cargo's own.

use crate::setup;
use crate::workshop::{Failure, Workshop, on_path, run};

pub(super) fn fmt(workshop: &Workshop) -> Result<String, Failure> {
    run(&mut workshop.cargo(["fmt", "--all", "--check"]))?;
    for own_workspace in ["fuzz/Cargo.toml", "xtask/size-probe/Cargo.toml"] {
        run(&mut workshop.cargo(["fmt", "--manifest-path", own_workspace, "--check"]))?;
    }
    Ok(String::new())
}

pub(super) fn clippy(workshop: &Workshop) -> Result<String, Failure> {
    run(&mut workshop.cargo([
        "clippy",
        "--locked",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))?;
    Ok(String::new())
}

pub(super) fn doc(workshop: &Workshop) -> Result<String, Failure> {
    run(workshop
        .cargo([
            "doc",
            "--locked",
            "--workspace",
            "--no-deps",
            "--document-private-items",
        ])
        .env("RUSTDOCFLAGS", "-D warnings"))?;
    Ok(String::new())
}

/// The project's rules have a step of their own, so xtask is left out.
pub(super) fn test(workshop: &Workshop) -> Result<String, Failure> {
    setup::openssl()?;
    setup::terminal()?;
    let scope = [
        "--locked",
        "--workspace",
        "--exclude",
        "xtask",
        "--no-fail-fast",
    ];
    if on_path("cargo-nextest") {
        run(workshop
            .cargo(["nextest", "run", "--no-tests=pass"])
            .env("AIRSEAL_TEST_ALL", "1")
            .args(scope))?;
        return Ok("with nextest".to_owned());
    }
    run(workshop
        .cargo(["test", "--lib", "--bins", "--tests", "--examples"])
        .env("AIRSEAL_TEST_ALL", "1")
        .args(scope))?;
    Ok("with cargo test".to_owned())
}

/// The same packages as in the test step, so that nothing is built twice.
pub(super) fn doctest(workshop: &Workshop) -> Result<String, Failure> {
    run(&mut workshop.cargo([
        "test",
        "--locked",
        "--workspace",
        "--exclude",
        "xtask",
        "--doc",
        "--no-fail-fast",
    ]))?;
    Ok(String::new())
}

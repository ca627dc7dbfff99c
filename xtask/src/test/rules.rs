//! The project's own rules, and those about other people's crates.

use crate::setup;
use crate::workshop::{Failure, Workshop, run, succeeds};

/// The rules are ordinary tests beside this program; see `xtask/tests`.
pub(super) fn rules(workshop: &Workshop) -> Result<String, Failure> {
    run(&mut workshop.cargo(["test", "--locked", "--package", "xtask", "--no-fail-fast"]))?;
    Ok(String::new())
}

/// The advisory database lives on a host that a closed network does not reach: then that one check
/// is left out, and the table says so.
pub(super) fn deny(workshop: &Workshop) -> Result<String, Failure> {
    let program = setup::cargo_deny(workshop)?;
    let deny = || {
        let mut command = workshop.command(&program);
        command.args(["--locked", "--workspace"]);
        command
    };
    run(deny().args(["check", "bans", "licenses", "sources"]))?;
    if !succeeds(
        workshop
            .command("timeout")
            .arg("60")
            .arg(&program)
            .args(["fetch", "db"]),
    ) {
        return Ok("advisories NOT checked: their database can't be reached from here".to_owned());
    }
    run(deny().args(["check", "--disable-fetch", "advisories"]))?;
    Ok("advisories checked".to_owned())
}

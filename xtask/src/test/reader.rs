//! The independent reader of the format, in Python.

use crate::setup;
use crate::workshop::{Failure, Workshop, read_aloud, run};

pub(super) fn decode(workshop: &Workshop) -> Result<String, Failure> {
    setup::openssl()?;
    let python = setup::python(workshop)?;
    let text = read_aloud(workshop.command(&python).args([
        "tools/airseal_decode.py",
        "check-vectors",
        "vectors/v1",
    ]))?;
    run(workshop.command(&python).args([
        "-m",
        "unittest",
        "discover",
        "-s",
        "tools",
        "-p",
        "test_*.py",
    ]))?;
    Ok(text.lines().next_back().unwrap_or_default().to_owned())
}

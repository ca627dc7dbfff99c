//! The example of the documentation, which the documentation's test runs, stays short.
#![allow(missing_docs, reason = "a test documents itself by its name")]

const EXAMPLE: &str = include_str!("../examples/byte_stream.rs");

#[test]
fn a_complete_integration_takes_less_than_100_lines() {
    let lines = EXAMPLE.lines().count();
    assert!(lines < 100, "{lines} lines");
    let widest = EXAMPLE.lines().map(str::len).max();
    assert!(widest <= Some(100), "{widest:?} characters in a line");
}

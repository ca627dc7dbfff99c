//! A device that updates itself over a byte stream.

fn main() {}

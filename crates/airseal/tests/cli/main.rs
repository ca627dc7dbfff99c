//! The program as a whole process: fixed input, then standard output, standard error, files and exit status.
#![allow(clippy::unwrap_used)]

mod edges;
mod harness;
mod keys;

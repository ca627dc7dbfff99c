//! Files, pipes and standard input as the byte streams that devices read.

use std::fmt;
use std::io::{self, Read};

/// A stream of the standard library as one of `embedded-io`.
pub struct StdStream<R>(pub R);

/// An error of the standard library as one of `embedded-io`.
#[derive(Debug)]
pub struct StdError(pub io::Error);

impl fmt::Display for StdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for StdError {}

impl embedded_io::Error for StdError {
    fn kind(&self) -> embedded_io::ErrorKind {
        embedded_io::ErrorKind::Other
    }
}

impl<R> embedded_io::ErrorType for StdStream<R> {
    type Error = StdError;
}

impl<R: Read> embedded_io::Read for StdStream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, StdError> {
        loop {
            match self.0.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other.map_err(StdError),
            }
        }
    }
}

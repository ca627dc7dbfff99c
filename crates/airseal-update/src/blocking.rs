//! Blocking flash and blocking callers over the one async core.
//!
//! [`Blocking`] wraps a blocking driver in futures that are ready at once;
//! [`block_on`] polls such a future to its end without an executor.

use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};

use embedded_storage::nor_flash as sync;
use embedded_storage_async::nor_flash as asynchronous;

/// A blocking driver (flash, or a byte stream) as an async one whose futures never wait.
#[derive(Clone, Debug)]
pub struct Blocking<T>(pub T);

/// Runs `future` to its end on this thread.
///
/// Over [`Blocking`] drivers the first poll is the last. With a driver that really waits
/// this spins; use an executor there.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        core::hint::spin_loop();
    }
}

impl<T: sync::ErrorType> asynchronous::ErrorType for Blocking<T> {
    type Error = T::Error;
}

impl<T: sync::ReadNorFlash> asynchronous::ReadNorFlash for Blocking<T> {
    const READ_SIZE: usize = T::READ_SIZE;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.0.read(offset, bytes)
    }

    fn capacity(&self) -> usize {
        self.0.capacity()
    }
}

impl<T: sync::NorFlash> asynchronous::NorFlash for Blocking<T> {
    const WRITE_SIZE: usize = T::WRITE_SIZE;
    const ERASE_SIZE: usize = T::ERASE_SIZE;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        self.0.erase(from, to)
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        self.0.write(offset, bytes)
    }
}

impl<T: embedded_io::ErrorType> embedded_io_async::ErrorType for Blocking<T> {
    type Error = T::Error;
}

impl<T: embedded_io::Read> embedded_io_async::Read for Blocking<T> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Self::Error> {
        self.0.read(buf)
    }
}

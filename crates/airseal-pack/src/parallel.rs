//! Work spread over all cores, with results in order and a bounded number of them in memory.

use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, mpsc};
use std::thread;

/// Threads that work besides the one that consumes.
pub(crate) fn workers() -> usize {
    thread::available_parallelism().map_or(1, |cores| cores.get())
}

/// Buffers that are used again, since a fresh one costs a page fault for every page of it.
#[derive(Default)]
pub(crate) struct BufferPool {
    free: Mutex<Vec<Vec<u8>>>,
}

impl BufferPool {
    /// A buffer of `len` bytes with whatever an earlier user left in it.
    pub(crate) fn take(&self, len: usize) -> Vec<u8> {
        let mut buffer = self
            .free
            .lock()
            .ok()
            .and_then(|mut free| free.pop())
            .unwrap_or_default();
        buffer.resize(len, 0);
        buffer
    }

    /// Gives a buffer back.
    pub(crate) fn give(&self, buffer: Vec<u8>) {
        if let Ok(mut free) = self.free.lock() {
            free.push(buffer);
        }
    }
}

/// Runs `work` on every job, on several threads, and `consume` on every result, in the order of the jobs.
///
/// At most three jobs per worker are in memory. The first error of `work` (in job order) or of `consume` ends the run.
pub(crate) fn in_order<J: Send, R: Send, E: Send>(
    mut jobs: impl Iterator<Item = J>,
    work: impl Fn(J) -> Result<R, E> + Sync,
    mut consume: impl FnMut(R) -> Result<(), E>,
) -> Result<(), E> {
    let workers = workers();
    let (job_sender, job_receiver) = mpsc::channel::<(u64, J)>();
    let job_receiver = Mutex::new(job_receiver);
    let (result_sender, result_receiver) = mpsc::channel::<(u64, thread::Result<Result<R, E>>)>();
    thread::scope(|scope| {
        for _ in 0..workers {
            let result_sender = result_sender.clone();
            let (job_receiver, work) = (&job_receiver, &work);
            scope.spawn(move || {
                loop {
                    let job = match job_receiver.lock() {
                        Ok(receiver) => receiver.recv(),
                        Err(_) => break,
                    };
                    let Ok((number, job)) = job else { break };
                    // A panic travels to the consumer, which would otherwise wait for this result for ever.
                    let result = panic::catch_unwind(AssertUnwindSafe(|| work(job)));
                    if result_sender.send((number, result)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(result_sender);
        let (mut sent, mut done) = (0u64, 0u64);
        let mut waiting = BTreeMap::new();
        // Dropping the sender, on every way out, is what ends the workers.
        let job_sender = job_sender;
        let mut send_next = |sent: &mut u64| {
            if let Some(job) = jobs.next()
                && job_sender.send((*sent, job)).is_ok()
            {
                *sent += 1;
            }
        };
        for _ in 0..3 * workers {
            send_next(&mut sent);
        }
        while done < sent {
            let Ok((number, result)) = result_receiver.recv() else {
                break;
            };
            waiting.insert(number, result);
            while let Some(result) = waiting.remove(&done) {
                done += 1;
                consume(result.unwrap_or_else(|payload| panic::resume_unwind(payload))?)?;
                send_next(&mut sent);
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order() {
        let mut seen = Vec::new();
        let result: Result<(), ()> = in_order(
            0..1000u64,
            |n| {
                if n % 7 == 0 {
                    thread::yield_now();
                }
                Ok(n * 2)
            },
            |n| {
                seen.push(n);
                Ok(())
            },
        );
        assert_eq!(result, Ok(()));
        assert!(seen.iter().copied().eq((0..1000).map(|n| n * 2)));
    }

    #[test]
    fn the_first_error_ends_the_run() {
        let mut seen = 0;
        let result = in_order(
            0..1000u64,
            |n| if n == 10 { Err(n) } else { Ok(n) },
            |_| {
                seen += 1;
                Ok(())
            },
        );
        assert_eq!((result, seen), (Err(10), 10));
    }

    #[test]
    #[should_panic(expected = "job 5")]
    fn a_panic_is_passed_on_instead_of_waiting_for_ever() {
        let _: Result<(), ()> = in_order(
            0..100u64,
            |n| {
                assert!(n != 5, "job 5");
                Ok(n)
            },
            |_| Ok(()),
        );
    }
}

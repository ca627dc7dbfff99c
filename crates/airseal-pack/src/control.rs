//! Progress and cancellation of long work.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::Error;

/// What is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Reading the firmware once, to bind the content key to it.
    Reading,
    /// Encrypting and hashing.
    Sealing,
    /// Wrapping the content key for recipients (counted in envelopes, not bytes).
    Wrapping,
    /// Checking chunks.
    Verifying,
    /// Checking, decrypting and writing chunks.
    Opening,
    /// Copying unchanged parts.
    Copying,
}

impl Activity {
    /// A word for a progress bar.
    pub fn word(self) -> &'static str {
        match self {
            Activity::Reading => "reading",
            Activity::Sealing => "sealing",
            Activity::Wrapping => "wrapping keys",
            Activity::Verifying => "verifying",
            Activity::Opening => "opening",
            Activity::Copying => "copying",
        }
    }
}

/// How far it is, in bytes (envelopes for [`Activity::Wrapping`]).
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// What is going on.
    pub activity: Activity,
    /// Done so far.
    pub done: u64,
    /// All there is.
    pub total: u64,
}

/// Handles that long work looks at now and then.
#[derive(Clone, Copy, Default)]
pub struct Control<'a> {
    /// Called on the calling thread, at most about a thousand times per activity.
    pub progress: Option<&'a dyn Fn(Progress)>,
    /// When it becomes true, the work stops with [`Error::Cancelled`] and leaves no output.
    pub cancel: Option<&'a AtomicBool>,
}

impl Control<'_> {
    /// Reports, and stops when it was asked to.
    ///
    /// # Errors
    /// Cancelled.
    pub fn report(&self, activity: Activity, done: u64, total: u64) -> Result<(), Error> {
        if self.cancel.is_some_and(|flag| flag.load(Ordering::Relaxed)) {
            return Err(Error::Cancelled);
        }
        if let Some(progress) = self.progress {
            progress(Progress {
                activity,
                done,
                total,
            });
        }
        Ok(())
    }
}

//! Ctrl-C: a flag that long work looks at, so that it can clean up.
//!
//! The first signal asks; the command ends at its next look, removes its temporary files and exits with 3. A second
//! signal, or three seconds without an answer (a read that blocks), ends the process at once.

use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::failure::{Failure, FailureKind};

/// Starts listening for Ctrl-C and requests to terminate.
///
/// # Errors
/// Environment, if the system refuses a handler.
pub(crate) fn install() -> Result<(), Failure> {
    let (sender, receiver) = channel();
    let _ = WAKE.set(Mutex::new(Some(receiver)));
    let stop = Arc::clone(flag());
    ctrlc::set_handler(move || {
        if stop.swap(true, Ordering::SeqCst) {
            leave();
        }
        if let Some(says) = SAYS.get() {
            // Nobody may be reading; the work stops all the same.
            let _ = writeln!(std::io::stderr(), "{says}");
        }
        let _ = sender.send(());
        thread::spawn(|| {
            thread::sleep(GRACE);
            if !WAITING.load(Ordering::SeqCst) {
                leave();
            }
        });
    })
    .map_err(|error| Failure::environment(format_args!("can't listen for Ctrl-C: {error}")))
}

/// Is set once the user asked to stop.
pub(crate) fn flag() -> &'static Arc<AtomicBool> {
    static STOP: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    STOP.get_or_init(|| Arc::new(AtomicBool::new(false)))
}

/// True once the user asked to stop.
pub(crate) fn requested() -> bool {
    flag().load(Ordering::SeqCst)
}

/// Refuses to go on once the user asked to stop.
///
/// # Errors
/// Interrupted.
pub(crate) fn check() -> Result<(), Failure> {
    if requested() {
        Err(Failure::interrupted())
    } else {
        Ok(())
    }
}

/// For work that must not be cut: the first signal is answered at the next look, however long that takes, and `says` tells so. A
/// second one runs `clean` and ends the process.
pub(crate) fn finish_first(says: Option<&'static str>, clean: impl Fn() + Send + Sync + 'static) {
    WAITING.store(true, Ordering::SeqCst);
    if let Some(says) = says {
        let _ = SAYS.set(says);
    }
    let _ = CLEAN.set(Box::new(clean));
}

/// Waits until the user asks to stop. The process then ends in its own time.
pub(crate) fn wait() {
    WAITING.store(true, Ordering::SeqCst);
    let receiver = WAKE
        .get()
        .and_then(|wake| wake.lock().ok().and_then(|mut wake| wake.take()));
    if let Some(receiver) = receiver
        && !requested()
    {
        // Fails only without a handler, and then there is nothing to wait for.
        let _ = receiver.recv();
    }
}

fn leave() -> ! {
    if let Some(clean) = CLEAN.get() {
        clean();
    }
    std::process::exit(i32::from(FailureKind::Interrupted.exit_code()))
}

static WAKE: OnceLock<Mutex<Option<Receiver<()>>>> = OnceLock::new();
static CLEAN: OnceLock<Box<dyn Fn() + Send + Sync>> = OnceLock::new();
static SAYS: OnceLock<&'static str> = OnceLock::new();
static WAITING: AtomicBool = AtomicBool::new(false);
const GRACE: Duration = Duration::from_secs(3);

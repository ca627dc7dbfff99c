use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A progress bar on standard error; does nothing when nobody watches.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub(super) fn new(what: &'static str, total: u64, watched: bool) -> Progress {
        if !watched {
            return Progress {
                bar: ProgressBar::hidden(),
            };
        }
        let bar =
            ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(10));
        set_style(&bar, if total == 0 { UNKNOWN } else { KNOWN });
        bar.set_message(what);
        bar.enable_steady_tick(Duration::from_millis(200));
        Progress { bar }
    }

    /// Sets what is done so far.
    pub(crate) fn set(&self, done: u64) {
        self.bar.set_position(done);
    }

    /// A function that sets what is done and what there is to do, from any thread.
    pub(crate) fn setter(&self) -> impl FnMut(u64, u64) + Send + 'static {
        let bar = self.bar.clone();
        move |done, total| {
            if bar.length() == Some(0) {
                set_style(&bar, KNOWN);
            }
            bar.set_length(total);
            bar.set_position(done);
        }
    }
}

fn set_style(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
}

const KNOWN: &str = "{msg:14} [{bar:30}] {bytes}/{total_bytes} {eta}";
/// While it is not known how much there is.
const UNKNOWN: &str = "{msg} {spinner}";

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

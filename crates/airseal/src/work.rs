//! Long work of the libraries: with a progress bar, and stopped by Ctrl-C.

use std::cell::RefCell;

use airseal_pack::control::{Activity, Control, Progress};

use crate::failure::Failure;
use crate::interrupt;
use crate::ui::{self, Ui};

/// Runs `work` with progress and cancellation.
///
/// # Errors
/// Those of `work`; interrupted after Ctrl-C.
pub(crate) fn run<T>(
    ui: &Ui,
    work: impl FnOnce(&Control<'_>) -> Result<T, airseal_pack::Error>,
) -> Result<T, Failure> {
    let bar: RefCell<Option<(Activity, ui::Progress)>> = RefCell::new(None);
    let show = |progress: Progress| {
        let mut bar = bar.borrow_mut();
        if bar
            .as_ref()
            .is_none_or(|(activity, _)| *activity != progress.activity)
        {
            *bar = Some((
                progress.activity,
                ui.progress(progress.activity.word(), progress.total),
            ));
        }
        if let Some((_, bar)) = bar.as_ref() {
            bar.set(progress.done);
        }
    };
    let control = Control {
        progress: Some(&show),
        cancel: Some(interrupt::flag()),
    };
    Ok(work(&control)?)
}

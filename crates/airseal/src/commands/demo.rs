use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::demo::{self, Ending, Event, Kept, Options, Story, Told};
use crate::failure::Failure;
use crate::interrupt;
use crate::ui::{Style, Table, Ui};

/// The whole story on this machine in one go: keys, server, fleet, updates, attacks
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Needs no other service, no root and no network. Exit code 0 only if everything went as expected. With --json every event is one object with device, event, expected and seen."
)]
pub(crate) struct Args {
    /// Firmware to use in place of the built-in ESP32-C3 images
    #[arg(value_name = "FIRMWARE")]
    firmware: Option<PathBuf>,

    /// Leave the server running at the end, and say what to try next
    #[arg(long)]
    keep: bool,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let started = Instant::now();
    let mut tell = |told: Told<'_>| {
        // A reader that goes away does not change how the story ends.
        let _ = show(told, ui);
    };
    let mut story = Story::new(&mut tell);
    let options = Options {
        firmware: args.firmware.as_deref(),
        keep: args.keep,
    };
    let ending = demo::run(&options, ui, &mut story)?;
    let wrong = unexpected(&ending.events);
    if !ui.json() {
        let _ = summary(&ending, started, wrong, ui);
    }
    if let Some(kept) = ending.kept {
        what_next(&kept, ui)?;
        interrupt::wait();
        kept.end();
    }
    verdict(&ending.events)
}

fn unexpected(events: &[Event]) -> usize {
    events
        .iter()
        .filter(|event| !event.is_as_expected())
        .count()
}

/// Decides the exit code.
fn verdict(events: &[Event]) -> Result<(), Failure> {
    match unexpected(events) {
        0 => Ok(()),
        wrong => Err(Failure::refused(format_args!(
            "{wrong} of {} events were not as expected",
            events.len()
        ))),
    }
}

fn show(told: Told<'_>, ui: &Ui) -> Result<(), Failure> {
    match told {
        Told::Event(event) if ui.json() => ui.value(event),
        Told::Chapter(..) if ui.json() => Ok(()),
        Told::Chapter(number, title) => {
            let space = if number == 1 { "" } else { "\n" };
            ui.line(format_args!(
                "{space}{}",
                ui.paint(Style::Strong, &format!("{number}. {title}"))
            ))
        }
        Told::Event(event) => {
            let verdict = if event.is_as_expected() {
                ui.paint(Style::Good, &event.seen)
            } else {
                ui.paint(
                    Style::Bad,
                    &format!(
                        "{} (unexpected: {} was expected)",
                        event.seen, event.expected
                    ),
                )
            };
            ui.line(format_args!(
                "  {:9} {}: {verdict}",
                event.device, event.event
            ))?;
            match &event.detail {
                Some(detail) => {
                    ui.line(format_args!("            {}", ui.paint(Style::Dim, detail)))
                }
                None => Ok(()),
            }
        }
    }
}

fn summary(ending: &Ending, started: Instant, wrong: usize, ui: &Ui) -> Result<(), Failure> {
    let mut table = Table::new(&["  ", "WHO", "WHAT", "EXPECTED", "SEEN"]);
    for Event {
        step,
        device,
        event,
        expected,
        seen,
        ..
    } in &ending.events
    {
        let style = if expected == seen {
            Style::Good
        } else {
            Style::Bad
        };
        let seen = if expected == seen {
            "as expected".to_owned()
        } else {
            format!("UNEXPECTED: {seen}")
        };
        table.row_with_verdict(
            [
                format!("{step:>2}"),
                device.clone(),
                event.clone(),
                expected.clone(),
                seen,
            ],
            style,
        );
    }
    ui.line("")?;
    ui.table(&table)?;
    let attacks = ending
        .events
        .iter()
        .filter(|event| event.flash_operations == Some(0))
        .count();
    let verdict = match wrong {
        0 => ui.paint(
            Style::Good,
            &format!("All {} events as expected", ending.events.len()),
        ),
        wrong => ui.paint(
            Style::Bad,
            &format!("{wrong} of {} events not as expected", ending.events.len()),
        ),
    };
    ui.line(format_args!(
        "\n{verdict}, {attacks} attempts refused without one flash operation, in {:.1} s.",
        started.elapsed().as_secs_f64()
    ))
}

fn what_next(kept: &Kept, ui: &Ui) -> Result<(), Failure> {
    if ui.json() {
        return ui.value(&serde_json::json!({
            "kept": {"folder": kept.folder, "admin": kept.admin, "https": kept.https, "admin_token_file": kept.token_file},
        }));
    }
    let folder = kept.folder.display();
    let alias = match std::env::current_exe() {
        Ok(program) if !is_on_the_path(&program) => {
            format!("alias airseal={}\n  ", program.display())
        }
        _ => String::new(),
    };
    ui.line(format_args!(
        "\nThe server goes on. In another terminal:\n\n  \
         {alias}export AIRSEAL_SERVER={admin} AIRSEAL_TOKEN_FILE={token}\n  \
         airseal device list\n  \
         airseal device show cellar\n  \
         airseal release list\n  \
         airseal inspect {folder}/releases/1.1.0.seal\n  \
         airseal verify {folder}/releases/1.1.0.seal --keyset {folder}/keys/keyset\n\n\
         One more device, and a release for it:\n\n  \
         airseal device enroll desk --token-out desk.claim\n  \
         airseal simulate device --state desk --vendor example.com --class lamp --keyset {folder}/keys/keyset\n  \
         airseal envelope add {folder}/releases/1.1.0.seal --content-key {folder}/releases/1.1.0.content-key --to desk/device.pub\n  \
         airseal release publish {folder}/releases/1.1.0.seal\n  \
         airseal simulate device --state desk --server {https} --ca {folder}/server/ca.pem --claim-file desk.claim\n\n\
         Ctrl-C ends the server and removes {folder}.",
        admin = kept.admin,
        https = kept.https,
        token = kept.token_file.display(),
    ))
}

/// True if typing the program's name starts this very program.
fn is_on_the_path(program: &Path) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| {
        folder
            .join("airseal")
            .canonicalize()
            .is_ok_and(|found| found == program)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_that_is_not_as_expected_is_exit_code_1() {
        let mut told = |_: Told<'_>| {};
        let mut story = Story::new(&mut told);
        story.event("hall", "installs", "1.0.0", "1.0.0");
        story.event("hall", "takes a forgery", "refused", "refused");
        let mut events = story.take();
        assert!(verdict(&events).is_ok());
        if let Some(last) = events.last_mut() {
            last.seen = "installed".to_owned();
        }
        let failure = verdict(&events).err();
        assert_eq!(
            failure.as_ref().map(|failure| failure.kind.exit_code()),
            Some(1)
        );
        assert!(failure.is_some_and(|failure| failure.message.starts_with("1 of 2 events")));
    }
}

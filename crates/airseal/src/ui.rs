//! The only place that writes to standard output and standard error.

use std::fmt::{self, Display};
use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::failure::{Failure, FailureKind};

mod progress;
mod table;

pub(crate) use progress::Progress;
pub(crate) use table::Table;

/// Results go to standard output, everything about the work to standard error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ui {
    json: bool,
    quiet: bool,
    stdout: Stream,
    stderr: Stream,
}

impl Ui {
    /// Looks at the environment: terminals, `NO_COLOR`, `TERM`.
    pub(crate) fn new(json: bool, quiet: bool) -> Ui {
        Ui {
            json,
            quiet,
            stdout: Stream::new(io::stdout().is_terminal()),
            stderr: Stream::new(io::stderr().is_terminal()),
        }
    }

    /// True if results are asked for as JSON.
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    /// True if a person watches standard error.
    pub(crate) fn watched(&self) -> bool {
        self.stderr.terminal && !self.quiet
    }

    /// One line of the result.
    ///
    /// # Errors
    /// Output closed, or environment.
    pub(crate) fn line(&self, text: impl Display) -> Result<(), Failure> {
        self.bytes(format!("{text}\n").as_bytes())
    }

    /// Part of the result, as it is.
    ///
    /// # Errors
    /// Output closed, or environment.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout
            .write_all(bytes)
            .and_then(|()| stdout.flush())
            .map_err(|error| Failure::output(&error))
    }

    /// One JSON value on one line, whatever the mode.
    ///
    /// # Errors
    /// Output closed, or environment.
    pub(crate) fn value(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value)
            .map_err(|error| Failure::environment(format_args!("can't write JSON: {error}")))?;
        self.line(text)
    }

    /// A result: as JSON if asked for, else as the text that `text` makes.
    ///
    /// # Errors
    /// Output closed, or environment.
    pub(crate) fn result<T: Serialize>(
        &self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        if self.json {
            return self.value(value);
        }
        let text = text(value);
        if text.is_empty() {
            Ok(())
        } else {
            self.line(text.trim_end_matches('\n'))
        }
    }

    /// A table of the result.
    ///
    /// # Errors
    /// Output closed, or environment.
    pub(crate) fn table(&self, table: &Table) -> Result<(), Failure> {
        self.bytes(table.render(self.stdout.color).as_bytes())
    }

    /// Something worth knowing about the work; not with `--quiet` or `--json`.
    pub(crate) fn note(&self, text: impl Display) {
        if !self.quiet && !self.json {
            self.stderr_line(format_args!("{text}"));
        }
    }

    /// Something that does not stop the work, but should be put right.
    pub(crate) fn warn(&self, text: impl Display) {
        if self.json {
            let object = serde_json::json!({ "warning": text.to_string() });
            return self.stderr_line(format_args!("{object}"));
        }
        let heading = self.stderr.paint(Style::Warning, "warning");
        self.stderr_line(format_args!("{heading}: {text}"));
    }

    /// One warning a line.
    pub(crate) fn warn_all(&self, texts: impl IntoIterator<Item: Display>) {
        texts.into_iter().for_each(|text| self.warn(text));
    }

    /// Why the command failed: heading, message and hint, or one object with `--json`.
    pub(crate) fn failure(&self, failure: &Failure) {
        if failure.kind == FailureKind::OutputClosed {
            return;
        }
        if self.json {
            let object = serde_json::json!({"error": {
                "kind": failure.kind.word(), "message": failure.message, "hint": failure.hint, "code": failure.code,
            }});
            return self.stderr_line(format_args!("{object}"));
        }
        let heading = self.stderr.paint(Style::Bad, failure.kind.heading());
        self.stderr_line(format_args!("{heading}: {}", failure.message));
        if let Some(hint) = &failure.hint {
            let heading = self.stderr.paint(Style::Strong, "what to do");
            self.stderr_line(format_args!("{heading}: {hint}"));
        }
        if let Some(code) = failure.code {
            self.stderr_line(format_args!(
                "number {code}: airseal explain {code} tells more"
            ));
        }
    }

    /// A usage error, or help, as clap wrote it.
    pub(crate) fn clap(&self, error: &clap::Error) -> FailureKind {
        if self.json && error.kind() == clap::error::ErrorKind::DisplayVersion {
            let version = serde_json::json!({"name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION")});
            return match self.value(&version) {
                Ok(()) => FailureKind::OutputClosed,
                Err(failure) => failure.kind,
            };
        }
        if self.json && error.use_stderr() {
            let text = error.render().to_string();
            let (message, hint) = text.split_once("\n\n").unwrap_or((&text, ""));
            let message = message.strip_prefix("error: ").unwrap_or(message);
            self.failure(&Failure::usage(message.trim_end()).hint(hint.trim_end()));
            return FailureKind::Usage;
        }
        let text = error.render();
        let stream = if error.use_stderr() {
            self.stderr
        } else {
            self.stdout
        };
        let text = if stream.color {
            text.ansi().to_string()
        } else {
            text.to_string()
        };
        if error.use_stderr() {
            let _ = io::stderr().lock().write_all(text.as_bytes());
            return FailureKind::Usage;
        }
        match self.bytes(text.as_bytes()) {
            Ok(()) => FailureKind::OutputClosed,
            Err(failure) => failure.kind,
        }
    }

    /// A bar for `total` steps or bytes on a terminal, silence elsewhere; 0 while that is not known.
    pub(crate) fn progress(&self, what: &'static str, total: u64) -> Progress {
        Progress::new(what, total, self.watched() && !self.json)
    }

    /// Sends what the server logs to standard error, without times: whoever keeps it adds them.
    #[cfg(feature = "serve")]
    pub(crate) fn log_to_stderr(&self) {
        let level = if self.quiet {
            tracing_subscriber::filter::LevelFilter::WARN
        } else {
            tracing_subscriber::filter::LevelFilter::INFO
        };
        let started = tracing_subscriber::fmt()
            .with_writer(io::stderr)
            .with_ansi(self.stderr.color)
            .with_target(false)
            .without_time()
            .with_max_level(level)
            .try_init();
        // A second call finds the first one's subscriber at work, which is what is wanted.
        drop(started);
    }

    /// Text in a style, if standard output is a terminal that shows colours.
    pub(crate) fn paint(&self, style: Style, text: &str) -> String {
        self.stdout.paint(style, text)
    }

    fn stderr_line(&self, text: fmt::Arguments<'_>) {
        let _ = io::stderr()
            .lock()
            .write_all(format!("{text}\n").as_bytes());
    }
}

/// How a word stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// As expected.
    Good,
    /// Wrong.
    Bad,
    /// To be looked at.
    Warning,
    /// A heading.
    Strong,
    /// Of lesser interest.
    Dim,
}

impl Style {
    fn sequence(self) -> &'static str {
        match self {
            Style::Good => "\x1b[32m",
            Style::Bad => "\x1b[1;31m",
            Style::Warning => "\x1b[33m",
            Style::Strong => "\x1b[1m",
            Style::Dim => "\x1b[2m",
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Stream {
    terminal: bool,
    color: bool,
}

impl Stream {
    fn new(terminal: bool) -> Stream {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Stream {
            terminal,
            color: terminal && !refused,
        }
    }

    fn paint(self, style: Style, text: &str) -> String {
        if self.color {
            format!("{}{text}\x1b[0m", style.sequence())
        } else {
            text.to_owned()
        }
    }
}

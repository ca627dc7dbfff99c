//! What a command reads and what it writes.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use airseal_pack::OutputFile;
use airseal_pack::output::{Access, Existing, check_target, is_stdout};
use serde::Serialize;

use super::{ForceArgs, distinct};
use crate::failure::Failure;
use crate::ui::Ui;

/// One file in, one file out. A command whose files need more words says them with `mut_arg`.
#[derive(Debug, clap::Args)]
pub(crate) struct FileArgs {
    /// Read this file; - is standard input
    #[arg(value_name = "IN")]
    pub(crate) input: PathBuf,

    #[command(flatten)]
    output: OutputArgs,
}

impl FileArgs {
    /// The file to write, which is neither the input nor one of the others that are `read`.
    ///
    /// # Errors
    /// Usage if it is one of them, refused if it is there already or can't be a file.
    pub(crate) fn target<'a>(
        &'a self,
        read: impl IntoIterator<Item = &'a PathBuf>,
    ) -> Result<Target<'a>, Failure> {
        self.output.target(read.into_iter().chain([&self.input]))
    }
}

/// One file out.
#[derive(Debug, clap::Args)]
pub(crate) struct OutputArgs {
    /// Write the result here; - is standard output
    #[arg(value_name = "OUT")]
    output: PathBuf,

    #[command(flatten)]
    force: ForceArgs,
}

impl OutputArgs {
    /// The file to write, which is none of those that are `read`.
    ///
    /// # Errors
    /// As [`Target::new`].
    pub(crate) fn target<'a>(
        &'a self,
        read: impl IntoIterator<Item = &'a PathBuf>,
    ) -> Result<Target<'a>, Failure> {
        Target::new(&self.output, self.force, read)
    }
}

/// Where a changed sealed file goes.
#[derive(Debug, clap::Args)]
pub(crate) struct ChangedArgs {
    /// Write the new file here [default: replace the old one, once the new one is complete]
    #[arg(long, short, value_name = "OUT.seal")]
    output: Option<PathBuf>,

    #[command(flatten)]
    force: ForceArgs,
}

impl ChangedArgs {
    /// The new file's name, and what becomes of a file that has it. The old file may be replaced by the new one, none of
    /// the others that are `read`.
    ///
    /// # Errors
    /// Usage if it is one of them.
    pub(crate) fn place<'a, 'r>(
        &'a self,
        bundle: &'a Path,
        read: impl IntoIterator<Item = &'r PathBuf>,
    ) -> Result<(&'a Path, Existing), Failure> {
        let (path, existing) = match &self.output {
            Some(output) => (output.as_path(), self.force.existing()),
            None => (bundle, Existing::Replace),
        };
        distinct(read, path)?;
        Ok((path, existing))
    }
}

/// A file to be written: looked at before the work starts, told about when it is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    path: &'a Path,
    existing: Existing,
}

impl<'a> Target<'a> {
    /// Looks at `path` before any work is done for it. No `force` replaces a file that is `read`.
    ///
    /// # Errors
    /// Usage if it is one of them, refused if it is there already or can't be a file.
    pub(crate) fn new<'r>(
        path: &'a Path,
        force: ForceArgs,
        read: impl IntoIterator<Item = &'r PathBuf>,
    ) -> Result<Target<'a>, Failure> {
        let existing = force.existing();
        distinct(read, path)?;
        check_target(path, existing)?;
        Ok(Target { path, existing })
    }

    /// Its name, or `-`.
    pub(crate) fn path(&self) -> &'a Path {
        self.path
    }

    /// What becomes of a file of that name.
    pub(crate) fn existing(&self) -> Existing {
        self.existing
    }

    /// True if it is standard output, which then holds nothing else.
    pub(crate) fn is_stdout(&self) -> bool {
        is_stdout(self.path)
    }

    /// Starts it, without its name until it is committed.
    ///
    /// # Errors
    /// Environment.
    pub(crate) fn create(&self, access: Access) -> Result<OutputFile, Failure> {
        Ok(OutputFile::create(self.path, self.existing, access)?)
    }

    /// All of it, without its name until it is committed.
    ///
    /// # Errors
    /// Environment.
    pub(crate) fn fill(&self, bytes: &[u8], access: Access) -> Result<OutputFile, Failure> {
        let mut file = self.create(access)?;
        file.write_all(bytes).map_err(|error| {
            Failure::io(format_args!("can't write {}", self.path.display()), &error)
        })?;
        Ok(file)
    }

    /// Writes it.
    ///
    /// # Errors
    /// Environment, or output closed.
    pub(crate) fn write(&self, bytes: &[u8], access: Access) -> Result<(), Failure> {
        Ok(self.fill(bytes, access)?.commit()?)
    }

    /// Says what was written: `OUT: text`, or `report` with the name as `output`. Says nothing where standard output is the file.
    ///
    /// # Errors
    /// Output closed, or environment.
    pub(crate) fn report<T: Serialize>(
        &self,
        report: &T,
        ui: &Ui,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        if self.is_stdout() {
            return Ok(());
        }
        let output = self.path.display().to_string();
        let written = Written { output, report };
        ui.result(&written, |written| {
            format!("{}: {}", written.output, text(report))
        })
    }
}

#[derive(Serialize)]
struct Written<'a, T> {
    output: String,
    #[serde(flatten)]
    report: &'a T,
}

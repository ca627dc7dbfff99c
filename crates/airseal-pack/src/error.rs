//! What can stop the host side, with what a person needs to put it right.

use std::fmt;
use std::io;
use std::path::Path;

use airseal_esp::partition::PartitionFault;

/// What kind of failure an [`Error`] is; the command line turns it into the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The input, a key or a signature was refused.
    Refused,
    /// The call itself makes no sense: contradicting or missing arguments.
    Usage,
    /// Reading, writing or the environment failed.
    Io,
}

/// One failure.
///
/// The text reads: what it is about (a file, a part of it), what is wrong and where, and what to do.
#[derive(Debug)]
pub enum Error {
    /// A file can't be read, written, created or renamed.
    Io {
        /// What was done, with the file's name: `can't read firmware.bin`.
        action: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The work was stopped by its cancellation flag.
    Cancelled,
    /// Arguments that contradict each other, or one that is missing.
    Usage {
        /// What is wrong.
        message: String,
        /// What to do; may be empty.
        remedy: String,
    },
    /// The bytes of an artifact break the format, a signature or a hash.
    Format {
        /// The file.
        file: String,
        /// Where the part begins in the file, bytes; 0 if the part is the file.
        part_offset: u64,
        /// Field, offset in the part, reason.
        source: airseal_format::Error,
        /// What to do; may be empty.
        remedy: String,
    },
    /// A firmware image is damaged.
    Image {
        /// The file.
        file: String,
        /// Field, offset, reason.
        source: airseal_esp::ImageFault,
    },
    /// A partition table can't be used.
    Partitions {
        /// The file.
        file: String,
        /// Line or offset, and reason.
        source: PartitionFault,
    },
    /// Signatures by trusted keys are missing; the message says whose.
    Signatures {
        /// File name for people.
        file: String,
        /// Who signed and who did not.
        message: String,
        /// Part, field, offset and reason.
        source: airseal_format::Error,
        /// What to do.
        remedy: String,
    },
    /// Something else was refused.
    Refused {
        /// What it is about: a file, a key, a device list with its line.
        subject: String,
        /// What is wrong, with field or offset where there is one.
        message: String,
        /// What to do; may be empty.
        remedy: String,
    },
}

impl Error {
    /// Which of the three kinds it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Io { .. } | Error::Cancelled => ErrorKind::Io,
            Error::Usage { .. } => ErrorKind::Usage,
            Error::Format { .. }
            | Error::Signatures { .. }
            | Error::Image { .. }
            | Error::Partitions { .. }
            | Error::Refused { .. } => ErrorKind::Refused,
        }
    }

    /// What to do about it; empty if the message says all there is.
    pub fn remedy(&self) -> &str {
        match self {
            Error::Usage { remedy, .. }
            | Error::Format { remedy, .. }
            | Error::Signatures { remedy, .. }
            | Error::Refused { remedy, .. } => remedy,
            Error::Image { .. } => {
                "build or copy the firmware again, or use --chip none to seal the bytes as they are"
            }
            Error::Partitions { source, .. } => table_remedy(source),
            Error::Io { .. } | Error::Cancelled => "",
        }
    }

    /// The system refused; `action` is a verb.
    pub fn io(action: &str, path: &Path, source: io::Error) -> Error {
        Error::Io {
            action: format!("can't {action} {}", path.display()),
            source,
        }
    }

    /// The call makes no sense.
    pub fn usage(message: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error::Usage {
            message: message.into(),
            remedy: remedy.into(),
        }
    }

    /// `subject` is refused: what is wrong with it, what to do.
    pub fn refused(
        subject: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Error {
        Error::Refused {
            subject: subject.into(),
            message: message.into(),
            remedy: remedy.into(),
        }
    }

    pub(crate) fn format(file: &str, part_offset: u64, source: airseal_format::Error) -> Error {
        Error::Format {
            file: file.to_owned(),
            part_offset,
            source,
            remedy: String::new(),
        }
    }
}

/// What to do about a partition table, whether somebody writes it or read it from a device.
fn table_remedy(fault: &PartitionFault) -> &'static str {
    match fault {
        PartitionFault::BeyondFlash { .. } => {
            "make partitions smaller, or name the real size with --flash-size"
        }
        PartitionFault::Overlap { .. } => {
            "start at the first free byte or behind it, or leave the offset empty; the first row starts behind the table, which lies at --offset"
        }
        PartitionFault::Field { .. } => "put this field right in the CSV",
        PartitionFault::LabelTooLong { .. }
        | PartitionFault::BeyondAddresses { .. }
        | PartitionFault::LabelText { .. }
        | PartitionFault::Rule { .. } => "change this row of the table",
        PartitionFault::TooManyRows => "leave out rows",
        PartitionFault::RowMagic { .. }
        | PartitionFault::Md5 { .. }
        | PartitionFault::SecondMd5 { .. }
        | PartitionFault::BehindMd5 { .. }
        | PartitionFault::NoEnd { .. } => {
            "read the table from the device again, or make it of its CSV with airseal esp partitions to-bin"
        }
        PartitionFault::NoRows | PartitionFault::NotText { .. } => {
            "give the partition table the device really uses, as CSV or binary"
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io { action, source } => write!(f, "{action}: {source}")?,
            Error::Cancelled => f.write_str("stopped; nothing was written")?,
            Error::Usage { message, .. } => f.write_str(message)?,
            Error::Format {
                file,
                part_offset: 0,
                source,
                ..
            } => write!(f, "{file}: {source}")?,
            Error::Format {
                file,
                part_offset,
                source,
                ..
            } => {
                write!(f, "{file}: {source} (counted from byte {part_offset})")?;
            }
            Error::Signatures { file, message, .. } => write!(f, "{file}: {message}")?,
            Error::Image { file, source } => write!(f, "{file}: {source}")?,
            Error::Partitions { file, source } => write!(f, "{file}: {source}")?,
            Error::Refused {
                subject, message, ..
            } => write!(f, "{subject}: {message}")?,
        }
        match self.remedy() {
            "" => Ok(()),
            remedy => write!(f, "; {remedy}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            Error::Format { source, .. } | Error::Signatures { source, .. } => Some(source),
            Error::Image { source, .. } => Some(source),
            Error::Partitions { source, .. } => Some(source),
            Error::Cancelled | Error::Usage { .. } | Error::Refused { .. } => None,
        }
    }
}

//! The programs that ours are compared with, from the Python index, with pinned digests.

use std::fs;
use std::path::{Path, PathBuf};

use crate::setup;
use crate::workshop::{Failure, Workshop, succeeds};

/// A virtual environment with esptool, espsecure, espefuse, imgtool and the NVS generator.
pub(crate) struct VendorTools {
    bin: PathBuf,
}

/// What came of installing them.
pub(crate) enum Availability {
    /// They are there.
    Installed(VendorTools),
    /// The index can't be reached, or has no files for this machine: why.
    Unreachable(String),
}

impl VendorTools {
    /// Installs what is missing.
    ///
    /// # Errors
    /// A file whose digest is not the pinned one; no Python.
    pub(crate) fn install(workshop: &Workshop) -> Result<Availability, Failure> {
        let folder = workshop.tools().join("vendor-tools");
        let tools = Self {
            bin: folder.join("bin"),
        };
        let mark = folder.join("installed.txt");
        if fs::read_to_string(&mark).is_ok_and(|installed| installed == REQUIREMENTS)
            && succeeds(
                workshop
                    .command(tools.python())
                    .args(["-c", "import espsecure"]),
            )
        {
            return Ok(Availability::Installed(tools));
        }
        setup::make_virtual_environment(workshop, &folder)?;
        println!(
            "installing with pip: esptool, imgtool, esp-idf-nvs-partition-gen (pinned digests)"
        );
        let list = folder.join("requirements.txt");
        fs::write(&list, REQUIREMENTS)?;
        // Some are only there as sources. Building them in place takes the pinned setuptools, not any.
        let (build, rest): (Vec<String>, Vec<String>) = blocks(REQUIREMENTS)
            .into_iter()
            .partition(|block| BUILD_TOOLS.iter().any(|name| block.starts_with(name)));
        for (name, part) in [("build.txt", build), ("requirements.txt", rest)] {
            let list = folder.join(name);
            fs::write(&list, part.concat())?;
            let output = workshop
                .command(tools.python())
                .args([
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--disable-pip-version-check",
                ])
                .args(["--no-deps", "--no-build-isolation", "--require-hashes"])
                .args(["--retries", "1", "--timeout", "15", "-r"])
                .arg(&list)
                .output()?;
            if output.status.success() {
                continue;
            }
            let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
            if complaint.contains("DO NOT MATCH THE HASHES") {
                return Err(Failure(format!("pip: {}", complaint.trim())));
            }
            let reason = complaint.lines().rfind(|line| line.contains("ERROR"));
            return Ok(Availability::Unreachable(
                reason.unwrap_or("pip failed").trim().to_owned(),
            ));
        }
        fs::write(mark, REQUIREMENTS)?;
        Ok(Availability::Installed(tools))
    }

    /// The interpreter that has them.
    pub(crate) fn python(&self) -> PathBuf {
        self.program("python")
    }

    /// The folder of the programs.
    pub(crate) fn folder(&self) -> &Path {
        &self.bin
    }

    /// One of the programs.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }
}

/// The requirements one by one, each with the lines of its digests.
fn blocks(requirements: &str) -> Vec<String> {
    let mut blocks: Vec<String> = Vec::new();
    for line in requirements.lines().filter(|line| !line.starts_with('#')) {
        match blocks.last_mut() {
            Some(block) if line.starts_with(' ') => block.push_str(line),
            _ => blocks.push(line.to_owned()),
        }
        if let Some(block) = blocks.last_mut() {
            block.push('\n');
        }
    }
    blocks
}

const REQUIREMENTS: &str = include_str!("requirements.txt");
/// First, since the others are built with them.
const BUILD_TOOLS: [&str; 3] = ["setuptools==", "wheel==", "packaging=="];

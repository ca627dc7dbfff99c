//! Runs the built program in a directory of its own.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A directory to run commands in; gone at the end of the test.
pub(crate) struct Room {
    dir: TempDir,
}

/// What a command did.
pub(crate) struct Done {
    /// Exit code; -1 after a signal.
    pub(crate) code: i32,
    /// Standard output as text.
    pub(crate) stdout: String,
    /// Standard error as text.
    pub(crate) stderr: String,
    /// Standard output as bytes.
    pub(crate) bytes: Vec<u8>,
}

impl Room {
    pub(crate) fn new() -> Room {
        Room {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.file(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// A file with a secret, readable by its owner alone.
    pub(crate) fn write_secret(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.write(name, bytes);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        path
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.file(name)).unwrap()
    }

    /// Names of the files that are there, sorted.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// The program, without this process's settings.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_airseal"));
        command.args(args).current_dir(self.path());
        for name in [
            "AIRSEAL_SERVER",
            "AIRSEAL_TOKEN",
            "AIRSEAL_TOKEN_FILE",
            "AIRSEAL_PASSPHRASE_FILE",
            "SOURCE_DATE_EPOCH",
        ] {
            command.env_remove(name);
        }
        command.env("HOME", self.path()).env("COLUMNS", "100");
        command
    }

    /// Runs a command line, split at spaces.
    pub(crate) fn run(&self, line: &str) -> Done {
        self.run_args(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs with arguments that may hold spaces.
    pub(crate) fn run_args<S: AsRef<OsStr>>(&self, args: &[S]) -> Done {
        done(self.command(args).stdin(Stdio::null()).output().unwrap())
    }

    /// Runs with `input` on standard input.
    pub(crate) fn run_with(&self, line: &str, input: &[u8]) -> Done {
        let mut child = self
            .command(&line.split_whitespace().collect::<Vec<_>>())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().unwrap();
        let _ = writer.join();
        done(output)
    }

    /// Runs a command that must succeed; its standard output.
    #[track_caller]
    pub(crate) fn ok(&self, line: &str) -> String {
        let done = self.run(line);
        assert_eq!(
            done.code, 0,
            "airseal {line}\n{}{}",
            done.stdout, done.stderr
        );
        done.stdout
    }

    /// Runs a command that must succeed with `--json`; its one line.
    #[track_caller]
    pub(crate) fn json(&self, line: &str) -> serde_json::Value {
        let stdout = self.ok(&format!("{line} --json"));
        serde_json::from_str(stdout.trim()).unwrap_or_else(|error| panic!("{error}: {stdout}"))
    }

    /// Runs a command that must end with `code`; its standard error.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32, line: &str) -> String {
        let done = self.run(line);
        assert_eq!(
            done.code, code,
            "airseal {line}\n{}{}",
            done.stdout, done.stderr
        );
        assert!(!done.stderr.is_empty(), "airseal {line}: no word about why");
        done.stderr
    }

    /// A vendor's signing key, a device's key and a sealed file: `vendor`, `dev`, `fw.bin`, `fw.seal`.
    #[track_caller]
    pub(crate) fn with_release(self) -> Room {
        self.ok("key new --kind signing -o vendor");
        self.ok("key new --kind device -o dev");
        self.write("fw.bin", &firmware());
        self.ok(&format!("seal fw.bin -o fw.seal {SEAL}"));
        self
    }
}

/// Options of a small release.
pub(crate) const SEAL: &str = "--sign vendor.key --to dev.pub --vendor example.com --class lamp --seq 7 --version 1.2.3 --chip none";

/// Bytes that are no known kind of file, three chunks and a bit.
pub(crate) fn firmware() -> Vec<u8> {
    (0..13_000_u32).map(|i| (i * 7 + i / 256) as u8).collect()
}

/// Takes apart what a process left.
pub(crate) fn done(output: Output) -> Done {
    Done {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        bytes: output.stdout,
    }
}

/// A test that can't run here fails where everything must be tested: with `CI` or `AIRSEAL_TEST_ALL`.
#[track_caller]
pub(crate) fn skip(what: &str) {
    let all = ["CI", "AIRSEAL_TEST_ALL"]
        .iter()
        .any(|name| std::env::var_os(name).is_some());
    assert!(!all, "{what} is missing: cargo xtask setup installs it");
}

/// Runs another program in the room; `None` if it is not installed.
pub(crate) fn tool(room: &Room, program: &str, line: &str) -> Option<Output> {
    let Ok(output) = Command::new(program)
        .args(line.split_whitespace())
        .current_dir(room.path())
        .output()
    else {
        skip(program);
        return None;
    };
    assert!(
        output.status.success(),
        "{program} {line}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(output)
}

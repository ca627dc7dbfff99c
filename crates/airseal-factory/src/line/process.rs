//! One call of a program: in a group of its own, with an end in time, and within reach of who stops the station.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// Most output that is kept, bytes: a summary has some ten thousand.
const MAX_OUTPUT: u64 = 16 << 20;

/// How often a running program is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Programs that run now.
static RUNNING: Mutex<Vec<Running>> = Mutex::new(Vec::new());

#[derive(Clone, Copy)]
struct Running {
    group: Pid,
    /// Whether it changes what can't be changed back: such a program is never killed between two eFuse blocks.
    burns: bool,
}

/// What a program left.
pub(super) struct Ended {
    /// `None` if it did not end in time, and was killed.
    pub(super) status: Option<ExitStatus>,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

/// For who stops the station at once: kills programs that only read or write the flash, and waits for one that burns.
pub fn end_programs() {
    let of_all = |work: &dyn Fn(&Running) -> bool| match RUNNING.lock() {
        Ok(running) => running.iter().any(work),
        Err(_) => false,
    };
    of_all(&|program| {
        if !program.burns {
            kill(program.group);
        }
        false
    });
    while of_all(&|program| program.burns) {
        thread::sleep(LOOK);
    }
}

/// Runs it to its end, or to `limit`; one without a limit burns, and is never killed.
///
/// # Errors
/// If it does not start.
pub(super) fn run(command: &mut Command, limit: Option<Duration>) -> std::io::Result<Ended> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let listed = Listed::new(&child, limit.is_none());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        let stdout = scope.spawn(move || read(stdout));
        let stderr = scope.spawn(move || read(stderr));
        let status = wait(&mut child, listed.group, limit);
        Ok(Ended {
            status: status?,
            stdout: stdout.join().unwrap_or_default(),
            stderr: stderr.join().unwrap_or_default(),
        })
    })
}

fn wait(
    child: &mut Child,
    group: Option<Pid>,
    limit: Option<Duration>,
) -> std::io::Result<Option<ExitStatus>> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if limit.is_some_and(|limit| begun.elapsed() >= limit) {
            if let Some(group) = group {
                kill(group);
            }
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(LOOK);
    }
}

/// What is too long is dropped, so that the program never waits for its reader.
fn read(pipe: Option<impl Read>) -> Vec<u8> {
    let mut kept = Vec::new();
    if let Some(mut pipe) = pipe {
        let _ = pipe.by_ref().take(MAX_OUTPUT).read_to_end(&mut kept);
        let _ = std::io::copy(&mut pipe, &mut std::io::sink());
    }
    kept
}

fn kill(group: Pid) {
    // One that is gone already needs no signal.
    let _ = kill_process_group(group, Signal::KILL);
}

/// Its place among the running ones.
struct Listed {
    group: Option<Pid>,
}

impl Listed {
    fn new(child: &Child, burns: bool) -> Listed {
        let id = i32::try_from(child.id()).ok();
        let group = id.and_then(Pid::from_raw);
        if let (Some(group), Ok(mut running)) = (group, RUNNING.lock()) {
            running.push(Running { group, burns });
        }
        Listed { group }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        if let Ok(mut running) = RUNNING.lock() {
            running.retain(|program| Some(program.group) != self.group);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The list of running programs is one for the whole process, and so is who ends them.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_program_that_hangs_is_ended_with_its_children() {
        let _alone = ONE_AT_A_TIME.lock();
        let begun = Instant::now();
        let limit = Duration::from_millis(200);
        let ended = run(&mut shell("echo here; sleep 60 & sleep 60"), Some(limit)).expect("runs");
        assert!(ended.status.is_none());
        assert_eq!(ended.stdout, b"here\n");
        assert!(begun.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn more_output_than_is_kept_stops_no_program() {
        let _alone = ONE_AT_A_TIME.lock();
        let script = "head -c 20000000 /dev/zero; echo end >&2";
        let ended = run(&mut shell(script), Some(Duration::from_secs(60))).expect("runs");
        assert!(ended.status.is_some_and(|status| status.success()));
        assert_eq!(ended.stdout.len() as u64, MAX_OUTPUT);
        assert_eq!(ended.stderr, b"end\n");
    }

    #[test]
    fn who_stops_the_station_kills_what_reads_and_waits_for_what_burns() {
        let _alone = ONE_AT_A_TIME.lock();
        let limit = Duration::from_secs(60);
        thread::scope(|scope| {
            let reads = scope.spawn(|| run(&mut shell("sleep 60"), Some(limit)));
            let burns = scope.spawn(|| run(&mut shell("sleep 1; echo burned"), None));
            while RUNNING.lock().expect("works").len() < 2 {
                thread::sleep(LOOK);
            }
            end_programs();
            let burns = burns.join().expect("works").expect("runs");
            assert_eq!(burns.stdout, b"burned\n");
            let reads = reads.join().expect("works").expect("runs");
            assert!(reads.status.is_some_and(|status| !status.success()));
        });
    }
}

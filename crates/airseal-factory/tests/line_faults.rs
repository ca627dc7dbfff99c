//! The line stopped everywhere: at every call of a tool, before it, after it and at every piece inside it; and between any
//! two lines of the journal. Each time another computer goes on with a copy of the batch, and the board ends the same.
//!
//! Every stop is made with the same box, so that chip, flash, record and labels must be the same to the byte.
//! Runs where `AIRSEAL_ESPTOOLS` names the folder of the programs; `AIRSEAL_FAULTS=some` takes every third stop.

mod common;

use std::cell::RefCell;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use airseal_factory::journal::{Journal, Outcome, Step};
use airseal_factory::line::simulated::Fault;
use common::bench::{Line, bench, copy_tree, no_work_left, nothing, serial, spellings};

/// How a board ends.
#[derive(PartialEq)]
struct End {
    efuses: String,
    flash: Vec<u8>,
    keys: Vec<u8>,
    records: Vec<u8>,
    labels: Vec<u8>,
    boxes: usize,
}

fn end(line: &Line, batch: &Path, board: &Path) -> End {
    let read = |path: PathBuf| {
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    End {
        efuses: line.board_in(board, 1).summary().expect("a summary"),
        flash: read(board.join("flash.bin")),
        keys: [read(board.join("flash-key")), read(board.join("seed"))].concat(),
        records: read(batch.join("devices.jsonl")),
        labels: read(batch.join("labels/labels.csv")),
        boxes: fs::read_dir(batch.join("sealed")).expect("boxes").count(),
    }
}

/// A batch nobody worked on, in a folder of its own.
struct Bench<'l> {
    line: &'l Line,
    folder: tempfile::TempDir,
}

impl<'l> Bench<'l> {
    fn new(line: &'l Line) -> Bench<'l> {
        let folder = tempfile::tempdir().expect("a folder");
        copy_tree(&line.batch(), &folder.path().join("batch"));
        Bench { line, folder }
    }

    fn batch(&self) -> PathBuf {
        self.folder.path().join("batch")
    }

    fn board(&self) -> PathBuf {
        self.folder.path().join("board")
    }

    /// Works on the board until it is finished or stopped; returns the calls, and the pieces of the one that was struck.
    fn work(&self, fault: Option<(usize, Fault)>) -> (bool, Vec<Vec<String>>, Option<usize>) {
        let mut board = self.line.board_in(&self.board(), 1);
        if let Some((at, fault)) = fault {
            board.set_fault(at, fault);
        }
        let mut station = self
            .line
            .station_in(&self.batch(), "line.key", None, &nothing);
        let done = station.run(&mut bench(&station, &mut board), Some(&serial(1)));
        drop(station);
        no_work_left(&self.batch());
        (done.is_ok(), board.calls().to_vec(), board.struck_pieces())
    }

    /// Another computer goes on: a copy of the batch, at another place.
    fn swap_computer(&mut self) {
        let folder = tempfile::tempdir().expect("a folder");
        copy_tree(self.folder.path(), folder.path());
        self.folder = folder;
    }

    fn tear_journal(&self) {
        let mut journal = fs::OpenOptions::new()
            .append(true)
            .open(self.batch().join("journal.jsonl"))
            .expect("a journal");
        journal.write_all(b"{\"n\":99,\"prev\":\"00").expect("torn");
    }

    fn assert_end(&self, want: &End, what: &str) {
        let found = end(self.line, &self.batch(), &self.board());
        assert!(
            found.efuses == want.efuses,
            "{what}: other eFuses\n{}\n{}",
            found.efuses,
            want.efuses
        );
        assert!(found.flash == want.flash, "{what}: another flash");
        assert!(found.keys == want.keys, "{what}: other keys");
        assert!(found == *want, "{what}: another record, label or box");
        // One chip, one serial, and its keys were announced for no other.
        let entries = Journal::read(&self.batch().join("journal.jsonl")).expect("a journal");
        assert!(
            entries
                .iter()
                .all(|entry| entry.step == Step::Provision || entry.serial == serial(1)),
            "{what}"
        );
        let finished = entries
            .iter()
            .filter(|entry| (entry.step, entry.outcome) == (Step::Record, Outcome::Done));
        assert_eq!(finished.count(), 1, "{what}");
    }
}

fn assert_calls(calls: &[Vec<String>], secrets: &[Vec<u8>], what: &str) {
    for word in calls.iter().flatten() {
        assert!(!word.contains("force"), "{what}: {word}");
        assert!(
            !common::bench::holds(word.as_bytes(), secrets),
            "{what}: a secret among the words"
        );
    }
    let mut burned: Vec<&String> = calls
        .iter()
        .flatten()
        .filter(|word| word.ends_with("flash-key.bin"))
        .collect();
    burned.dedup();
    assert!(burned.len() <= 1, "{what}: {burned:?}");
}

/// Works through a list on two threads.
fn for_each<T: Send>(list: Vec<T>, work: impl Fn(T) + Sync) {
    let list = Mutex::new(list);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(item) = list.lock().expect("the list").pop() else {
                        return;
                    };
                    work(item);
                }
            });
        }
    });
}

fn thinned<T>(list: Vec<T>) -> Vec<T> {
    let some = std::env::var_os("AIRSEAL_FAULTS").is_some_and(|wanted| wanted == "some");
    list.into_iter().step_by(if some { 3 } else { 1 }).collect()
}

#[test]
fn stopped_at_every_call_before_after_and_inside_the_board_ends_the_same() {
    let Some(line) = Line::new() else { return };
    let secrets = spellings(&line.secrets(&serial(1)));
    let reference = Bench::new(&line);
    let (finished, calls, _) = reference.work(None);
    assert!(finished);
    let want = end(&line, &reference.batch(), &reference.board());
    let mut stops: Vec<(usize, Fault)> = Vec::new();
    for (at, call) in calls.iter().enumerate() {
        let probe = Bench::new(&line);
        let pieces = match call
            .iter()
            .any(|word| word == "write-flash" || word.starts_with("burn-"))
        {
            true => probe.work(Some((at, Fault::Killed(0)))).2.expect("a kill"),
            false => 0,
        };
        stops.extend([(at, Fault::Before), (at, Fault::After)]);
        stops.extend((0..=pieces).map(|pieces| (at, Fault::Killed(pieces))));
    }
    let tried = AtomicUsize::new(0);
    for_each(thinned(stops), |(at, fault)| {
        let what = format!("{fault:?} at call {at}: {}", calls[at].join(" "));
        let mut at_work = Bench::new(&line);
        let (finished, calls, _) = at_work.work(Some((at, fault)));
        assert_calls(&calls, &secrets, &what);
        at_work.swap_computer();
        // Writing is tried again by itself; every other stop ends the run.
        if !finished {
            at_work.tear_journal();
            let (finished, calls, _) = at_work.work(None);
            assert!(finished, "{what}: not finished by the second run");
            assert_calls(&calls, &secrets, &what);
        }
        at_work.assert_end(&want, &what);
        tried.fetch_add(1, Ordering::SeqCst);
    });
    println!("{} stops", tried.into_inner());
}

/// The power fails between any two lines of the journal, or while one is written.
#[test]
fn cut_at_every_line_of_the_journal_the_board_ends_the_same() {
    let Some(line) = Line::new() else { return };
    let reference = Bench::new(&line);
    let (batch, board) = (reference.batch(), reference.board());
    let shots: RefCell<Vec<(String, tempfile::TempDir)>> = RefCell::default();
    {
        // The state of the world just before each line.
        let shoot = |_: &str, step: Step, outcome: Outcome| {
            let shot = tempfile::tempdir().expect("a folder");
            copy_tree(&batch, &shot.path().join("batch"));
            copy_tree(&board, &shot.path().join("board"));
            shots
                .borrow_mut()
                .push((format!("before {} {outcome:?}", step.name()), shot));
        };
        let mut board = line.board_in(&board, 1);
        let mut station = line.station_in(&batch, "line.key", None, &shoot);
        station
            .run(&mut bench(&station, &mut board), Some(&serial(1)))
            .expect("finished");
    }
    let want = end(&line, &batch, &board);
    let shots = shots.into_inner();
    assert!(shots.len() >= 16, "{} lines", shots.len());
    for_each(thinned(shots), |(what, folder)| {
        let cut = Bench {
            line: &line,
            folder,
        };
        cut.tear_journal();
        let (finished, _, _) = cut.work(None);
        assert!(finished, "{what}: not finished");
        cut.assert_end(&want, &what);
    });
}

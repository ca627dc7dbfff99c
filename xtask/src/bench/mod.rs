//! `cargo xtask bench`: our command against the scheme of the chip vendor's tool and against what
//! SHA-256 alone needs for the same bytes, as whole processes, all in one run.

mod esp;
pub(crate) mod factory;

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::setup;
use crate::vendor_tools::{Availability, VendorTools};
use crate::workshop::{Failure, Workshop, last_object, read, run as run_program};

/// What to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// The work to measure
    name: Name,
    /// Repetitions; the fastest counts
    #[arg(long, default_value_t = 7)]
    rounds: u32,
    /// End with one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Name {
    /// Seal 64 MiB (and 1 GiB, for the memory)
    Seal,
    /// Verify and open 64 MiB (and 1 GiB, for the memory)
    Open,
    /// Espressif's formats and MCUboot's, against espsecure, OpenSSL, the vendor's scheme and imgtool
    Esp,
    /// 500 devices with an application of 1.5 MB, each with its own key
    Factory,
}

/// Work on a sealed release.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    Seal,
    Open,
}

/// Measures, prints, and compares with what is asked for. A figure that is missed is said, not
/// hidden, and is no failure of the command: a busy machine misses all of them.
pub(crate) fn run(workshop: &Workshop, options: &Options) -> Result<bool, Failure> {
    let work = match options.name {
        Name::Seal => Work::Seal,
        Name::Open => Work::Open,
        Name::Esp => {
            let tools = match VendorTools::install(workshop)? {
                Availability::Installed(tools) => tools,
                Availability::Unreachable(reason) => {
                    return Err(Failure(format!("no tools to compare with: {reason}")));
                }
            };
            let figures = Bench::with(workshop, FULL, |bench| {
                esp::measure(bench, &tools, options.rounds)
            })?;
            figures.print();
            report(&figures.goals(), options.json.then(|| figures.object()));
            return Ok(true);
        }
        Name::Factory => {
            let figures = Bench::with(workshop, FULL, factory::measure)?;
            println!("{}", figures.sentence());
            report(&figures.goals(), options.json.then(|| figures.object()));
            return Ok(true);
        }
    };
    let figures = Bench::with(workshop, FULL, |bench| bench.measure(work, options.rounds))?;
    println!("{}", figures.sentence());
    report(&figures.goals(), options.json.then(|| figures.object()));
    Ok(true)
}

/// The step of `cargo xtask test`: every bench once, with little work and the programs that the tests use, so that the
/// benches stay able to run. The figures mean nothing then and are not shown.
pub(crate) fn step(workshop: &Workshop) -> Result<String, Failure> {
    let tools = VendorTools::install(workshop)?;
    Bench::with(workshop, SMOKE, |bench| {
        bench.measure(Work::Seal, 1)?;
        bench.measure(Work::Open, 1)?;
        match tools {
            Availability::Installed(tools) => {
                esp::measure(bench, &tools, 1)?;
                Ok("seal, open and esp ran".to_owned())
            }
            Availability::Unreachable(reason) => Ok(format!(
                "seal and open ran, esp NOT: the vendors' tools can't be installed from here ({reason})"
            )),
        }
    })
}

fn report(goals: &[Goal], object: Option<Value>) {
    for goal in goals {
        println!("{}", goal.sentence());
    }
    if let Some(object) = object {
        println!("{object}");
    }
}

struct Bench<'w> {
    workshop: &'w Workshop,
    python: PathBuf,
    airseal: PathBuf,
    folder: PathBuf,
    sizes: Sizes,
}

/// How much work there is, MiB, and how the programs are built.
#[derive(Clone, Copy)]
struct Sizes {
    input: u64,
    /// For the memory.
    large: u64,
    esp32: u64,
    profile: &'static str,
}

const FULL: Sizes = Sizes {
    input: 64,
    large: 1024,
    esp32: 16,
    profile: "release",
};
const SMOKE: Sizes = Sizes {
    input: 1,
    large: 2,
    esp32: 1,
    profile: "dev",
};

struct Figures {
    name: &'static str,
    ours: f64,
    peer: f64,
    /// The peer given a public key only, which it loads faster; sealing only.
    peer_public_key: Option<f64>,
    sha256: f64,
    limit: f64,
    peak_64_mib: u64,
    peak_1_gib: u64,
}

impl<'w> Bench<'w> {
    /// Does `work` in a folder of its own, which is removed afterwards.
    fn with<T>(
        workshop: &'w Workshop,
        sizes: Sizes,
        work: impl FnOnce(&Self) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let bench = Self::prepare(workshop, sizes)?;
        let outcome = work(&bench);
        fs::remove_dir_all(&bench.folder)?;
        outcome
    }

    fn prepare(workshop: &'w Workshop, sizes: Sizes) -> Result<Self, Failure> {
        // The interpreter itself: a wrapper script in front of it would be counted as work of the peer.
        let python = read(
            workshop
                .command(setup::python(workshop)?)
                .args(["-c", "import sys; print(sys.executable)"]),
        )?;
        let python = PathBuf::from(python.trim());
        run_program(&mut workshop.cargo([
            "build",
            "--quiet",
            "--locked",
            "--profile",
            sizes.profile,
            "--package",
            "airseal",
        ]))?;
        let folder = workshop.target.join("bench");
        fs::create_dir_all(&folder)?;
        let mut bench = Self {
            workshop,
            python,
            airseal: PathBuf::new(),
            folder,
            sizes,
        };
        bench.airseal = bench.built("airseal");
        if !bench.path("vendor.key").exists() {
            bench.airseal(&["key", "new", "--kind", "signing", "-o", "vendor"])?;
            bench.airseal(&["key", "new", "--kind", "device", "-o", "device"])?;
        }
        bench.script(&["peer-keys", "."])?;
        bench.fill(INPUT, sizes.input)?;
        Ok(bench)
    }

    fn measure(&self, work: Work, rounds: u32) -> Result<Figures, Failure> {
        let [mut ours, mut peer, mut peer_public_key, mut sha256] = [f64::MAX; 4];
        let mut peak_64_mib = 0;
        if work == Work::Open {
            self.ours(Work::Seal, INPUT, "64m.seal")?;
            self.peer("peer-seal", "peer.key", INPUT, "64m.peer")?;
        }
        for _ in 0..rounds {
            let (measured, other) = match work {
                Work::Seal => (
                    self.ours(Work::Seal, INPUT, "64m.seal")?,
                    self.peer("peer-seal", "peer.key", INPUT, "64m.peer")?,
                ),
                Work::Open => (
                    self.ours(Work::Open, "64m.seal", "64m.out")?,
                    self.peer("peer-open", "peer.key", "64m.peer", "64m.out")?,
                ),
            };
            ours = ours.min(seconds(&measured));
            peer = peer.min(seconds(&other));
            if work == Work::Seal {
                let public = self.peer("peer-seal", "peer.pub", INPUT, "64m.peer")?;
                peer_public_key = peer_public_key.min(seconds(&public));
            }
            sha256 = sha256.min(seconds(&self.script(&["sha256", INPUT])?));
            peak_64_mib = peak_64_mib.max(peak(&measured));
        }
        self.fill(LARGE, self.sizes.large)?;
        let mut large = self.ours(Work::Seal, LARGE, "1g.seal")?;
        if work == Work::Open {
            large = self.ours(Work::Open, "1g.seal", "1g.out")?;
        }
        let name = if work == Work::Seal { "seal" } else { "open" };
        let limit = sha256 * passes(work);
        Ok(Figures {
            name,
            ours,
            peer,
            peer_public_key: (work == Work::Seal).then_some(peer_public_key),
            sha256,
            limit,
            peak_64_mib,
            peak_1_gib: peak(&large),
        })
    }

    fn ours(&self, work: Work, input: &str, output: &str) -> Result<Value, Failure> {
        let airseal = self.airseal.to_string_lossy();
        let mut arguments = vec!["run", &airseal];
        match work {
            Work::Seal => arguments.extend([
                "seal",
                input,
                "-o",
                output,
                "--force",
                "--sign",
                "vendor.key",
                "--to",
                "device.pub",
                "--vendor",
                "bench",
                "--class",
                "bench",
                "--chip",
                "none",
                "--seq",
                "1",
                "--version",
                "1.0.0",
            ]),
            Work::Open => arguments.extend([
                "open",
                input,
                "-o",
                output,
                "--force",
                "--trust",
                "vendor.pub",
                "--key",
                "device.key",
            ]),
        }
        self.script(&arguments)
    }

    fn peer(&self, action: &str, key: &str, input: &str, output: &str) -> Result<Value, Failure> {
        let python = self.python.to_string_lossy();
        let script = self.script_path();
        let script = script.to_string_lossy();
        self.script(&["run", &python, &script, action, key, input, output])
    }

    fn script(&self, arguments: &[&str]) -> Result<Value, Failure> {
        let mut command = self.workshop.command(&self.python);
        command
            .current_dir(&self.folder)
            .arg(self.script_path())
            .args(arguments);
        let text = read(&mut command)?;
        if text.is_empty() {
            Ok(Value::Null)
        } else {
            last_object(&text)
        }
    }

    fn airseal(&self, arguments: &[&str]) -> Result<(), Failure> {
        run_program(
            self.workshop
                .command(&self.airseal)
                .current_dir(&self.folder)
                .args(arguments),
        )
    }

    fn script_path(&self) -> PathBuf {
        self.workshop.root.join("xtask/src/bench/measure.py")
    }

    /// A program of ours.
    fn built(&self, name: &str) -> PathBuf {
        let folder = match self.sizes.profile {
            "dev" => "debug",
            profile => profile,
        };
        self.workshop.target.join(folder).join(name)
    }

    fn remove(&self, name: &str) -> Result<(), Failure> {
        match fs::remove_file(self.path(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Bytes that no file system stores as a hole: a counter, scrambled.
    fn fill(&self, name: &str, mebibytes: u64) -> Result<(), Failure> {
        let mut file = std::io::BufWriter::new(fs::File::create(self.path(name))?);
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..mebibytes * 131_072 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            file.write_all(&state.to_le_bytes())?;
        }
        Ok(file.flush()?)
    }
}

impl Figures {
    fn sentence(&self) -> String {
        format!(
            "{} of 64 MiB: {:.3} s; the vendor's scheme {:.3} s ({:.1} times as long); hashing alone {:.3} s ({:.2} times that); \
             peak memory {} KiB, for 1 GiB {} KiB",
            self.name,
            self.ours,
            self.peer,
            self.peer / self.ours,
            self.limit,
            self.ours / self.limit,
            self.peak_64_mib,
            self.peak_1_gib
        )
    }

    fn goals(&self) -> Vec<Goal> {
        let [ratio, limit_ratio] = [self.peer / self.ours, self.ours / self.limit];
        let memory = f64::from(u32::try_from(self.peak_1_gib).unwrap_or(u32::MAX)) / 1024.0;
        let mut goals = vec![Goal::at_most("peak memory, MiB", 32.0, memory)];
        if self.peer_public_key.is_some() {
            goals.push(Goal::at_most("times hashing alone", 1.3, limit_ratio));
            goals.push(Goal::at_least(
                "times as fast as the vendor's scheme",
                4.0,
                ratio,
            ));
        } else {
            goals.push(Goal::at_most("times hashing alone", 1.5, limit_ratio));
        }
        goals
    }

    fn object(&self) -> Value {
        let goals: Vec<Value> = self.goals().iter().map(Goal::object).collect();
        json!({
            "goals": goals,
            "name": self.name,
            "ours": self.ours,
            "peer": self.peer,
            "ratio": self.peer / self.ours,
            "ratio_public_key": self.peer_public_key.map(|peer| peer / self.ours),
            "limit": self.limit,
            "limit_ratio": self.ours / self.limit,
            "sha256_one_pass": self.sha256,
            "peak_kib_64_mib": self.peak_64_mib,
            "peak_kib_1_gib": self.peak_1_gib,
        })
    }
}

/// What is asked of a figure.
struct Goal {
    what: &'static str,
    bound: &'static str,
    asked: f64,
    measured: f64,
    is_met: bool,
}

impl Goal {
    fn at_most(what: &'static str, asked: f64, measured: f64) -> Self {
        Self {
            what,
            bound: "at most",
            asked,
            measured,
            is_met: measured <= asked,
        }
    }

    fn at_least(what: &'static str, asked: f64, measured: f64) -> Self {
        Self {
            what,
            bound: "at least",
            asked,
            measured,
            is_met: measured >= asked,
        }
    }

    fn sentence(&self) -> String {
        format!(
            "  {:<38} {:>6.2}, asked {} {}: {}",
            self.what,
            self.measured,
            self.bound,
            self.asked,
            if self.is_met { "met" } else { "NOT MET" }
        )
    }

    fn object(&self) -> Value {
        json!({
            "what": self.what,
            "bound": self.bound,
            "asked": self.asked,
            "measured": self.measured,
            "met": self.is_met,
        })
    }
}

/// How long hashing alone takes at the least, in passes of one core over all bytes. The image digest
/// is one hash over the image that only starts when the content key is known; before it, sealing
/// hashes all bytes once on every core to derive that key.
fn passes(work: Work) -> f64 {
    let cores = std::thread::available_parallelism()
        .map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX));
    match work {
        Work::Seal => 1.0 + 1.0 / f64::from(cores),
        Work::Open => 1.0,
    }
}

const INPUT: &str = "input.bin";
const LARGE: &str = "large.bin";

fn seconds(measured: &Value) -> f64 {
    measured["seconds"].as_f64().unwrap_or(f64::MAX)
}

fn peak(measured: &Value) -> u64 {
    measured["peak_kib"].as_u64().unwrap_or(u64::MAX)
}

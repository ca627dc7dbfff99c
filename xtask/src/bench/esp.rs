//! `cargo xtask bench esp`: our commands for Espressif's and MCUboot's formats against the tools they take the place of.

use std::path::Path;

use serde_json::{Value, json};

use super::{Bench, Goal, INPUT, LARGE, peak, seconds};
use crate::setup;
use crate::vendor_tools::VendorTools;
use crate::workshop::{Failure, last_object, quietly, read, run as run_program};

/// What was measured, all in one run.
pub(super) struct Figures {
    pairs: Vec<Pair>,
    peak_64_mib: u64,
    peak_1_gib: u64,
}

/// One piece of work, done by us and by a peer.
struct Pair {
    name: &'static str,
    peer_name: &'static str,
    asked: Option<f64>,
    ours: Time,
    peer: Time,
}

/// Of the fastest run.
#[derive(Clone, Copy)]
struct Time {
    wall: f64,
    cpu: f64,
}

pub(super) fn measure(
    bench: &Bench<'_>,
    tools: &VendorTools,
    rounds: u32,
) -> Result<Figures, Failure> {
    Run {
        bench,
        tools,
        rounds,
    }
    .all()
}

struct Run<'b> {
    bench: &'b Bench<'b>,
    tools: &'b VendorTools,
    rounds: u32,
}

impl Run<'_> {
    fn all(&self) -> Result<Figures, Failure> {
        self.prepare()?;
        let pairs = vec![
            self.xts()?,
            self.xts_in_memory()?,
            self.xts_on_one_core()?,
            self.legacy()?,
            self.encrypted_img()?,
            self.mcuboot("mcuboot, 64 MiB", INPUT, Some(4.0))?,
            self.mcuboot("mcuboot, 1 MiB", "small.bin", None)?,
        ];
        let peak_of = |input| {
            self.ours("run", &with_files(&ENCRYPTED_IMG, input, OUT))
                .map(|measured| peak(&measured))
        };
        let peak_64_mib = peak_of(INPUT)?;
        self.bench.fill(LARGE, self.bench.sizes.large)?;
        let peak_1_gib = peak_of(LARGE)?;
        Ok(Figures {
            pairs,
            peak_64_mib,
            peak_1_gib,
        })
    }

    /// Keys, inputs of each size, and the program that calls OpenSSL.
    fn prepare(&self) -> Result<(), Failure> {
        setup::openssl()?;
        if !self.bench.path("sign.pem").exists() {
            for name in ["sign", "device"] {
                let private = format!("{name}.pem");
                self.openssl(&[
                    "genpkey",
                    "-algorithm",
                    "EC",
                    "-pkeyopt",
                    "ec_paramgen_curve:P-256",
                    "-out",
                    &private,
                ])?;
                self.openssl(&[
                    "pkey",
                    "-in",
                    &private,
                    "-pubout",
                    "-out",
                    &format!("{name}.pub"),
                ])?;
            }
        }
        self.openssl(&["rand", "-out", "xts.key", "64"])?;
        self.openssl(&["rand", "-out", "esp32.key", "32"])?;
        self.bench.fill("esp32.bin", self.bench.sizes.esp32)?;
        self.bench.fill("small.bin", 1)?;
        run_program(&mut self.bench.workshop.cargo([
            "build",
            "--quiet",
            "--locked",
            "--profile",
            self.bench.sizes.profile,
            "--package",
            "airseal-esp",
            "--example",
            "xts_speed",
        ]))?;
        let source = self
            .bench
            .workshop
            .root
            .join("xtask/src/bench/openssl_units.c");
        quietly(
            self.bench
                .workshop
                .command("cc")
                .current_dir(&self.bench.folder)
                .args(["-O3", "-o", "openssl_units"])
                .arg(source)
                .arg("-l:libcrypto.so.3"),
        )
    }

    fn xts(&self) -> Result<Pair, Failure> {
        let peer = [
            "encrypt-flash-data",
            "--aes-xts",
            "--keyfile",
            "xts.key",
            "--address",
            "0",
            "--output",
            PEER_OUT,
            INPUT,
        ];
        let espsecure = self.tools.program("espsecure");
        let espsecure = espsecure.to_string_lossy();
        self.pair(
            (
                "flash-encrypt XTS-AES-256, 64 MiB",
                "espsecure",
                Some(100.0),
            ),
            || self.ours("run", &XTS),
            || self.program("run", &espsecure, &peer),
        )
        .and_then(|pair| self.same(OUT, PEER_OUT).map(|()| pair))
    }

    /// Neither files nor the start of a process, which cost both sides the same.
    fn xts_in_memory(&self) -> Result<Pair, Failure> {
        let example = self.bench.built("examples/xts_speed");
        let timed = |program: &Path, arguments: &[&str]| {
            let mut command = self.bench.workshop.command(program);
            last_object(&read(
                command.current_dir(&self.bench.folder).args(arguments),
            )?)
        };
        let peer = self.bench.path("openssl_units");
        self.pair(
            (
                "its cipher in memory, one core",
                "OpenSSL, a call per unit",
                Some(3.0),
            ),
            || timed(&example, &[]),
            || timed(&peer, &["xts.key"]),
        )
    }

    fn xts_on_one_core(&self) -> Result<Pair, Failure> {
        self.pair(
            (
                "the whole command on one core",
                "OpenSSL, a call per unit",
                None,
            ),
            || self.ours("run-on-one-core", &XTS),
            || {
                self.program(
                    "run-on-one-core",
                    "./openssl_units",
                    &["xts.key", INPUT, PEER_OUT],
                )
            },
        )
        .and_then(|pair| self.same(OUT, PEER_OUT).map(|()| pair))
    }

    /// 16 MiB is all that the chip maps.
    fn legacy(&self) -> Result<Pair, Failure> {
        let ours = [
            "esp",
            "flash-encrypt",
            "--chip",
            "esp32",
            "--key",
            "esp32.key",
            "--address",
            "0",
            "esp32.bin",
            OUT,
            "--force",
        ];
        let peer = [
            "encrypt-flash-data",
            "--keyfile",
            "esp32.key",
            "--address",
            "0",
            "--output",
            PEER_OUT,
            "esp32.bin",
        ];
        let espsecure = self.tools.program("espsecure");
        let espsecure = espsecure.to_string_lossy();
        self.pair(
            ("flash-encrypt ESP32, 16 MiB", "espsecure", Some(200.0)),
            || self.ours("run", &ours),
            || self.program("run", &espsecure, &peer),
        )
        .and_then(|pair| self.same(OUT, PEER_OUT).map(|()| pair))
    }

    /// The peer has a public key, which it loads faster than a private one.
    fn encrypted_img(&self) -> Result<Pair, Failure> {
        self.pair(
            (
                "encrypted-img encrypt, 64 MiB",
                "the vendor's scheme",
                Some(3.0),
            ),
            || self.ours("run", &with_files(&ENCRYPTED_IMG, INPUT, OUT)),
            || self.bench.peer("peer-seal", "peer.pub", INPUT, PEER_OUT),
        )
    }

    fn mcuboot(
        &self,
        name: &'static str,
        input: &str,
        asked: Option<f64>,
    ) -> Result<Pair, Failure> {
        let ours = [
            "bridge",
            "mcuboot",
            "encrypt",
            "--sign",
            "sign.pem",
            "--to",
            "device.pub",
            "--version",
            "1.0.0",
            input,
            OUT,
            "--force",
        ];
        let peer = [
            "sign",
            "--key",
            "sign.pem",
            "--encrypt",
            "device.pub",
            "--version",
            "1.0.0",
            "--align",
            "4",
            "-H",
            "32",
            "--pad-header",
            "-S",
            "0x8000000",
            input,
            PEER_OUT,
        ];
        let imgtool = self.tools.program("imgtool");
        let imgtool = imgtool.to_string_lossy();
        self.pair(
            (name, "imgtool", asked),
            || self.ours("run", &ours),
            || self.program("run", &imgtool, &peer),
        )
    }

    /// Runs both in turn; the fastest run of each counts. A peer that needs seconds is asked three times.
    fn pair(
        &self,
        (name, peer_name, asked): (&'static str, &'static str, Option<f64>),
        ours: impl Fn() -> Result<Value, Failure>,
        peer: impl Fn() -> Result<Value, Failure>,
    ) -> Result<Pair, Failure> {
        // A new file each time: before it takes the place of another, some file systems write it out, which measures the disk.
        let ours = || {
            self.bench.remove(OUT)?;
            ours()
        };
        let peer = || {
            self.bench.remove(PEER_OUT)?;
            peer()
        };
        let slow = seconds(&peer()?) > 1.0;
        let mut times = [Time {
            wall: f64::MAX,
            cpu: f64::MAX,
        }; 2];
        for round in 0..self.rounds {
            times[0].improve(&ours()?);
            if !slow || round < SLOW_ROUNDS {
                times[1].improve(&peer()?);
            }
        }
        let [ours, peer] = times;
        Ok(Pair {
            name,
            peer_name,
            asked,
            ours,
            peer,
        })
    }

    fn ours(&self, how: &str, arguments: &[&str]) -> Result<Value, Failure> {
        self.program(how, &self.bench.airseal.to_string_lossy(), arguments)
    }

    fn program(&self, how: &str, program: &str, arguments: &[&str]) -> Result<Value, Failure> {
        self.bench.script(&[&[how, program], arguments].concat())
    }

    fn openssl(&self, arguments: &[&str]) -> Result<(), Failure> {
        quietly(
            self.bench
                .workshop
                .command("openssl")
                .current_dir(&self.bench.folder)
                .args(arguments),
        )
    }

    /// Peers that do something else would be no peers.
    fn same(&self, ours: &str, peer: &str) -> Result<(), Failure> {
        if std::fs::read(self.bench.path(ours))? == std::fs::read(self.bench.path(peer))? {
            return Ok(());
        }
        Err(Failure(format!("{ours} and {peer} differ")))
    }
}

impl Time {
    fn improve(&mut self, measured: &Value) {
        self.wall = self.wall.min(seconds(measured));
        self.cpu = self.cpu.min(
            measured["cpu_seconds"]
                .as_f64()
                .unwrap_or(seconds(measured)),
        );
    }
}

impl Pair {
    fn ratio(&self) -> f64 {
        self.peer.wall / self.ours.wall
    }

    fn object(&self) -> Value {
        json!({
            "name": self.name,
            "peer_name": self.peer_name,
            "ours": self.ours.wall,
            "ours_cpu": self.ours.cpu,
            "peer": self.peer.wall,
            "peer_cpu": self.peer.cpu,
            "ratio": self.ratio(),
            "cpu_ratio": self.peer.cpu / self.ours.cpu,
            "asked": self.asked,
        })
    }
}

impl Figures {
    pub(super) fn print(&self) {
        println!(
            "{:<36} {:>8} {:>8}   {:<26} {:>8} {:>8} {:>7} {:>7}",
            "ours", "s", "CPU s", "peer", "s", "CPU s", "ratio", "of CPU"
        );
        for pair in &self.pairs {
            println!(
                "{:<36} {:>8.3} {:>8.3}   {:<26} {:>8.3} {:>8.3} {:>7.1} {:>7.1}",
                pair.name,
                pair.ours.wall,
                pair.ours.cpu,
                pair.peer_name,
                pair.peer.wall,
                pair.peer.cpu,
                pair.ratio(),
                pair.peer.cpu / pair.ours.cpu
            );
        }
        println!(
            "peak memory of encrypted-img: {} KiB, for 1 GiB {} KiB",
            self.peak_64_mib, self.peak_1_gib
        );
    }

    pub(super) fn goals(&self) -> Vec<Goal> {
        let mut goals: Vec<Goal> = self
            .pairs
            .iter()
            .filter_map(|pair| Some(Goal::at_least(pair.name, pair.asked?, pair.ratio())))
            .collect();
        let growth =
            u32::try_from(self.peak_1_gib.saturating_sub(self.peak_64_mib)).unwrap_or(u32::MAX);
        goals.push(Goal::at_most(
            "memory for 1 GiB above 64 MiB, KiB",
            1024.0,
            f64::from(growth),
        ));
        goals
    }

    pub(super) fn object(&self) -> Value {
        json!({
            "name": "esp",
            "goals": self.goals().iter().map(Goal::object).collect::<Vec<_>>(),
            "pairs": self.pairs.iter().map(Pair::object).collect::<Vec<_>>(),
            "peak_kib_64_mib": self.peak_64_mib,
            "peak_kib_1_gib": self.peak_1_gib,
        })
    }
}

fn with_files<'a>(command: &[&'a str], input: &'a str, output: &'a str) -> Vec<&'a str> {
    [command, &[input, output, "--force"]].concat()
}

const XTS: [&str; 11] = [
    "esp",
    "flash-encrypt",
    "--chip",
    "esp32s3",
    "--key",
    "xts.key",
    "--address",
    "0",
    INPUT,
    OUT,
    "--force",
];
const ENCRYPTED_IMG: [&str; 5] = ["esp", "encrypted-img", "encrypt", "--key", "peer.pub"];
const OUT: &str = "out.bin";
const PEER_OUT: &str = "peer.out";
const SLOW_ROUNDS: u32 = 3;

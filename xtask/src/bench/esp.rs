//! `cargo xtask bench esp`: our commands for Espressif's and MCUboot's formats against the tools they take the place of.

use std::path::Path;

use serde_json::{Value, json};

use super::{Bench, Goal, peak, seconds};
use crate::setup;
use crate::vendor_tools::{Availability, VendorTools};
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

pub(super) fn measure(bench: &Bench<'_>, rounds: u32) -> Result<Figures, Failure> {
    let tools = match VendorTools::install(bench.workshop)? {
        Availability::Installed(tools) => tools,
        Availability::Unreachable(reason) => {
            return Err(Failure(format!("no tools to compare with: {reason}")));
        }
    };
    Run {
        bench,
        tools,
        rounds,
    }
    .all()
}

struct Run<'b> {
    bench: &'b Bench<'b>,
    tools: VendorTools,
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
            self.mcuboot("mcuboot, 64 MiB", "64m.bin", Some(4.0))?,
            self.mcuboot("mcuboot, 1 MiB", "1m.bin", None)?,
        ];
        let peak_64_mib =
            peak(&self.ours("run", &with_files(&ENCRYPTED_IMG, "64m.bin", "64m.out"))?);
        self.bench.fill("1g.bin", 1024)?;
        let peak_1_gib = peak(&self.ours("run", &with_files(&ENCRYPTED_IMG, "1g.bin", "1g.out"))?);
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
        self.bench.fill("16m.bin", 16)?;
        self.bench.fill("1m.bin", 1)?;
        run_program(&mut self.bench.workshop.cargo([
            "build",
            "--quiet",
            "--locked",
            "--release",
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
            "peer.out",
            "64m.bin",
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
        .and_then(|pair| self.same("out.bin", "peer.out").map(|()| pair))
    }

    /// Neither files nor the start of a process, which cost both sides the same.
    fn xts_in_memory(&self) -> Result<Pair, Failure> {
        let example = self
            .bench
            .workshop
            .target
            .join("release/examples/xts_speed");
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
                    &["xts.key", "64m.bin", "peer.out"],
                )
            },
        )
        .and_then(|pair| self.same("out.bin", "peer.out").map(|()| pair))
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
            "16m.bin",
            "out.bin",
            "--force",
        ];
        let peer = [
            "encrypt-flash-data",
            "--keyfile",
            "esp32.key",
            "--address",
            "0",
            "--output",
            "peer.out",
            "16m.bin",
        ];
        let espsecure = self.tools.program("espsecure");
        let espsecure = espsecure.to_string_lossy();
        self.pair(
            ("flash-encrypt ESP32, 16 MiB", "espsecure", Some(200.0)),
            || self.ours("run", &ours),
            || self.program("run", &espsecure, &peer),
        )
        .and_then(|pair| self.same("out.bin", "peer.out").map(|()| pair))
    }

    /// The peer has a public key, which it loads faster than a private one.
    fn encrypted_img(&self) -> Result<Pair, Failure> {
        self.pair(
            (
                "encrypted-img encrypt, 64 MiB",
                "the vendor's scheme",
                Some(3.0),
            ),
            || self.ours("run", &with_files(&ENCRYPTED_IMG, "64m.bin", "out.bin")),
            || {
                self.bench
                    .peer("peer-seal", "peer.pub", "64m.bin", "peer.out")
            },
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
            "out.bin",
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
            "peer.out",
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
    "64m.bin",
    "out.bin",
    "--force",
];
const ENCRYPTED_IMG: [&str; 5] = ["esp", "encrypted-img", "encrypt", "--key", "peer.pub"];
const SLOW_ROUNDS: u32 = 3;

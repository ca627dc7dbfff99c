//! `cargo xtask bench factory`: 500 devices with an application of 1.5 MB, each with its own XTS key.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Bench, Goal, peak, seconds};
use crate::workshop::{Failure, Workshop, quietly};

/// What was measured.
pub(super) struct Figures {
    devices: u64,
    /// Boxes alone, seconds.
    boxes: f64,
    /// Boxes, and every region of every device encrypted and written, seconds.
    files: f64,
    /// Encrypting the bytes alone, seconds.
    cipher: f64,
    /// Bytes in the batch for each device beside what is common, boxes alone.
    disk_per_device: u64,
    peak_few: u64,
    peak_all: u64,
}

const DEVICES: u64 = 500;
const FEW: u64 = 50;

pub(super) fn measure(bench: &Bench<'_>) -> Result<Figures, Failure> {
    let batch = Batch {
        airseal: bench.airseal.clone(),
        folder: bench.path("factory"),
        vectors: bench.workshop.root.join("vectors/esp"),
    };
    batch.product(bench.workshop, DEVICES)?;
    let provision = |count: u64, emit: &str| {
        let out = batch.folder.join("batch");
        if out.exists() {
            fs::remove_dir_all(&out)?;
        }
        let [airseal, config, out] = [&batch.airseal, &batch.folder.join("bench.toml"), &out]
            .map(|path| path.to_string_lossy().into_owned());
        bench.script(&[
            "run",
            &airseal,
            "esp",
            "provision",
            "--config",
            &config,
            "--out",
            &out,
            "--count",
            &count.to_string(),
            "--emit",
            emit,
        ])
    };
    let boxes = provision(DEVICES, "boxes")?;
    let sealed = size(&batch.folder.join("batch/sealed"))?;
    let few = provision(FEW, "files")?;
    let all = provision(DEVICES, "files")?;
    let cipher = bench.script(&[
        "run",
        &batch.airseal.to_string_lossy(),
        "esp",
        "flash-encrypt",
        "--chip",
        "esp32c3",
        "--key",
        &batch.folder.join("xts.key").to_string_lossy(),
        "--address",
        "0",
        super::INPUT,
        "factory.out",
        "--force",
    ])?;
    let app = fs::metadata(batch.folder.join("app.bin"))?.len();
    fs::remove_dir_all(&batch.folder)?;
    let bytes = f64::from(u32::try_from(app >> 10).unwrap_or(u32::MAX)) * count(DEVICES);
    Ok(Figures {
        devices: DEVICES,
        boxes: seconds(&boxes),
        files: seconds(&all),
        cipher: seconds(&cipher) * bytes / 65_536.0,
        disk_per_device: sealed / DEVICES,
        peak_few: peak(&few),
        peak_all: peak(&all),
    })
}

/// A few devices with the program that is built already: that the measurement still runs.
pub(crate) fn smoke(workshop: &Workshop, folder: &Path) -> Result<(), Failure> {
    let batch = Batch {
        airseal: workshop.target.join("debug/airseal"),
        folder: folder.join("factory"),
        vectors: workshop.root.join("vectors/esp"),
    };
    batch.product(workshop, 3)?;
    quietly(
        workshop
            .command(&batch.airseal)
            .current_dir(&batch.folder)
            .args([
                "esp",
                "provision",
                "--config",
                "bench.toml",
                "--out",
                "batch",
                "--emit",
                "files",
            ]),
    )?;
    let made = fs::read_dir(batch.folder.join("batch/devices"))?.count();
    if made == 3 {
        return Ok(());
    }
    Err(Failure(format!(
        "3 devices were to be made, there are {made}"
    )))
}

struct Batch {
    airseal: PathBuf,
    folder: PathBuf,
    vectors: PathBuf,
}

impl Batch {
    fn product(&self, workshop: &Workshop, devices: u64) -> Result<(), Failure> {
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)?;
        }
        fs::create_dir_all(&self.folder)?;
        let copies = [
            ("images/esp32c3-bootloader.bin", "bootloader.bin"),
            ("secureboot/v2-rsa0.pem", "sb0.pem"),
            ("secureboot/v2-rsa0-pub.pem", "sb0.pub.pem"),
        ];
        for (from, to) in copies {
            fs::copy(self.vectors.join(from), self.folder.join(to))?;
        }
        let app = fs::read(self.vectors.join("images/app.bin"))?;
        fs::write(self.folder.join("app.bin"), large(&app, APP_LEN)?)?;
        fs::write(self.folder.join("xts.key"), [0x5A; 32])?;
        fs::write(self.folder.join("partitions.csv"), TABLE)?;
        fs::write(
            self.folder.join("bench.toml"),
            CONFIG.replace("DEVICES", &devices.to_string()),
        )?;
        quietly(
            workshop
                .command(&self.airseal)
                .current_dir(&self.folder)
                .args(["key", "new", "--kind", "device", "-o", "line"]),
        )
    }
}

impl Figures {
    pub(super) fn sentence(&self) -> String {
        format!(
            "factory: {} devices, application of {} KiB: boxes {:.2} s, with every region encrypted and written {:.2} s \
             (the cipher alone {:.2} s); {} bytes of disk for each device; peak memory {} KiB, for {FEW} devices {} KiB",
            self.devices,
            APP_LEN >> 10,
            self.boxes,
            self.files,
            self.cipher,
            self.disk_per_device,
            self.peak_all,
            self.peak_few
        )
    }

    pub(super) fn goals(&self) -> Vec<Goal> {
        vec![
            Goal::at_most("preparing, all encrypted, seconds", 60.0, self.files),
            Goal::at_most(
                "disk for each device, KiB",
                64.0,
                count(self.disk_per_device) / 1024.0,
            ),
            Goal::at_most(
                "memory beside that for 50 devices, KiB",
                2048.0,
                count(self.peak_all.saturating_sub(self.peak_few)),
            ),
        ]
    }

    pub(super) fn object(&self) -> Value {
        json!({
            "name": "factory",
            "goals": self.goals().iter().map(Goal::object).collect::<Vec<_>>(),
            "devices": self.devices,
            "boxes": self.boxes,
            "files": self.files,
            "cipher": self.cipher,
            "disk_per_device": self.disk_per_device,
            "peak_kib_50": self.peak_few,
            "peak_kib": self.peak_all,
        })
    }
}

/// The image with a segment of padding (load address 0) behind its last one, the checksum renewed and the digest left out.
/// (ESP-IDF: application image structures.)
fn large(image: &[u8], len: usize) -> Result<Vec<u8>, Failure> {
    let broken = || Failure::new("vectors/esp/images/app.bin is no image");
    let segments = *image.get(1).ok_or_else(broken)?;
    let mut at = HEADER;
    let mut checksum = 0xEF_u8;
    for _ in 0..segments {
        let head: [u8; 4] = image
            .get(at + 4..at + 8)
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(broken)?;
        let end = at + 8 + usize::try_from(u32::from_le_bytes(head)).unwrap_or(usize::MAX);
        let data = image.get(at + 8..end).ok_or_else(broken)?;
        checksum = data.iter().fold(checksum, |sum, byte| sum ^ byte);
        at = end;
    }
    let mut grown = image.get(..at).ok_or_else(broken)?.to_vec();
    *grown.get_mut(1).ok_or_else(broken)? = segments + 1;
    *grown.get_mut(HASH_APPENDED).ok_or_else(broken)? = 0;
    let padding = len.saturating_sub(at + 8 + 16) / 4 * 4;
    grown.extend_from_slice(&0_u32.to_le_bytes());
    grown.extend_from_slice(&u32::try_from(padding).unwrap_or(0).to_le_bytes());
    let filler = (0..padding).map(|n| (n.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]);
    for byte in filler {
        checksum ^= byte;
        grown.push(byte);
    }
    while grown.len() % 16 != 15 {
        grown.push(0);
    }
    grown.push(checksum);
    Ok(grown)
}

fn size(folder: &Path) -> Result<u64, Failure> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        sum += entry?.metadata()?.len();
    }
    Ok(sum)
}

fn count(number: u64) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

const HEADER: usize = 24;
const HASH_APPENDED: usize = 23;
const APP_LEN: usize = 1_500_000;

const TABLE: &str = "\
otadata,data,ota,0xd000,0x2000
nvs_keys,data,nvs_keys,0xf000,0x1000,encrypted
factory,app,factory,0x10000,0x180000
ota_0,app,ota_0,0x190000,0x180000
ota_1,app,ota_1,0x310000,0x180000
";

const CONFIG: &str = r#"schema = 1
product = "bench"
vendor = "bench.example"
class = "bench"
hw_rev = 1

[chip]
family = "esp32c3"
min_revision = 3
flash_size = "8MB"

[flash]
bootloader = "bootloader.bin"
partition_table = "partitions.csv"
partition_table_offset = 0x8000

[flash.partitions]
factory = "app.bin"
otadata = "blank"
nvs_keys = "generate"

[flash_encryption]
mode = "release"

[secure_boot]
scheme = "v2-rsa"
sign = ["sb0.pem"]
digests = ["sb0.pub.pem"]

[device_key]
source = "efuse-hmac"

[batch]
id = "B"
count = DEVICES
serial = "B-{n:05}"

[release]
version = "1.0.0"
seq = 1

[keys]
at_rest = ["line.pub"]
after = "destroy"
"#;

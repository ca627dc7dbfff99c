//! A product with its keys, its batch, and the line that makes its boards.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use airseal_factory::boxes::{self, BoxContext};
use airseal_factory::secrets::DeviceSecrets;
use airseal_pack::key::NoPassphrase;
use airseal_pack::open::OpenKey;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::harness::{Done, Room};

/// The first board of a batch.
pub(crate) const SERIAL: &str = "AL-A-00001";

pub(crate) fn vectors(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../vectors/esp")
        .join(name)
}

/// A product with its keys; `count` boards.
pub(crate) fn product(count: u32) -> Room {
    let room = Room::new();
    for (from, to) in [
        ("images/esp32c3-bootloader.bin", "bootloader.bin"),
        ("images/app.bin", "app.bin"),
        ("secureboot/v2-rsa0.pem", "sb0.pem"),
        ("secureboot/v2-rsa0-pub.pem", "sb0.pub.pem"),
    ] {
        fs::copy(vectors(from), room.file(to)).unwrap();
    }
    room.ok("key new --kind device -o line");
    room.ok("key new --kind signing -o root");
    room.ok("key new --kind signing -o vendor");
    room.ok("keyset new --vendor acme.example --root root.key --root-threshold 1 --release vendor.pub -o keyset");
    room.write("partitions.csv", TABLE.as_bytes());
    room.write(
        "fctry.csv",
        b"key,type,encoding,value\ndevice,namespace,,\nserial,data,string,{serial}\n",
    );
    room.write(
        "acme.toml",
        CONFIG.replace("COUNT", &count.to_string()).as_bytes(),
    );
    room
}

/// Another setting in the product's configuration.
pub(crate) fn set(room: &Room, from: &str, to: &str) {
    let text = String::from_utf8(room.read("acme.toml")).unwrap();
    assert!(text.contains(from), "{from}");
    room.write("acme.toml", text.replace(from, to).as_bytes());
}

/// The keys of a device, from its box.
pub(crate) fn secrets(room: &Room, key: &str, serial: &str) -> DeviceSecrets {
    let key = OpenKey::read(&room.file(key), &NoPassphrase).unwrap().key;
    let sealed = room.read(&format!("batch/sealed/{serial}.box"));
    boxes::open(BoxContext { batch: "A", serial }, &sealed, &key).unwrap()
}

/// Every spelling in which a key could stand somewhere: raw, hex with and without blanks, base64.
pub(crate) fn spellings(secrets: &DeviceSecrets) -> Vec<Vec<u8>> {
    let keys = [&*secrets.flash_key, &*secrets.seed, &*secrets.nvs_keys];
    let mut spelled = Vec::new();
    for key in keys {
        assert!(!key.is_empty());
        let turned: Vec<u8> = key.iter().rev().copied().collect();
        for bytes in [key.as_slice(), &turned] {
            let blanks: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            spelled.extend([
                bytes.to_vec(),
                hex::encode(bytes).into_bytes(),
                hex::encode_upper(bytes).into_bytes(),
                blanks.join(" ").into_bytes(),
                STANDARD.encode(bytes).into_bytes(),
            ]);
        }
    }
    spelled
}

/// Whether one of them stands in `text`.
pub(crate) fn holds(text: &[u8], needles: &[Vec<u8>]) -> bool {
    needles.iter().any(|needle| {
        text.windows(needle.len())
            .any(|part| part == needle.as_slice())
    })
}

pub(crate) fn boxes_in(room: &Room) -> BTreeMap<String, Vec<u8>> {
    tree(&room.file("batch/sealed"))
        .into_iter()
        .filter(|(name, _)| name.ends_with(".box"))
        .collect()
}

/// Every file below a folder, by its path in there.
pub(crate) fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (name, path) = (entry.file_name().into_string().unwrap(), entry.path());
        if path.is_dir() {
            let below = tree(&path).into_iter();
            found.extend(below.map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)));
        } else {
            // A file may go while another program works here.
            found.extend(fs::read(&path).ok().map(|bytes| (name, bytes)));
        }
    }
    found
}

/// The folder of esptool and espefuse, where the tests have them; `cargo xtask interop` does not let it be missing.
pub(crate) fn tools() -> Option<PathBuf> {
    let found = std::env::var_os("AIRSEAL_ESPTOOLS").map(PathBuf::from);
    let needed = std::env::var_os("AIRSEAL_INTEROP").is_some();
    assert!(found.is_some() || !needed, "AIRSEAL_ESPTOOLS is not set");
    found
}

/// A prepared batch and the programs of its line, which lie in `tools`.
pub(crate) struct Line {
    pub(crate) room: Room,
    real: PathBuf,
}

impl Line {
    /// `count` boards of the usual product; `None` where esptool and espefuse are missing.
    pub(crate) fn new(count: u32) -> Option<Line> {
        Line::of(|| product(count))
    }

    pub(crate) fn of(product: impl FnOnce() -> Room) -> Option<Line> {
        let real = tools()?;
        let room = product();
        room.ok("esp provision --config acme.toml --out batch");
        std::os::unix::fs::symlink(&real, room.file("tools")).unwrap();
        Some(Line { room, real })
    }

    /// Puts a shell script in front of espefuse; `$REAL` is the program it stands for.
    pub(crate) fn stand_in(&self, name: &str, script: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = self.room.file(name);
        fs::create_dir(&folder).unwrap();
        std::os::unix::fs::symlink(self.real.join("esptool"), folder.join("esptool")).unwrap();
        let path = folder.join("espefuse");
        let real = self.real.join("espefuse");
        fs::write(
            &path,
            format!("#!/bin/sh\nREAL='{}'\n{script}\n", real.display()),
        )
        .unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// `esp line run` on the simulated board in `board`.
    pub(crate) fn run(&self, more: &str) -> Done {
        self.room.run(&format!("{RUN} {more}"))
    }

    #[track_caller]
    pub(crate) fn finished(&self, more: &str) -> Done {
        let done = self.run(more);
        assert_eq!(done.code, 0, "{more}: {}{}", done.stdout, done.stderr);
        done
    }

    #[track_caller]
    pub(crate) fn fails(&self, code: i32, more: &str) -> String {
        self.room.fails(code, &format!("{RUN} {more}"))
    }

    /// How many boards are free, begun, finished and scrapped.
    #[track_caller]
    pub(crate) fn counts(&self) -> [u64; 4] {
        let counts = self.room.json("esp line status --batch batch");
        ["free", "begun", "finished", "scrapped"].map(|name| counts[name].as_u64().unwrap())
    }

    /// The result of a call with `--json`, which comes after its events.
    #[track_caller]
    pub(crate) fn json(&self, call: &str) -> serde_json::Value {
        let stdout = self.room.ok(&format!("{call} --json"));
        serde_json::from_str(stdout.lines().last().unwrap()).unwrap()
    }

    pub(crate) fn journal(&self) -> String {
        String::from_utf8(self.room.read("batch/journal.jsonl")).unwrap()
    }
}

/// The run of the board in the folder `board`.
pub(crate) const RUN: &str =
    "esp line run --batch batch --key line.key --tools tools --simulate=board";

const TABLE: &str = "\
otadata,data,ota,0xd000,0x2000
nvs_keys,data,nvs_keys,0xf000,0x1000,encrypted
factory,app,factory,0x10000,0xf0000
ota_0,app,ota_0,0x100000,0xf0000
ota_1,app,ota_1,0x1f0000,0xf0000
fctry,data,nvs,0x2e0000,0x4000
airseal,data,0x40,0x2e4000,0x4000
";

const CONFIG: &str = r#"schema = 1
product = "acme-lock"
vendor = "acme.example"
class = "lock"
hw_rev = 3

[chip]
family = "esp32c3"
min_revision = 3
flash_size = "4MB"

[flash]
bootloader = "bootloader.bin"
partition_table = "partitions.csv"
partition_table_offset = 0x8000

[flash.partitions]
factory = "app.bin"
otadata = "blank"
nvs_keys = "generate"
fctry = "nvs:fctry"
airseal = "state"

[flash_encryption]
mode = "release"

[secure_boot]
scheme = "v2-rsa"
sign = ["sb0.pem"]
digests = ["sb0.pub.pem"]

[device_key]
source = "efuse-hmac"

[nvs.fctry]
fields = "fctry.csv"
encrypt = "hmac"

[batch]
id = "A"
count = COUNT
serial = "AL-{batch}-{n:05}"

[release]
version = "1.0.0"
seq = 1
security_version = 1
keyset = "keyset"

[keys]
at_rest = ["line.pub"]
after = "destroy"
"#;

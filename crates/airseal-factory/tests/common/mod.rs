//! A product folder as a person would have it, from the images and test keys of the vectors.

#![allow(dead_code, reason = "each test binary uses its own part")]

pub(crate) mod bench;

use std::fs;
use std::path::{Path, PathBuf};

use airseal_factory::check::check;
use airseal_factory::prepare::{Prepared, prepare};
use airseal_factory::product::Product;
use airseal_pack::Error;
use airseal_pack::control::Control;
use airseal_pack::entropy::SystemEntropy;
use airseal_pack::key::{KeyKind, PrivateKey, private_to_pem, public_to_pem};

/// A folder with a configuration and everything it names.
pub(crate) struct ProductFolder {
    folder: tempfile::TempDir,
}

/// Checks, prepares, and wants both to refuse alike with these words and a remedy, and nothing made.
#[track_caller]
pub(crate) fn refused(folder: &ProductFolder, words: &[&str]) {
    let out = folder.path("batch");
    let checked = Product::read(&folder.config()).and_then(|product| check(&product, Some(&out)));
    let made = Product::read(&folder.config())
        .and_then(|product| prepare(&product, &out, None, &SystemEntropy, &Control::default()));
    for error in [
        checked.expect_err("--check finds it"),
        made.expect_err("refused"),
    ] {
        let text = error.to_string();
        for word in words {
            assert!(text.contains(word), "{word:?} is not in: {text}");
        }
        if let Error::Refused { remedy, .. } = &error {
            assert!(!remedy.is_empty(), "no remedy: {text}");
        }
    }
    assert!(!out.exists(), "something was made");
}

/// A program or folder of the vendor's tools, where the tests have them; `cargo xtask interop` does not let it be missing.
pub(crate) fn vendor_tools(variable: &str) -> Option<PathBuf> {
    let found = std::env::var_os(variable).map(PathBuf::from);
    let needed = std::env::var_os("AIRSEAL_INTEROP").is_some();
    assert!(found.is_some() || !needed, "{variable} is not set");
    found
}

pub(crate) fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/esp")
}

impl ProductFolder {
    /// Prepares the whole batch in the folder `batch`, or what is missing of it.
    pub(crate) fn prepare(&self) -> Result<Prepared, Error> {
        let product = Product::read(&self.config())?;
        prepare(
            &product,
            &self.path("batch"),
            None,
            &SystemEntropy,
            &Control::default(),
        )
    }

    /// A C3 with factory and two slots.
    pub(crate) fn esp32c3() -> ProductFolder {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let copy = |from: &str, to: &str| {
            fs::copy(vectors().join(from), at(to)).expect(from);
        };
        copy("images/esp32c3-bootloader.bin", "bootloader.bin");
        copy("images/app.bin", "app.bin");
        copy("secureboot/v2-rsa0.pem", "sb0.pem");
        copy("secureboot/v2-rsa0-pub.pem", "sb0.pub.pem");
        copy("secureboot/v2-rsa1-pub.pem", "sb1.pub.pem");
        fs::write(at("partitions.csv"), TABLE).expect("a table");
        fs::write(at("fctry.csv"), FIELDS).expect("fields");
        fs::write(at("values.csv"), values(6)).expect("values");
        let key = PrivateKey::generate(KeyKind::Device).expect("a key");
        let pem = private_to_pem(&key, None).expect("a file");
        fs::write(at("line.key"), pem.as_bytes()).expect("line.key");
        let public = key.public().expect("a public key");
        fs::write(at("line.pub"), public_to_pem(&public)).expect("line.pub");
        fs::write(at("acme.toml"), CONFIG).expect("a configuration");
        ProductFolder { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path("acme.toml")
    }

    /// Replaces a piece of the configuration, which must be there.
    pub(crate) fn edit(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.config()).expect("the configuration");
        assert!(text.contains(from), "{from:?} is not in the configuration");
        fs::write(self.config(), text.replacen(from, to, 1)).expect("the configuration");
    }
}

fn values(count: u32) -> String {
    let rows = (1..=count).map(|n| format!("AL-2648-A-{n:05},calibration-{n}\n"));
    std::iter::once("serial,trim\n".to_owned())
        .chain(rows)
        .collect()
}

const TABLE: &str = "\
nvs,data,nvs,0x9000,0x4000
otadata,data,ota,0xd000,0x2000
nvs_keys,data,nvs_keys,0xf000,0x1000,encrypted
factory,app,factory,0x10000,0xf0000
ota_0,app,ota_0,0x100000,0xf0000
ota_1,app,ota_1,0x1f0000,0xf0000
fctry,data,nvs,0x2e0000,0x4000
airseal,data,0x40,0x2e4000,0x4000
";

const FIELDS: &str = "\
key,type,encoding,value
device,namespace,,
serial,data,string,{serial}
trim,data,string,{trim}
claim,data,string,{claim}
";

const CONFIG: &str = r#"schema = 1
product = "acme-lock"
vendor = "Acme GmbH"
class = "lock-c3"
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

[flash_encryption]
mode = "release"

[secure_boot]
scheme = "v2-rsa"
sign = ["sb0.pem"]
digests = ["sb0.pub.pem", "sb1.pub.pem"]

[device_key]
source = "efuse-hmac"

[nvs.fctry]
fields = "fctry.csv"
values = "values.csv"
encrypt = "hmac"

[batch]
id = "2648-A"
count = 5
spare = 1
serial = "AL-{batch}-{n:05}"
tags = ["gen3"]

[release]
version = "1.0.0"
seq = 1

[keys]
at_rest = ["line.pub"]
after = "destroy"

[label]
text = ["{product} hw{hw_rev}", "S/N {serial}"]
qr = "AIRSEAL1:{serial}:{claim}"
files = ["csv"]
"#;

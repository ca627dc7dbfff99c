//! A batch with its line, on simulated boards with the real espefuse.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use airseal_factory::boxes::{self, BoxContext};
use airseal_factory::journal::{Outcome, Step};
use airseal_factory::line::bench::Bench;
use airseal_factory::line::simulated::{Silicon, SimulatedBoard};
use airseal_factory::line::station::{Shift, Station, Who};
use airseal_factory::line::tools::Tools;
use airseal_factory::line::work::WorkFolder;
use airseal_factory::secrets::DeviceSecrets;
use airseal_pack::esp::efuse_audit::EfuseState;
use airseal_pack::key::NoPassphrase;
use airseal_pack::open::OpenKey;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{ProductFolder, vendor_tools};

pub(crate) struct Line {
    pub(crate) product: ProductFolder,
    pub(crate) tools: PathBuf,
    silicon: Option<Silicon>,
}

/// Whatever is told about each step.
pub(crate) type Watch<'w> = &'w dyn Fn(&str, Step, Outcome);

/// The regions of the C3, as they are named to esptool.
pub(crate) const PLACES: &str = "0x0 WORK/bootloader@0x0.bin 0x8000 WORK/partition-table@0x8000.bin 0xd000 WORK/otadata@0xd000.bin \
     0xf000 WORK/nvs_keys@0xf000.bin 0x10000 WORK/factory@0x10000.bin 0x2e0000 WORK/fctry@0x2e0000.bin";

/// What is burned into it in the first call.
pub(crate) const BURN: &str = "burn-key BLOCK_KEY0 WORK/flash-key.bin XTS_AES_128_KEY BLOCK_KEY1 WORK/seed.bin HMAC_UP \
     BLOCK_KEY2 WORK/digest0.bin SECURE_BOOT_DIGEST0 BLOCK_KEY3 WORK/digest1.bin SECURE_BOOT_DIGEST1 \
     burn-efuse SPI_BOOT_CRYPT_CNT 7 DIS_DOWNLOAD_ICACHE 1 DIS_DIRECT_BOOT 1 DIS_USB_JTAG 1 DIS_PAD_JTAG 1 \
     DIS_DOWNLOAD_MANUAL_ENCRYPT 1 SECURE_BOOT_KEY_REVOKE2 1 SECURE_BOOT_EN 1 write-protect-efuse DIS_ICACHE RD_DIS";

pub(crate) fn clock() -> String {
    "2026-01-01T00:00:00Z".to_owned()
}

pub(crate) fn nothing(_: &str, _: Step, _: Outcome) {}

/// The folder of esptool and espefuse, where the tests have them.
pub(crate) fn tools() -> Option<PathBuf> {
    vendor_tools("AIRSEAL_ESPTOOLS")
}

impl Line {
    /// The C3 of the other tests.
    pub(crate) fn new() -> Option<Line> {
        Line::of(ProductFolder::esp32c3)
    }

    pub(crate) fn of(product: impl FnOnce() -> ProductFolder) -> Option<Line> {
        let tools = tools()?;
        let product = product();
        product.prepare().expect("a batch");
        let mut line = Line {
            product,
            tools,
            silicon: None,
        };
        let station = line.station();
        let expected = station.expected();
        let silicon = Silicon {
            chip: expected.chip,
            revision: expected.min_revision,
            mac: String::new(),
            flash_size: expected.flash_size,
            table_offset: station.table_offset(),
            images: station
                .first_image()
                .expect("an image")
                .into_iter()
                .collect(),
        };
        drop(station);
        line.silicon = Some(silicon);
        Some(line)
    }

    pub(crate) fn batch(&self) -> PathBuf {
        self.product.path("batch")
    }

    pub(crate) fn key(&self, name: &str) -> OpenKey {
        OpenKey::read(&self.product.path(name), &NoPassphrase)
            .expect("a key")
            .key
    }

    pub(crate) fn station(&self) -> Station<'static> {
        self.station_in(&self.batch(), "line.key", None, &nothing)
    }

    pub(crate) fn station_in<'c>(
        &self,
        batch: &Path,
        key: &str,
        stop: Option<&'c AtomicBool>,
        watch: Watch<'c>,
    ) -> Station<'c> {
        let who = Who {
            station: "a".to_owned(),
            operator: "o".to_owned(),
        };
        let shift = Shift {
            who,
            clock: &clock,
            stop,
            watch,
        };
        Station::open(batch, Some(self.key(key)), shift).expect("a station")
    }

    /// The first board after its run, and the station that did it.
    pub(crate) fn finished(&self) -> (SimulatedBoard, Station<'static>) {
        let mut board = self.board(1);
        let mut station = self.station();
        station
            .run(&mut bench(&station, &mut board), Some(&serial(1)))
            .expect("finished");
        (board, station)
    }

    pub(crate) fn board(&self, number: u8) -> SimulatedBoard {
        self.board_in(&self.product.path(&format!("board{number}")), number)
    }

    pub(crate) fn board_in(&self, folder: &Path, number: u8) -> SimulatedBoard {
        let silicon = Silicon {
            mac: format!("02:00:00:00:00:{number:02x}"),
            ..self.silicon.clone().expect("a chip")
        };
        SimulatedBoard::open(Tools::new(Some(&self.tools)), folder, silicon).expect("a board")
    }

    pub(crate) fn secrets(&self, serial: &str) -> DeviceSecrets {
        let bytes = fs::read(self.batch().join(format!("sealed/{serial}.box"))).expect("a box");
        let context = BoxContext {
            batch: "2648-A",
            serial,
        };
        boxes::open(context, &bytes, &self.key("line.key")).expect("opened")
    }
}

/// A product whose keys are kept, for `escrow.key`.
pub(crate) fn with_escrow() -> ProductFolder {
    let folder = ProductFolder::esp32c3();
    let key =
        airseal_pack::key::PrivateKey::generate(airseal_pack::key::KeyKind::Device).expect("a key");
    let pem = airseal_pack::key::private_to_pem(&key, None).expect("a file");
    fs::write(folder.path("escrow.key"), pem.as_bytes()).expect("escrow.key");
    let public = airseal_pack::key::public_to_pem(&key.public().expect("a public key"));
    fs::write(folder.path("escrow.pub"), public).expect("escrow.pub");
    folder.edit(
        "after = \"destroy\"",
        "after = \"escrow\"\nescrow_to = [\"escrow.pub\"]",
    );
    folder
}

pub(crate) fn serial(number: u8) -> String {
    format!("AL-2648-A-{number:05}")
}

pub(crate) fn bench<'b>(station: &Station<'_>, board: &'b mut SimulatedBoard) -> Bench<'b> {
    Bench::new(Box::new(board), station.expected())
}

pub(crate) fn state(board: &SimulatedBoard) -> EfuseState {
    EfuseState::parse("x", board.summary().expect("a summary").as_bytes()).expect("a summary")
}

/// The summary as espefuse prints it, without the words before it.
pub(crate) fn summary(board: &SimulatedBoard) -> serde_json::Value {
    let text = board.summary().expect("a summary");
    let object = text.find('{').expect("an object");
    serde_json::from_str(&text[object..]).expect("a summary")
}

pub(crate) fn no_work_left(batch: &Path) {
    assert!(
        !WorkFolder::root(batch).exists(),
        "secrets were left in the clear"
    );
}

pub(crate) fn records(batch: &Path) -> Vec<String> {
    let text = fs::read_to_string(batch.join("devices.jsonl")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Each secret raw, in hex of both cases, and in base64.
pub(crate) fn spellings(secrets: &DeviceSecrets) -> Vec<Vec<u8>> {
    let secret = [&*secrets.flash_key, &*secrets.seed, &*secrets.nvs_keys];
    let spelled = secret
        .into_iter()
        .filter(|secret| !secret.is_empty())
        .flat_map(|secret| {
            [
                secret.to_vec(),
                hex::encode(secret).into_bytes(),
                hex::encode_upper(secret).into_bytes(),
                STANDARD.encode(secret).into_bytes(),
            ]
        });
    spelled.collect()
}

pub(crate) fn holds(text: &[u8], needles: &[Vec<u8>]) -> bool {
    needles.iter().any(|needle| {
        text.windows(needle.len())
            .any(|part| part == needle.as_slice())
    })
}

/// Every file below a folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

pub(crate) fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy_tree(&path, &target);
        } else {
            fs::copy(&path, &target).expect("a copy");
        }
    }
}

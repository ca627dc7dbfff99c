//! The line at a port: the same bench, with stand-ins for the programs that write down their words.
//!
//! Nothing here is a real board. The stand-in for espefuse passes on to the real one, on virtual eFuses; that for esptool
//! writes to a file; the port is a pseudo-terminal on which the test plays the firmware.
//! Runs where `AIRSEAL_ESPTOOLS` names the folder of the programs; `cargo xtask interop` sets it.

mod common;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use airseal_factory::line::bench::Bench;
use airseal_factory::line::port::Port;
use airseal_factory::line::tools::Tools;
use airseal_factory::line::work::WorkFolder;
use airseal_factory::record::device_id;
use airseal_factory::status::status;
use common::ProductFolder;
use common::bench::{BURN, Line, PLACES, no_work_left, records, serial};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

const ESPTOOL: &str = r#"
import os, sys
here = os.path.dirname(os.path.abspath(__file__))
args = sys.argv[1:]
open(here + "/words", "a").write("esptool " + " ".join(args) + "\n")
def places(words):
    return [(int(words[i], 0), words[i + 1]) for i in range(0, len(words), 2)]
if args == ["version"]:
    print(open(here + "/version").read())
elif "get-security-info" in args:
    print("Flags: 0x%08x (0b0)" % (4 if os.path.exists(here + "/locked") else 0))
elif "flash-id" in args:
    print("Detected flash size: " + open(here + "/size").read())
elif "write-flash" in args:
    flash = bytearray(b"\xff" * (4 << 20))
    for address, path in places(args[args.index("--flash-size") + 2:]):
        data = open(path, "rb").read()
        flash[address:address + len(data)] = data
    open(here + "/flash", "wb").write(flash)
elif "verify-flash" in args:
    flash = open(here + "/flash", "rb").read()
    for address, path in places(args[args.index("verify-flash") + 1:]):
        data = open(path, "rb").read()
        if flash[address:address + len(data)] != data:
            sys.exit("verify failed")
else:
    sys.exit("unknown command")
"#;

const ESPEFUSE: &str = r#"
import os, sys
here = os.path.dirname(os.path.abspath(__file__))
args = sys.argv[1:]
open(here + "/words", "a").write("espefuse " + " ".join(args) + "\n")
if args == ["--help"]:
    print("espefuse v5.6.0 - stand-in")
    sys.exit()
if "ENABLE_SECURITY_DOWNLOAD" in args:
    open(here + "/locked", "w").close()
at = args.index("--port")
args[at:at + 2] = ["--virt", "--path-efuse-file", here + "/efuse.virt"]
os.execv("REAL", ["REAL"] + args)
"#;

/// A folder of programs that write down their words.
fn stand_ins(real: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let python = real.join("python");
    for (name, text) in [("esptool", ESPTOOL), ("espefuse", ESPEFUSE)] {
        let text = text.replace("REAL", &real.join("espefuse").display().to_string());
        let path = folder.path().join(name);
        fs::write(&path, format!("#!{}\n{text}", python.display())).expect("a program");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a program");
    }
    fs::write(folder.path().join("version"), "esptool v5.6.0\n5.6.0").expect("a version");
    fs::write(folder.path().join("size"), "4MB").expect("a size");
    folder
}

fn words(folder: &Path) -> String {
    fs::read_to_string(folder.join("words")).unwrap_or_default()
}

/// The virtual chip as one of revision v0.3 with this MAC, as its maker burned it.
fn made_as(programs: &Path, real: &Path, mac: [u8; 6]) {
    // MAC and WAFER_VERSION_MINOR_LO of BLOCK1.
    let mut block = [0; 24];
    block[..6].copy_from_slice(&mac);
    block[..6].reverse();
    block[14] = 3 << 2;
    let file = programs.join("block1.bin");
    fs::write(&file, block).expect("a block");
    let output = Command::new(real.join("espefuse"))
        .args([
            "--chip",
            "esp32c3",
            "--virt",
            "--do-not-confirm",
            "--path-efuse-file",
        ])
        .arg(programs.join("efuse.virt"))
        .args(["burn-block-data", "BLOCK1"])
        .arg(file)
        .output()
        .expect("espefuse");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// Two boards without a MAC would be one board.
#[test]
fn a_board_without_a_mac_is_refused() {
    let Some(line) = Line::new() else { return };
    let programs = stand_ins(&line.tools);
    made_as(programs.path(), &line.tools, [0; 6]);
    let mut station = line.station();
    let port = Port::new(Tools::new(Some(programs.path())), Path::new("/dev/null"));
    let error = station
        .run(&mut Bench::new(Box::new(port), station.expected()), None)
        .expect_err("refused");
    assert!(error.to_string().contains("misread, or none"), "{error}");
}

#[test]
fn a_board_at_a_port_gets_these_words_and_is_finished() {
    let Some(line) = Line::new() else { return };
    let programs = stand_ins(&line.tools);
    made_as(programs.path(), &line.tools, MAC);
    let seed = <[u8; 32]>::try_from(line.secrets(&serial(1)).seed.as_slice()).expect("a seed");
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&master).expect("a terminal");
    unlockpt(&master).expect("a terminal");
    let port = PathBuf::from(
        ptsname(&master, Vec::new())
            .expect("a name")
            .into_string()
            .expect("a name"),
    );
    let mut master = fs::File::from(master);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !words(programs.path()).contains("--after hard-reset")
                && !over.load(Ordering::SeqCst)
            {
                std::thread::sleep(Duration::from_millis(20));
            }
            std::thread::sleep(Duration::from_millis(300));
            let id = device_id(&seed);
            write!(
                master,
                "ESP-ROM:esp32c3-api1\r\nI (312) main: airseal: {id} 1.0.0\r\n"
            )
            .expect("the terminal");
        });
        let tools = Tools::new(Some(programs.path()));
        assert_eq!(tools.check().expect("versions"), ["5.6.0", "5.6.0"]);
        let mut station = line.station();
        let mut bench = Bench::new(Box::new(Port::new(tools, &port)), station.expected());
        let done = station.run(&mut bench, Some(&serial(1)));
        over.store(true, Ordering::SeqCst);
        assert!(!done.expect("finished").was_finished);
    });
    let work = WorkFolder::root(&line.batch())
        .join(serial(1))
        .display()
        .to_string();
    let port = port.display().to_string();
    let shown = words(programs.path())
        .replace(&work, "WORK")
        .replace(&port, "PORT");
    let esptool = "esptool --chip esp32c3 --port PORT --before default-reset --after no-reset";
    let espefuse = "espefuse --chip esp32c3 --port PORT --before default-reset --after no-reset --do-not-confirm";
    let want = [
        "esptool version".to_owned(),
        "espefuse --help".to_owned(),
        format!("{esptool} get-security-info"),
        format!("{espefuse} check-error summary --format json"),
        format!("{esptool} flash-id"),
        format!("{esptool} write-flash --erase-all --flash-mode keep --flash-freq keep --flash-size keep {PLACES}"),
        format!("{esptool} verify-flash {PLACES}"),
        format!("{esptool} get-security-info"),
        format!("{espefuse} check-error summary --format json"),
        format!("{espefuse} {BURN}"),
        format!("{esptool} get-security-info"),
        format!("{espefuse} check-error summary --format json"),
        "esptool --chip esp32c3 --port PORT --before default-reset --after hard-reset get-security-info".to_owned(),
        format!("{esptool} get-security-info"),
        format!("{espefuse} check-error summary --format json"),
        format!("{espefuse} burn-efuse ENABLE_SECURITY_DOWNLOAD 1"),
        format!("{esptool} get-security-info"),
    ];
    assert_eq!(shown.lines().collect::<Vec<_>>(), want);
    assert_eq!(records(&line.batch()).len(), 1);
    no_work_left(&line.batch());
}

/// Whatever the order: burned into a board whose flash is too small, a key is lost with its chip.
#[test]
fn a_smaller_flash_is_refused_before_anything_is_written_or_burned() {
    for order in ["flash-first", "burn-first"] {
        let product = || {
            let folder = ProductFolder::esp32c3();
            folder.edit("[flash]", &format!("[flash]\norder = \"{order}\""));
            folder
        };
        let Some(line) = Line::of(product) else {
            return;
        };
        smaller_flash_is_refused(&line);
    }
}

fn smaller_flash_is_refused(line: &Line) {
    let programs = stand_ins(&line.tools);
    made_as(programs.path(), &line.tools, MAC);
    fs::write(programs.path().join("size"), "2MB").expect("a size");
    let mut station = line.station();
    let port = Port::new(Tools::new(Some(programs.path())), Path::new("/dev/null"));
    let error = station
        .run(&mut Bench::new(Box::new(port), station.expected()), None)
        .expect_err("refused");
    assert!(
        error.to_string().contains("has 2MB, the batch is for 4MB"),
        "{error}"
    );
    let words = words(programs.path());
    assert!(!words.contains("write-flash") && !words.contains("burn-key"));
    assert_eq!(status(&line.batch()).expect("a status").begun, 0);
}

#[test]
fn an_older_chip_is_refused_before_anything_is_written() {
    let Some(line) = Line::new() else { return };
    let programs = stand_ins(&line.tools);
    let mut station = line.station();
    let port = Port::new(Tools::new(Some(programs.path())), Path::new("/dev/null"));
    let error = station
        .run(&mut Bench::new(Box::new(port), station.expected()), None)
        .expect_err("refused");
    assert!(
        error
            .to_string()
            .contains("v0.0, chip.min_revision is v0.3"),
        "{error}"
    );
    assert!(!words(programs.path()).contains("write-flash"));
}

#[test]
fn programs_of_a_version_that_was_never_tried_are_refused_by_name() {
    let Some(real) = common::bench::tools() else {
        return;
    };
    for version in [
        "esptool v4.8.1",
        "esptool v5.5.0",
        "esptool v6.0.0",
        "esptool",
    ] {
        let programs = stand_ins(&real);
        fs::write(programs.path().join("version"), version).expect("a version");
        let error = Tools::new(Some(programs.path()))
            .check()
            .expect_err(version)
            .to_string();
        let number = version
            .strip_prefix("esptool v")
            .unwrap_or("does not say its version");
        assert!(
            error.contains("esptool") && error.contains(number),
            "{error}"
        );
    }
    let missing = Tools::new(Some(Path::new("/nowhere")))
        .check()
        .expect_err("missing")
        .to_string();
    assert!(missing.contains("/nowhere/esptool"), "{missing}");
}

//! The edge of the command line: what a person or a script gets wrong, and what the machine takes away.

use std::process::Stdio;

use crate::harness::{Room, SEAL, firmware, tool};

#[test]
fn the_first_help_fits_one_screen() {
    let room = Room::new();
    let help = room.ok("--help");
    assert!(help.lines().count() <= 24);
    assert!(help.lines().all(|line| line.chars().count() <= 80));
    assert_eq!(help, room.ok("-h"));
    let order: Vec<_> = ["demo ", "key ", "seal "]
        .iter()
        .map(|name| help.find(&format!("  {name}")))
        .collect();
    assert!(
        order.iter().all(Option::is_some) && order.is_sorted(),
        "{help}"
    );
}

#[test]
fn the_version_is_data_too() {
    let room = Room::new();
    let version = room.json("--version");
    let text = format!("airseal {}", version["version"].as_str().unwrap());
    assert_eq!(room.ok("--version").trim_end(), text);
}

#[test]
fn usage_errors_exit_with_2_and_say_what_is_missing() {
    let room = Room::new();
    let without = SEAL.replace("--sign vendor.key ", "");
    let error = room.fails(2, &format!("seal fw.bin -o x.seal {without}"));
    assert!(
        error.contains("--sign") && error.contains("--unsigned"),
        "{error}"
    );
    let without = SEAL.replace("--to dev.pub ", "");
    let error = room.fails(2, &format!("seal fw.bin -o x.seal {without}"));
    assert!(
        error.contains("--to") && error.contains("--content-key-out"),
        "{error}"
    );
    let negative = SEAL.replace("--seq 7", "--seq -7");
    let error = room.fails(2, &format!("seal fw.bin -o x.seal {negative}"));
    assert!(error.contains("invalid value '-7'"), "{error}");
    assert!(
        room.fails(2, "key new --kind rsa -o x")
            .contains("signing-p256")
    );
    assert!(room.fails(2, "nonsense").contains("nonsense"));
    assert!(room.fails(2, "explain 9999").contains("9999"));
    assert_eq!(room.files(), Vec::<String>::new());
}

#[test]
fn a_broken_pipe_is_no_error() {
    let room = Room::new();
    let room = room.with_release();
    let seal = format!("seal fw.bin -o - {SEAL}");
    for line in [
        "explain",
        "--help",
        "completions bash",
        "open fw.seal --trust vendor.pub --key dev.key -o -",
        &seal,
        #[cfg(feature = "serve")]
        "demo --json",
    ] {
        let mut child = room
            .command(&line.split_whitespace().collect::<Vec<_>>())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "airseal {line}");
        assert!(
            output.stderr.is_empty(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn completions_and_manual_pages_come_from_the_definitions() {
    let room = Room::new();
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let script = room.ok(&format!("completions {shell}"));
        assert!(
            script.contains("sign-request") && script.contains("--content-key-out"),
            "{shell}"
        );
        for word in ["flash-encrypt", "flash-crypt-conf", "aes-cbc", "mcuboot"] {
            assert!(script.contains(word), "{shell} completes no {word}");
        }
    }
    room.ok("man pages");
    let pages = std::fs::read_dir(room.file("pages")).unwrap().count();
    assert!(pages > 30, "{pages}");
    let page = String::from_utf8(room.read("pages/airseal-seal.1")).unwrap();
    assert!(page.contains("security\\-version"), "{page}");
    for (name, word) in [
        ("esp-flash-encrypt", "Example: airseal esp flash\\-encrypt"),
        ("esp-otadata-select", "OUT"),
        (
            "bridge-aes-cbc-decrypt",
            "Example: airseal bridge aes\\-cbc decrypt",
        ),
        (
            "bridge-mcuboot-verify",
            "Example: airseal bridge mcuboot verify",
        ),
        ("verify", "<\\fIBUNDLE\\fR>"),
        ("esp-flash-check", "<\\fIDUMP\\fR>"),
    ] {
        let page = String::from_utf8(room.read(&format!("pages/airseal-{name}.1"))).unwrap();
        assert!(page.contains(word), "{name}: no {word} in\n{page}");
    }
    assert!(room.fails(1, "man pages").contains("--force"));
}

#[test]
fn explain_knows_every_number_it_prints() {
    let room = Room::new();
    let all = room.json("explain");
    let all = all.as_array().unwrap();
    assert!(all.len() > 100, "{}", all.len());
    let mut numbers: Vec<u64> = all
        .iter()
        .map(|entry| entry["code"].as_u64().unwrap())
        .collect();
    let count = numbers.len();
    numbers.dedup();
    assert_eq!(numbers.len(), count, "a number stands twice");
    assert!(numbers.is_sorted());
    for entry in [&all[0], &all[count / 2], &all[count - 1]] {
        assert_eq!(&room.json(&format!("explain {}", entry["code"])), entry);
        assert_eq!(
            room.json(&format!("explain {}", entry["word"].as_str().unwrap()))["word"],
            entry["word"]
        );
    }
}

#[test]
fn a_missing_file_is_named() {
    let room = Room::new().with_release();
    for line in [
        format!("seal absent.bin -o x.seal {SEAL}"),
        "inspect absent.bin".to_owned(),
        "verify absent.bin --trust vendor.pub".to_owned(),
        "verify fw.seal --trust absent.bin".to_owned(),
        "open fw.seal --trust vendor.pub --key absent.bin -o x".to_owned(),
        "cosign absent.bin --sign vendor.key".to_owned(),
        "keyset show absent.bin".to_owned(),
        "key show absent.bin".to_owned(),
        "attach fw.seal absent.bin --key vendor.pub".to_owned(),
    ] {
        let error = room.fails(3, &line);
        assert!(
            error.contains("absent.bin") && error.contains("No such file"),
            "{line}: {error}"
        );
    }
}

#[test]
fn a_directory_instead_of_a_file_is_named() {
    let room = Room::new().with_release();
    std::fs::create_dir(room.file("folder")).unwrap();
    for line in [
        format!("seal folder -o x.seal {SEAL}"),
        "inspect folder".to_owned(),
        "verify fw.seal --trust folder".to_owned(),
        format!("seal fw.bin -o folder {SEAL}"),
        "key show folder".to_owned(),
        "keyset show folder".to_owned(),
    ] {
        let error = room.fails(1, &line);
        assert!(
            error.contains("folder") && error.contains("directory"),
            "{line}: {error}"
        );
    }
}

#[test]
fn empty_firmware_is_refused() {
    let room = Room::new().with_release();
    room.write("empty.bin", b"");
    let error = room.fails(1, &format!("seal empty.bin -o x.seal {SEAL}"));
    assert!(error.contains("empty.bin: is empty"), "{error}");
    assert!(!room.file("x.seal").exists());
}

#[test]
fn a_key_of_the_wrong_kind_is_named() {
    let room = Room::new().with_release();
    let error = room.fails(
        1,
        &format!(
            "seal fw.bin -o x.seal {}",
            SEAL.replace("vendor.key", "dev.key")
        ),
    );
    assert!(
        error.contains("dev.key") && error.contains("kind device") && error.contains("signing"),
        "{error}"
    );
    let error = room.fails(
        1,
        &format!(
            "seal fw.bin -o x.seal {}",
            SEAL.replace("dev.pub", "vendor.pub")
        ),
    );
    assert!(
        error.contains("vendor.pub") && error.contains("kind signing"),
        "{error}"
    );
    let error = room.fails(1, "open fw.seal --trust dev.pub --key dev.key -o x");
    assert!(error.contains("dev.pub"), "{error}");
    let error = room.fails(1, "open fw.seal --trust vendor.pub --key vendor.key -o x");
    assert!(error.contains("vendor.key"), "{error}");
    let error = room.fails(1, "open fw.seal --trust vendor.pub --key dev.pub -o x");
    assert!(
        error.contains("dev.pub") && error.contains("public"),
        "{error}"
    );
    let error = room.fails(1, "key rotate dev.key -o next.key");
    assert!(
        error.contains("dev.key") && error.contains("group"),
        "{error}"
    );
    let error = room.fails(
        1,
        &format!(
            "seal fw.bin -o x.seal {}",
            SEAL.replace("vendor.key", "vendor.pub")
        ),
    );
    assert!(
        error.contains("vendor.pub") && error.contains("public"),
        "{error}"
    );
}

#[test]
fn a_file_of_the_wrong_kind_is_named_by_what_it_is() {
    let room = Room::new().with_release();
    room.write(
        "page.bin",
        b"<!DOCTYPE html><html><body>Sign in</body></html>",
    );
    room.write("program.elf", b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xf3\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    room.write(
        "image.hex",
        b":10010000214601360121470136007EFE09D2190140\n:00000001FF\n",
    );
    room.write(
        "image.gz",
        &[&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3][..], &[7; 50]].concat(),
    );
    room.write("erased.bin", &[0xff; 8192]);
    let auto = SEAL.replace(" --chip none", "");
    for (file, words) in [
        ("page.bin", "HTML"),
        ("program.elf", "ELF"),
        ("image.hex", "HEX"),
        ("image.gz", "gzip"),
        ("erased.bin", "erased"),
        ("fw.seal", "sealed"),
        ("vendor.pub", "PEM"),
    ] {
        let error = room.fails(1, &format!("seal {file} -o x.seal {auto}"));
        assert!(
            error.contains(file) && error.contains(words),
            "{file}: {error}"
        );
    }
    let error = room.fails(1, "inspect page.bin");
    assert!(error.contains("HTML"), "{error}");
    let error = room.fails(1, "key show fw.seal");
    assert!(error.contains("fw.seal"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_private_key_that_others_can_read_is_warned_about() {
    use std::os::unix::fs::PermissionsExt;
    let room = Room::new().with_release();
    std::fs::set_permissions(
        room.file("vendor.key"),
        std::fs::Permissions::from_mode(0o644),
    )
    .unwrap();
    let done = room.run(&format!("seal fw.bin -o w.seal {SEAL}"));
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(
        done.stderr.contains("warning") && done.stderr.contains("chmod 600 vendor.key"),
        "{}",
        done.stderr
    );
}

#[cfg(unix)]
#[test]
fn a_private_key_that_can_not_be_read_is_an_environment_failure() {
    use std::os::unix::fs::PermissionsExt;
    let room = Room::new().with_release();
    std::fs::set_permissions(
        room.file("vendor.key"),
        std::fs::Permissions::from_mode(0o000),
    )
    .unwrap();
    // A file that opens and gives no byte, to root neither.
    #[cfg(target_os = "linux")]
    {
        let args = SEAL.replace("vendor.key", "/proc/self/mem");
        let error = room.fails(3, &format!("seal fw.bin -o w.seal {args}"));
        assert!(error.contains("/proc/self/mem"), "{error}");
        assert!(!room.file("w.seal").exists());
    }
    if std::fs::read(room.file("vendor.key")).is_ok() {
        return; // root reads what has no permissions
    }
    let error = room.fails(3, &format!("seal fw.bin -o w.seal {SEAL}"));
    assert!(
        error.contains("vendor.key") && error.contains("ermission"),
        "{error}"
    );
}

#[test]
fn an_existing_output_is_refused_without_force() {
    let room = Room::new().with_release();
    let before = room.read("fw.seal");
    for line in [
        format!("seal fw.bin -o fw.seal {SEAL}"),
        "open fw.seal --trust vendor.pub --key dev.key -o fw.bin".to_owned(),
        "sign-request fw.seal -o fw.bin".to_owned(),
        "keyset new --root vendor.key --release vendor.pub --vendor v -o fw.seal".to_owned(),
        "key new --kind signing -o vendor".to_owned(),
    ] {
        let error = room.fails(1, &line);
        assert!(
            error.contains("exists already") && error.contains("--force"),
            "{line}: {error}"
        );
    }
    assert_eq!(room.read("fw.seal"), before);
    room.ok(&format!("seal fw.bin -o fw.seal --force {SEAL}"));
    assert_ne!(room.read("fw.seal"), before);
}

#[cfg(unix)]
#[test]
fn force_replaces_files_only_and_follows_links() {
    let room = Room::new().with_release();
    assert!(tool(&room, "mkfifo", "pipe").is_some());
    let open = "open fw.seal --trust vendor.pub --key dev.key --force";
    for special in ["pipe", "/dev/null"] {
        let error = room.fails(1, &format!("{open} -o {special}"));
        assert!(error.contains("a device or a pipe"), "{error}");
        let metadata = std::fs::metadata(room.file(special)).unwrap();
        assert!(!metadata.is_file(), "{special} became a file");
    }
    std::fs::create_dir(room.file("there")).unwrap();
    room.write("there/real", b"before");
    std::os::unix::fs::symlink("there/real", room.file("link")).unwrap();
    room.ok(&format!("{open} -o link"));
    assert!(room.file("link").is_symlink());
    assert_eq!(room.read("there/real"), firmware());
}

#[test]
fn calls_that_make_no_sense_are_usage_errors() {
    let room = Room::new().with_release();
    let keyset = "keyset new --root vendor.key --release vendor.pub --vendor v -o k";
    for line in [
        format!("{keyset} --threshold 0"),
        format!("{keyset} --threshold 9"),
        format!("{keyset} --root-threshold 4"),
        "device list --state bogus".to_owned(),
        "key show vendor.pub --format raw --json".to_owned(),
        "key show -".to_owned(),
        "simulate device --state d --transport noise --server https://127.0.0.1:1".to_owned(),
        "simulate device --state d --transport https --from fw.seal".to_owned(),
        "simulate device --state d --transport static".to_owned(),
        "key new --kind signing -o -".to_owned(),
        format!("seal fw.bin -o two.seal {SEAL} --sign vendor.key"),
    ] {
        room.fails(2, &line);
    }
    assert!(!room.file("two.seal").exists() && !room.file("-.key").exists());
}

#[test]
fn an_output_that_is_read_is_refused_even_with_force() {
    let room = Room::new().with_release();
    let before = [
        room.read("fw.bin"),
        room.read("fw.seal"),
        room.read("vendor.key"),
    ];
    for line in [
        format!("seal fw.bin -o ./fw.bin --force {SEAL}"),
        format!("seal fw.bin -o new.seal --content-key-out vendor.key --force {SEAL}"),
        "open fw.seal --trust vendor.pub --key dev.key -o fw.seal --force".to_owned(),
        "sign-request fw.seal -o fw.seal --force".to_owned(),
        "cosign fw.seal --sign vendor.key -o vendor.key --force".to_owned(),
        "attach fw.seal fw.bin --key vendor.key -o vendor.key --force".to_owned(),
        "attach fw.seal fw.bin --key vendor.pub -o fw.bin --force".to_owned(),
        "envelope add fw.seal --content-key vendor.key --to dev.pub -o vendor.key --force"
            .to_owned(),
        "keyset new --vendor v --root vendor.key --release vendor.pub -o vendor.key --force"
            .to_owned(),
        "keyset rotate --from fw.bin --sign vendor.key -o vendor.key --force".to_owned(),
        "key rotate vendor.key -o vendor.key --force".to_owned(),
        "simulate device --state d --group-key vendor.key --report vendor.key --force".to_owned(),
    ] {
        let error = room.fails(2, &line);
        assert!(error.contains("can't be its output"), "{line}: {error}");
    }
    let after = [
        room.read("fw.bin"),
        room.read("fw.seal"),
        room.read("vendor.key"),
    ];
    assert_eq!(after, before);
}

#[test]
fn help_is_a_command_too() {
    let room = Room::new();
    assert_eq!(room.ok("help"), room.ok("--help"));
    assert_eq!(room.ok("help key new"), room.ok("key new --help"));
    assert!(room.fails(2, "help nonsense").contains("nonsense"));
}

#[test]
fn a_release_that_has_expired_already_is_warned_about() {
    let room = Room::new().with_release();
    let done = room.run(&format!(
        "seal fw.bin -o old.seal --expires 2020-01-31 {SEAL}"
    ));
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(
        done.stderr.contains("warning") && done.stderr.contains("--expires"),
        "{}",
        done.stderr
    );
}

#[test]
fn a_request_to_sign_says_what_comes_next() {
    let room = Room::new().with_release();
    let text = room.ok("sign-request fw.seal -o req");
    assert!(
        text.contains("req") && text.contains("airseal attach fw.seal"),
        "{text}"
    );
    let written = room.json("sign-request fw.seal -o req2");
    assert_eq!(written["request"], "req2");
    assert_eq!(written["bytes"], room.read("req2").len());
    assert_eq!(
        room.ok("sign-request fw.seal -o -").len(),
        String::from_utf8_lossy(&room.read("req")).len()
    );
}

#[test]
fn an_image_too_large_for_its_slot_is_refused() {
    let room = Room::new().with_release();
    room.write("big.bin", &vec![1; 1024 * 1024 - 8 * 1024 + 1]);
    room.write("fits.bin", &vec![1; 1024 * 1024 - 8 * 1024]);
    room.write("table.csv", b"otadata,data,ota,0xd000,0x2000\nota_0,app,ota_0,0x10000,1M\nota_1,app,ota_1,0x110000,1M\n");
    let error = room.fails(
        1,
        &format!("seal big.bin -o x.seal --fits table.csv {SEAL}"),
    );
    assert!(error.contains("big.bin"), "{error}");
    room.ok(&format!("seal fits.bin -o y.seal --fits table.csv {SEAL}"));
    let error = room.fails(
        1,
        &format!("seal fits.bin -o x.seal --fits table.csv --secure-boot-sector {SEAL}"),
    );
    assert!(error.contains("fits.bin"), "{error}");
    assert!(!room.file("x.seal").exists());
}

#[test]
fn errors_are_data_with_json() {
    let room = Room::new().with_release();
    let error = room.fails(
        1,
        "open fw.seal --trust vendor.pub --key vendor.key -o x --json",
    );
    let error: serde_json::Value = serde_json::from_str(&error).unwrap();
    assert_eq!(error["error"]["kind"], "refused");
    assert!(
        error["error"]["message"]
            .as_str()
            .unwrap()
            .contains("vendor.key")
    );
    for line in ["--json nonsense", "seal --json", "explain 9999 --json"] {
        let error = room.fails(2, line);
        let error: serde_json::Value = serde_json::from_str(&error).unwrap();
        assert_eq!(error["error"]["kind"], "usage", "{error}");
    }
    let mut bundle = room.read("fw.seal");
    *bundle.last_mut().unwrap() ^= 1;
    room.write("bad.seal", &bundle);
    let error = room.fails(1, "verify bad.seal --trust vendor.pub --json");
    let error: serde_json::Value = serde_json::from_str(&error).unwrap();
    assert_eq!(error["error"]["code"], 52, "{error}");
}

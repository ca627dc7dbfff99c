//! Work that the machine stops: a full disk, Ctrl-C. Nothing is left half-written.

use std::process::Stdio;

use crate::harness::{Room, SEAL, done, skip};

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_nothing_half_written() {
    let room = Room::new().with_release();
    let done = done(
        room.command(&[
            "open",
            "fw.seal",
            "--trust",
            "vendor.pub",
            "--key",
            "dev.key",
            "-o",
            "-",
        ])
        .stdout(
            std::fs::OpenOptions::new()
                .write(true)
                .open("/dev/full")
                .unwrap(),
        )
        .output()
        .unwrap(),
    );
    assert_eq!(done.code, 3, "{}", done.stderr);
    assert!(done.stderr.contains("No space left"), "{}", done.stderr);
    // A limit on the size of files stands for a disk that fills up in the middle.
    room.write("big.bin", &vec![7; 4 << 20]);
    let before = (room.files(), room.read("fw.seal"));
    for target in ["big.seal", "fw.seal --force"] {
        let script =
            format!("trap '' XFSZ; ulimit -f 1024; exec \"$0\" seal big.bin -o {target} {SEAL}");
        let output = std::process::Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_airseal")])
            .current_dir(room.path())
            .output()
            .unwrap();
        let done = crate::harness::done(output);
        assert_eq!(done.code, 3, "{target}: {}", done.stderr);
        assert!(done.stderr.contains("too large"), "{}", done.stderr);
        assert_eq!((room.files(), room.read("fw.seal")), before, "{target}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_fills_up_keeps_what_was_there() {
    let room = Room::new().with_release();
    room.write("big.bin", &vec![7; 4 << 20]);
    std::fs::create_dir(room.file("small")).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=1m none small || exit 99
         \"$0\" seal big.bin -o small/big.seal {SEAL}
         code=$?
         ls -A small
         exit $code"
    );
    let output = std::process::Command::new("unshare")
        .args(["-rm", "sh", "-c", &script, env!("CARGO_BIN_EXE_airseal")])
        .current_dir(room.path())
        .output();
    let Ok(output) = output else {
        return skip("unshare");
    };
    let done = done(output);
    if done.code != 3 && (done.code == 99 || done.stderr.contains("unshare")) {
        return; // mounting is not allowed here
    }
    assert_eq!(done.code, 3, "{}{}", done.stdout, done.stderr);
    assert!(done.stderr.contains("No space left"), "{}", done.stderr);
    assert_eq!(done.stdout, "", "something is left on the full disk");
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_no_half_written_output() {
    let room = Room::new().with_release();
    // Sparse: gigabytes of zeros take their time to seal, and no disk.
    let big = std::fs::File::create(room.file("big.bin")).unwrap();
    big.set_len(3 << 30).unwrap();
    let before = room.files();
    let args = format!("seal big.bin -o big.seal {SEAL}");
    let args: Vec<&str> = args.split_whitespace().collect();
    let child = room
        .command(&args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1200));
    let sent = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
    let done = done(child.wait_with_output().unwrap());
    assert_eq!(done.code, 3, "{}{}", done.stdout, done.stderr);
    assert!(done.stderr.contains("interrupted"), "{}", done.stderr);
    assert_eq!(room.files(), before);
}

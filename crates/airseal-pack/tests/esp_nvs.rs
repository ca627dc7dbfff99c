//! NVS partitions from CSV and back, against what Espressif's tool made, and what is refused.
#![allow(
    clippy::unwrap_used,
    reason = "a test may unwrap, and documents itself by its name"
)]

use std::path::{Path, PathBuf};

use airseal_esp::nvs::{Integer, Name, NvsKey, Value, Version, Writer, keys_from_partition};
use airseal_pack::Error;
use airseal_pack::esp::nvs::{
    Layout, Made, derive_keys, parse_partition, read_hmac_keys, read_keys, to_bin, to_csv,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    name: String,
    csv: String,
    size: String,
    version: u8,
    len: usize,
    keys: Option<String>,
    hmac_key: Option<String>,
}

impl Case {
    fn key(&self) -> Option<NvsKey> {
        match (&self.keys, &self.hmac_key) {
            (Some(keys), _) => Some(read_keys(&vector(keys)).unwrap()),
            (_, Some(key)) => {
                let keys = read_hmac_keys(&vector(key)).unwrap();
                Some(NvsKey::new(&keys).unwrap())
            }
            (None, None) => None,
        }
    }

    fn size(&self) -> u32 {
        u32::from_str_radix(self.size.trim_start_matches("0x"), 16).unwrap()
    }

    fn version(&self) -> Version {
        match self.version {
            1 => Version::One,
            _ => Version::Two,
        }
    }

    fn make(&self, csv: &Path) -> Made {
        let key = self.key();
        let layout = Layout {
            size: self.size(),
            version: self.version(),
            key: key.as_ref(),
            wifi_rows: true,
        };
        to_bin(csv, &layout).unwrap()
    }
}

fn vector(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../vectors/esp/nvs")
        .join(name)
}

fn cases() -> Vec<Case> {
    let cases = std::fs::read(vector("cases.json")).unwrap();
    let cases: Vec<Case> = serde_json::from_slice(&cases).unwrap();
    assert!(cases.len() >= 19);
    cases
}

fn plain(csv: &Path, size: u32) -> Result<Made, Error> {
    let layout = Layout {
        size,
        version: Version::Two,
        key: None,
        wifi_rows: true,
    };
    to_bin(csv, &layout)
}

#[test]
fn every_partition_is_byte_for_byte_that_of_espressif_tool() {
    for case in cases() {
        let want = std::fs::read(vector(&format!("{}.bin", case.name))).unwrap();
        let made = case.make(&vector(&case.csv));
        assert_eq!(made.bytes.len(), case.len, "{}", case.name);
        let differs = made.bytes.iter().zip(&want).position(|(a, b)| a != b);
        assert_eq!(differs, None, "{}", case.name);
    }
}

#[test]
fn every_partition_becomes_a_csv_that_makes_it_again() {
    let room = tempfile::tempdir().unwrap();
    for case in cases() {
        let file = vector(&format!("{}.bin", case.name));
        let dump = to_csv(&file, case.key().as_ref()).unwrap();
        assert!(
            dump.warnings.is_empty(),
            "{}: {:?}",
            case.name,
            dump.warnings
        );
        assert_eq!(dump.contents.version, case.version, "{}", case.name);
        assert_eq!(
            dump.contents.encrypted,
            case.key().is_some(),
            "{}",
            case.name
        );
        let csv = room.path().join(&case.csv);
        std::fs::write(&csv, dump.csv.as_bytes()).unwrap();
        assert!(
            case.make(&csv).bytes == std::fs::read(&file).unwrap(),
            "{}",
            case.name
        );
    }
}

#[test]
fn derived_keys_are_those_of_espressif_tool() {
    let hmac_key = std::fs::read(vector("hmac.key")).unwrap();
    let keys = derive_keys(hmac_key.as_slice().try_into().unwrap());
    let want = std::fs::read(vector("hmac_keys.bin")).unwrap();
    assert_eq!(keys, keys_from_partition(&want).unwrap());
}

/// A CSV with the usual first lines; `rows` begin in line 3.
fn refusal(rows: &str, size: u32) -> String {
    let room = tempfile::tempdir().unwrap();
    let csv = room.path().join("in.csv");
    std::fs::write(
        &csv,
        format!("key,type,encoding,value\nns,namespace,,\n{rows}"),
    )
    .unwrap();
    plain(&csv, size)
        .err()
        .unwrap_or_else(|| panic!("taken: {rows}"))
        .to_string()
}

#[test]
fn rows_that_a_device_would_not_find_are_refused_by_their_line() {
    let cases = [
        (
            "sixteen_letters_,data,u8,1\n",
            "line 3: key \"sixteen_letters_\" has 16",
        ),
        (
            "# comment\n\nsixteen_letters_,namespace,,\n",
            "line 5: namespace",
        ),
        (",data,u8,1\n", "key \"\" is empty"),
        ("Grüße,data,u8,1\n", "ASCII"),
        ("a,data,u8,1\na,data,u16,1\n", "line 4: key a is in line 3"),
        (
            "a,data,u8,1\nb,namespace,,\nns,namespace,,\n",
            "line 5: namespace ns was begun in line 2",
        ),
        (
            "a,data,u8,256\n",
            "line 3: a: the value is not from 0 to 255",
        ),
        ("a,data,i16,-32769\n", "from -32768 to 32767"),
        (
            "a,data,u64,18446744073709551616\n",
            "from 0 to 18446744073709551615",
        ),
        ("a,data,u8,0x10\n", "decimal"),
        ("a,data,u8,1__0\n", "decimal"),
        ("a,data,u8,\n", "no number"),
        ("a,data,hex2bin,abc\n", "odd number"),
        ("a,data,hex2bin,ab cde\n", "at place 3"),
        ("a,data,base64,aGVsbG8\n", "base64"),
        ("a,data,blob_fill(2;0x00),abc\n", "3 bytes, more than the 2"),
        ("a,data,blob_fill(9;00),abc\n", "not complete"),
        (
            "a,data,blob_fill(9999999999;0x00),abc\n",
            "more than the 508000",
        ),
        ("a,data,String,abc\n", "write string"),
        (
            "a,data,float,1.5\n",
            "encoding \"float\" is none; known are u8",
        ),
        ("a,Data,u8,1\n", "type: \"Data\" is none"),
        ("a,file,binary,missing.bin\n", "line 3: a: there is no file"),
        ("a,file,binary,\n", "no file is named"),
        ("sta.ssid,file,string,in.csv\n", "Wi-Fi"),
    ];
    for (rows, want) in cases {
        let error = refusal(rows, 0x3000);
        assert!(error.contains(want), "{rows}: {error}");
        assert!(error.contains("in.csv line"), "{error}");
    }
    let long = "x".repeat(4000);
    let error = refusal(&format!("a,data,string,{long}\n"), 0x4000);
    assert!(error.contains("has 4001 bytes, at most 4000"), "{error}");
    assert!(
        !error.contains("xxx"),
        "the value is in the message: {error}"
    );
}

#[test]
fn a_csv_without_columns_or_namespace_is_refused() {
    let room = tempfile::tempdir().unwrap();
    let csv = room.path().join("in.csv");
    for (text, want) in [
        ("", "has no line"),
        (
            "key,type,value\n",
            "line 1: there is no column called encoding",
        ),
        ("key, type,encoding,value\n", "no column called type"),
        (
            "key,type,encoding,value\na,data,u8,1\n",
            "line 2: key a is in no namespace",
        ),
        ("\u{FF}\0", "no column"),
    ] {
        std::fs::write(&csv, text).unwrap();
        let error = plain(&csv, 0x3000).err().unwrap().to_string();
        assert!(error.contains(want), "{text:?}: {error}");
    }
    std::fs::write(&csv, [0xE9, 0xFF, 0xFE, 1, 2]).unwrap();
    let error = plain(&csv, 0x3000).err().unwrap().to_string();
    assert!(error.contains("not a CSV"), "{error}");
    let error = plain(&vector("types.bin"), 0x3000)
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("NVS partition already"), "{error}");
}

#[test]
fn sizes_that_are_no_partition_or_too_small_are_refused() {
    for (size, want) in [
        (0, "not a multiple"),
        (0x3001, "0x3001 is not a multiple of 0x1000"),
        (0x9000_0000, "more than"),
    ] {
        let error = plain(&vector("types.csv"), size).err().unwrap().to_string();
        assert!(error.contains(want) && error.contains("--size"), "{error}");
    }
    let error = plain(&vector("pages.csv"), 0x3000)
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("line 103: large: there is no room left"),
        "{error}"
    );
    assert!(error.contains("reserve"), "{error}");
    let made = plain(&vector("types.csv"), 0x2000).unwrap();
    assert!(made.warnings[0].contains("readonly"), "{:?}", made.warnings);
}

#[test]
fn line_ends_and_marks_of_other_systems_change_nothing() {
    let room = tempfile::tempdir().unwrap();
    let csv = room.path().join("in.csv");
    let text = std::fs::read_to_string(vector("types.csv")).unwrap();
    std::fs::write(&csv, format!("\u{FEFF}{}", text.replace('\n', "\r\n"))).unwrap();
    let want = std::fs::read(vector("types.bin")).unwrap();
    assert!(plain(&csv, 0x3000).unwrap().bytes == want);
}

#[test]
fn a_line_of_a_value_that_looks_like_a_comment_is_kept_and_said() {
    let room = tempfile::tempdir().unwrap();
    let csv = room.path().join("in.csv");
    let text = "key,type,encoding,value\nn,namespace,,\n#a,data,u8,1\na,data,string,\"1\n#2\n3\"\n";
    std::fs::write(&csv, text).unwrap();
    let made = plain(&csv, 0x3000).unwrap();
    assert_eq!(made.contents.pairs, 1);
    assert!(
        made.warnings[0].contains("line 4: a: "),
        "{:?}",
        made.warnings
    );
    let bin = room.path().join("out.bin");
    std::fs::write(&bin, &made.bytes).unwrap();
    assert!(to_csv(&bin, None).unwrap().csv.contains("\"1\n#2\n3\""));
}

#[test]
fn wifi_rows_are_said_and_those_of_the_csv_are_kept() {
    let made = plain(&vector("wifi.csv"), 0x3000).unwrap();
    assert_eq!(made.notes.len(), 4, "{:?}", made.notes);
    let again = to_csv(&vector("wifi.bin"), None).unwrap();
    let room = tempfile::tempdir().unwrap();
    let csv = room.path().join("in.csv");
    std::fs::write(&csv, again.csv.as_bytes()).unwrap();
    let made = plain(&csv, 0x3000).unwrap();
    assert!(made.notes.is_empty());
    assert_eq!(made.contents.pairs, again.contents.pairs);
}

/// A device that was set up over the air has the driver's keys, and not all of the tool's.
#[test]
fn a_partition_with_wifi_keys_of_its_own_is_made_again_byte_for_byte() {
    let text = "key,type,encoding,value\nnvs.net80211,namespace,,\nap.ssid,data,string,home\nap.passwd,data,string,secret-word\nap.authmode,data,u8,4\nsta.ssid,data,string,home\n";
    let room = tempfile::tempdir().unwrap();
    let (csv, bin) = (room.path().join("in.csv"), room.path().join("out.bin"));
    std::fs::write(&csv, text).unwrap();
    let exact = Layout {
        size: 0x3000,
        version: Version::Two,
        key: None,
        wifi_rows: false,
    };
    let made = to_bin(&csv, &exact).unwrap();
    assert!(made.notes.is_empty());
    assert_eq!(made.contents.pairs, 4);
    std::fs::write(&bin, &made.bytes).unwrap();
    let read = to_csv(&bin, None).unwrap();
    assert!(
        read.warnings[0].contains("--no-wifi-rows"),
        "{:?}",
        read.warnings
    );
    std::fs::write(&csv, read.csv.as_bytes()).unwrap();
    assert_eq!(to_bin(&csv, &exact).unwrap().bytes, made.bytes);
    assert_eq!(plain(&csv, 0x3000).unwrap().notes.len(), 4);
    let whole = to_csv(&vector("wifi.bin"), None).unwrap();
    assert!(whole.warnings.is_empty(), "{:?}", whole.warnings);
}

#[test]
fn a_value_that_is_cut_at_its_comma_is_refused() {
    let room = tempfile::tempdir().unwrap();
    let csv = room.path().join("in.csv");
    let head = "key,type,encoding,value\nn,namespace,,,,\n";
    std::fs::write(&csv, format!("{head}a,data,string,to,gether\n")).unwrap();
    let error = plain(&csv, 0x3000).err().unwrap().to_string();
    assert!(
        error.contains("line 3") && !error.contains("gether"),
        "{error}"
    );
    std::fs::write(&csv, format!("{head}a,data,string,\"to,gether\"\n")).unwrap();
    plain(&csv, 0x3000).unwrap();
}

fn unreadable(bytes: &[u8], key: Option<&NvsKey>) -> String {
    let room = tempfile::tempdir().unwrap();
    let bin = room.path().join("in.bin");
    std::fs::write(&bin, bytes).unwrap();
    to_csv(&bin, key).err().unwrap().to_string()
}

#[test]
fn missing_wrong_and_needless_keys_are_told_apart() {
    let plain = std::fs::read(vector("types.bin")).unwrap();
    let encrypted = std::fs::read(vector("types_keys.bin")).unwrap();
    let keys = read_keys(&vector("keys.bin")).unwrap();
    let other = read_keys(&vector("hmac_keys.bin")).unwrap();
    let error = unreadable(&encrypted, None);
    assert!(error.contains("--keys"), "{error}");
    let error = unreadable(&encrypted, Some(&other));
    assert!(error.contains("other keys"), "{error}");
    let error = unreadable(&plain, Some(&keys));
    assert!(error.contains("is not encrypted"), "{error}");
}

#[test]
fn damage_is_named_by_its_offset() {
    let whole = std::fs::read(vector("pages.bin")).unwrap();
    let large = whole
        .windows(5)
        .position(|bytes| bytes == b"large")
        .unwrap()
        - 8;
    for (at, want) in [
        (0x1005, "offset 0x1000"),
        (0x1000, "page state at offset 0x1000"),
        (0x68, "entry at offset 0x60"),
        (large + 40, "blob large"),
        (large + 4, "entry at offset"),
    ] {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x20;
        let error = unreadable(&damaged, None);
        assert!(error.contains(want), "{at:#x}: {error}");
    }
    // The bitmap says that the first chunk is gone: it goes on to the end of the page.
    let mut erased = whole.clone();
    for entry in (large - 64) / 32..126 {
        erased[32 + entry / 4] &= !(0b11 << (entry % 4 * 2));
    }
    let error = unreadable(&erased, None);
    assert!(error.contains("blob large"), "{error}");
    assert!(error.contains("chunk 0 of 4 is missing"), "{error}");

    assert!(unreadable(&whole[..0x1800], None).contains("multiple of 4096"));
    assert!(unreadable(b"key,type,encoding,value\n", None).contains("multiple of 4096"));
}

#[test]
fn key_files_that_hold_no_keys_are_refused_with_what_they_may_be() {
    let room = tempfile::tempdir().unwrap();
    let file = room.path().join("keys.bin");
    let keys = std::fs::read(vector("keys.bin")).unwrap();
    let mut wrong = keys.clone();
    wrong[3] ^= 1;
    for (bytes, want) in [
        (keys[..32].to_vec(), "--hmac-key"),
        (keys[..70].to_vec(), ""),
        (wrong, "flash-decrypt"),
        (vec![0xFF; 4096], "no keys yet"),
        (vec![9; 64], "the same"),
        (vec![9; 5000], "at most 4096"),
    ] {
        std::fs::write(&file, &bytes).unwrap();
        match read_keys(&file) {
            Ok(_) => assert!(want.is_empty()),
            Err(error) => assert!(error.to_string().contains(want), "{error}"),
        }
    }
    let error = read_hmac_keys(&vector("keys.bin"))
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("32"), "{error}");
}

#[test]
fn an_erased_partition_has_no_keys_and_says_so() {
    let room = tempfile::tempdir().unwrap();
    let bin = room.path().join("in.bin");
    std::fs::write(&bin, [0xFF; 0x3000]).unwrap();
    let dump = to_csv(&bin, None).unwrap();
    assert_eq!(dump.csv.as_str(), "key,type,encoding,value\n");
    assert!(dump.warnings[0].contains("no page"), "{:?}", dump.warnings);
}

/// A partition that no CSV makes: the same key twice, a string that is no line, two namespaces of one name.
fn as_a_device_leaves_it() -> Vec<u8> {
    let name = |text| Name::new(text).unwrap();
    let mut partition = vec![0; 0x3000];
    let mut writer = Writer::new(&mut partition, Version::Two, None).unwrap();
    let ns = writer.namespace(name("n")).unwrap();
    let number = |value| Value::Integer(Integer::U8, value);
    for (key, value) in [
        ("a", number(1)),
        ("blob", Value::Blob(b"old")),
        ("line", Value::String("one\r\ntwo")),
        ("a", number(2)),
        ("blob", Value::Blob(b"new")),
    ] {
        writer.put(ns, name(key), value).unwrap();
    }
    let again = writer.namespace(name("n")).unwrap();
    writer.put(again, name("lost"), number(3)).unwrap();
    writer.put(9, name("stray"), number(4)).unwrap();
    writer.finish();
    partition
}

#[test]
fn of_values_written_again_the_last_counts_and_what_a_device_does_not_find_is_said() {
    let dump = parse_partition(&as_a_device_leaves_it(), None).unwrap();
    let want = "key,type,encoding,value\nn,namespace,,\n\
        # line,data,string as hex,6f6e650d0a74776f00\n\
        a,data,u8,2\nblob,data,hex2bin,6e6577\n";
    assert_eq!(dump.csv.as_str(), want);
    assert_eq!(dump.contents.pairs, 2);
    for want in [
        "n a: the value at offset 0x60 was replaced",
        "n blob: the value at offset",
        "n line: the string has a byte that a CSV can't carry",
        "namespace n is there twice",
        "namespace 9 has no name",
    ] {
        let said = dump.warnings.iter().any(|warning| warning.contains(want));
        assert!(said, "{want}: {:?}", dump.warnings);
    }
}

#[test]
fn pages_count_in_the_order_of_writing_and_those_given_up_do_not() {
    let whole = std::fs::read(vector("pages.bin")).unwrap();
    let want = parse_partition(&whole, None).unwrap();
    let mut moved = whole.clone();
    let (first, rest) = moved.split_at_mut(0x1000);
    first.swap_with_slice(&mut rest[0x3000..0x4000]);
    let dump = parse_partition(&moved, None).unwrap();
    assert_eq!(dump.csv.as_str(), want.csv.as_str());
    assert!(dump.warnings.is_empty(), "{:?}", dump.warnings);

    let mut given_up = whole;
    // The page in reserve, as a device leaves it that lost power while erasing.
    given_up[0x6000] = 0xF0;
    let dump = parse_partition(&given_up, None).unwrap();
    assert_eq!(dump.csv.as_str(), want.csv.as_str());
    assert!(dump.warnings[0].contains("0x6000"), "{:?}", dump.warnings);
}

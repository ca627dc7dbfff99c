//! NVS partitions as Espressif's tool lays them out, what is read back, and what damage is named.
#![allow(
    clippy::unwrap_used,
    reason = "a test may unwrap, and documents itself by its name"
)]

use airseal_esp::nvs::{
    Integer, KEYS_LEN, KeysFault, Kind, Name, NameFault, NvsFault, NvsKey, PAGE_LEN, Page, Value,
    Version, WriteFault, Writer, keys_from_partition, keys_partition,
};
use proptest::prelude::*;

fn data(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/esp/nvs");
    std::fs::read(format!("{folder}/{name}")).unwrap()
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn key() -> NvsKey {
    NvsKey::new(&keys_from_partition(&data("keys.bin")).unwrap()).unwrap()
}

/// Namespace, key, type, and the value as bytes: a number's as an i128.
#[derive(Debug, PartialEq)]
struct Pair(u8, String, &'static str, Vec<u8>);

fn read(partition: &[u8], key: Option<&NvsKey>) -> Result<Vec<Pair>, NvsFault> {
    let mut pairs = Vec::new();
    let mut chunks = Vec::new();
    let (pages, rest) = partition.as_chunks::<PAGE_LEN>();
    assert!(rest.is_empty());
    for (number, page) in pages.iter().enumerate() {
        for item in Page::parse(page, number * PAGE_LEN)?.items(key) {
            let item = item?;
            let mut bytes = Vec::new();
            item.read_data(|data| bytes.extend_from_slice(data))?;
            let kind = match item.entry.kind {
                Kind::Integer(integer) => {
                    bytes = integer.decode(item.entry.data).to_le_bytes().to_vec();
                    integer.name()
                }
                Kind::String => "string",
                Kind::Blob => "blob",
                Kind::BlobData => {
                    chunks.extend_from_slice(&bytes);
                    continue;
                }
                Kind::BlobIndex => {
                    bytes = std::mem::take(&mut chunks);
                    assert_eq!(item.entry.blob_index().0 as usize, bytes.len());
                    "blob"
                }
            };
            let name = item.entry.name.as_str().to_owned();
            pairs.push(Pair(item.entry.namespace, name, kind, bytes));
        }
    }
    Ok(pairs)
}

/// Makes a partition with a number of bytes in it, then some values, and compares it with that of Espressif's tool.
fn check_end_of_page(file: &str, numbers: u8, tail: &[(&str, Value<'_>)]) {
    let want = data(&format!("{file}.bin"));
    let mut partition = vec![0; want.len()];
    let mut writer = Writer::new(&mut partition, Version::Two, None).unwrap();
    let namespace = writer.namespace(name("e")).unwrap();
    for number in 0..numbers {
        let key = name(&format!("k{number}"));
        let value = Value::Integer(Integer::U8, i128::from(number));
        writer.put(namespace, key, value).unwrap();
    }
    for (key, value) in tail {
        writer.put(namespace, name(key), *value).unwrap();
    }
    assert_eq!(writer.finish().len, want.len(), "{file}");
    assert!(partition == want, "{file}");
}

#[test]
fn pages_end_as_those_of_espressif_tool() {
    let number = |value| Value::Integer(Integer::U8, value);
    let (z, t) = ("z".repeat(100), "t".repeat(95));
    let blob = Value::Blob(&[0xAB; 320]);
    let text = Value::String(&z);
    check_end_of_page(
        "edge_full",
        115,
        &[("b", blob), ("after", number(1)), ("s", text)],
    );
    check_end_of_page("edge_chunk0", 124, &[("b", Value::Blob(&[0xCD; 50]))]);
    check_end_of_page("edge_page", 125, &[("b", Value::Blob(&[0xEF; 50]))]);
    check_end_of_page(
        "edge_string",
        121,
        &[("s", Value::String(&t)), ("u", number(9))],
    );
    check_end_of_page("edge_one", 124, &[("u", number(9))]);
    let blob = Value::Blob(&[0x12; 100]);
    check_end_of_page("edge_index", 120, &[("b", blob), ("u", number(9))]);
}

#[test]
fn an_encrypted_partition_reads_as_the_plain_one() {
    for (plain, encrypted) in [("types", "types_keys"), ("pages", "pages_keys")] {
        let plain = read(&data(&format!("{plain}.bin")), None).unwrap();
        let encrypted = data(&format!("{encrypted}.bin"));
        assert!(plain.len() > 20);
        assert_eq!(read(&encrypted, Some(&key())).unwrap(), plain);
        let blind = read(&encrypted, None).unwrap_err();
        assert_eq!(blind, NvsFault::EntryCrc { offset: 0x40 });
    }
}

#[test]
fn a_keys_partition_is_the_one_of_espressif_tool_and_damage_is_named() {
    let file = data("keys.bin");
    let keys = keys_from_partition(&file).unwrap();
    assert_eq!(keys_partition(&keys)[..], file[..]);
    assert_eq!(keys_from_partition(&file[..68]).unwrap(), keys);
    assert_eq!(keys_from_partition(&file[..64]).unwrap(), keys);

    let fault = |bytes: &[u8]| keys_from_partition(bytes).unwrap_err();
    assert_eq!(fault(&file[..66]), KeysFault::Length { found: 66 });
    assert_eq!(fault(&[0xFF; 4096]), KeysFault::Erased);
    for at in [0, 40, 66] {
        let mut wrong = file.clone();
        wrong[at] ^= 1;
        assert_eq!(fault(&wrong), KeysFault::Crc);
    }
    let mut longer = file;
    longer[100] = 0;
    assert_eq!(fault(&longer), KeysFault::Behind { offset: 100 });
    assert!(matches!(NvsKey::new(&[7; KEYS_LEN]), Err(KeysFault::Same)));
}

#[test]
fn damage_is_named_by_its_offset() {
    let whole = data("types.bin");
    let pairs = read(&whole, None).unwrap();
    let fault = |at: usize| {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x40;
        read(&damaged, None)
    };
    assert_eq!(fault(4), Err(NvsFault::HeaderCrc { offset: 0 }));
    assert_eq!(fault(0x60), Err(NvsFault::EntryCrc { offset: 0x60 }));
    let text = whole.windows(4).position(|bytes| bytes == b"lamp").unwrap();
    let entry = text - 32;
    assert_eq!(fault(text), Err(NvsFault::DataCrc { offset: entry }));
    // Behind the last entry nothing is in use.
    assert_eq!(fault(0xFE0).unwrap(), pairs);

    let mut states = whole;
    states[0] = 0xF1;
    let found = 0xFFFF_FFF1;
    let offset = 0;
    assert_eq!(
        read(&states, None),
        Err(NvsFault::PageState { offset, found })
    );
}

#[test]
fn what_does_not_fit_is_refused() {
    assert_eq!(Name::new(""), Err(NameFault::Empty));
    assert_eq!(
        Name::new("sixteen_letters_"),
        Err(NameFault::TooLong { len: 16 })
    );
    assert_eq!(Name::new("Grüße"), Err(NameFault::Characters));
    assert!(Name::new("fifteen_letters").is_ok());

    for len in [0, 1, 4095, 4097] {
        let fault = Writer::new(&mut vec![0; len], Version::Two, None)
            .err()
            .unwrap();
        assert_eq!(fault, NvsFault::PartitionLen { len });
    }
    let mut partition = [0; PAGE_LEN];
    let mut writer = Writer::new(&mut partition, Version::One, None).unwrap();
    let ns = writer.namespace(name("n")).unwrap();
    for (value, low, high) in [(256, 0, 255), (-1, 0, 255)] {
        let value = Value::Integer(Integer::U8, value);
        let fault = writer.put(ns, name("a"), value);
        assert_eq!(fault, Err(WriteFault::Range { low, high }));
    }
    let (len, max) = (1985, 1984);
    let fault = writer.put(ns, name("a"), Value::Blob(&[0; 1985]));
    assert_eq!(fault, Err(WriteFault::TooLong { len, max }));
    writer.put(ns, name("a"), Value::Blob(&[0; 1984])).unwrap();
    let fault = writer.put(ns, name("b"), Value::Blob(&[0; 1984]));
    assert_eq!(fault, Err(WriteFault::NoRoom));
}

#[test]
fn the_longest_string_has_a_page_for_itself() {
    let text = "x".repeat(3999);
    let mut partition = [0; 4 * PAGE_LEN];
    let mut writer = Writer::new(&mut partition, Version::Two, None).unwrap();
    let ns = writer.namespace(name("n")).unwrap();
    writer.put(ns, name("a"), Value::String(&text)).unwrap();
    let value = Value::Integer(Integer::I8, -1);
    writer.put(ns, name("b"), value).unwrap();
    assert_eq!(writer.finish().pages, 3);
    let read = read(&partition, None).unwrap();
    assert_eq!(read[1].3.len(), 4000);
    assert_eq!(read[2].3, (-1i128).to_le_bytes());
}

fn value() -> impl Strategy<Value = (usize, i64, Vec<u8>)> {
    (
        0..10usize,
        any::<i64>(),
        prop::collection::vec(any::<u8>(), 0..600),
    )
}

proptest! {
    #[test]
    fn what_was_written_is_read(
        values in prop::collection::vec(value(), 0..60), version in 0..2, encrypted: bool,
    ) {
        let version = if version == 0 { Version::One } else { Version::Two };
        let key = encrypted.then(key);
        let mut partition = vec![0; 16 * PAGE_LEN];
        let mut writer = Writer::new(&mut partition, version, key.as_ref()).unwrap();
        let ns = writer.namespace(name("n")).unwrap();
        let one = 1i128.to_le_bytes().to_vec();
        let mut want = vec![Pair(0, "n".to_owned(), "u8", one)];
        for (number, (kind, integer, bytes)) in values.iter().enumerate() {
            let text = hex::encode(bytes);
            let (value, kind, bytes) = match Integer::ALL.get(*kind) {
                Some(kind) => {
                    let (low, high) = kind.range();
                    let integer = i128::from(*integer).clamp(low, high);
                    (Value::Integer(*kind, integer), kind.name(), integer.to_le_bytes().to_vec())
                }
                None if *kind == 8 => {
                    let mut bytes = text.as_bytes().to_vec();
                    bytes.push(0);
                    (Value::String(&text), "string", bytes)
                }
                None => (Value::Blob(bytes), "blob", bytes.clone()),
            };
            let key = format!("k{number}");
            writer.put(ns, name(&key), value).unwrap();
            want.push(Pair(ns, key, kind, bytes));
        }
        prop_assert_eq!(read(&partition, key.as_ref()).unwrap(), want);
    }
}

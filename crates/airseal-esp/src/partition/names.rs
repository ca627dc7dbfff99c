//! The words for types and subtypes in CSV files.

use super::{TYPE_APP, TYPE_BOOTLOADER, TYPE_DATA, TYPE_TABLE};

pub(super) fn of_kind(kind: u8) -> Option<&'static str> {
    let found = KINDS.iter().find(|(number, _)| *number == kind);
    found.map(|(_, name)| *name)
}

pub(super) fn kind(name: &str) -> Option<u8> {
    let found = KINDS
        .iter()
        .find(|(_, known)| name.eq_ignore_ascii_case(known));
    found.map(|(number, _)| *number)
}

pub(super) fn of_subtype(kind: u8, subtype: u8) -> Option<&'static str> {
    let found = SUBTYPES
        .iter()
        .find(|(of, _, number)| *of == kind && *number == subtype);
    found.map(|(_, name, _)| *name)
}

pub(super) fn subtype(kind: u8, name: &str) -> Option<u8> {
    let found = SUBTYPES
        .iter()
        .find(|(of, known, _)| *of == kind && name.eq_ignore_ascii_case(known));
    found.map(|(_, _, number)| *number)
}

/// The names of the types, for a message.
pub(super) fn kinds() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|(_, name)| *name)
}

/// The names of a type's subtypes, for a message.
pub(super) fn subtypes(kind: u8) -> impl Iterator<Item = &'static str> {
    let slots = (kind == TYPE_APP).then_some("ota_0 to ota_15");
    let known = SUBTYPES.iter().filter(move |(of, _, _)| *of == kind);
    slots.into_iter().chain(known.map(|(_, name, _)| *name))
}

const KINDS: &[(u8, &str)] = &[
    (TYPE_APP, "app"),
    (TYPE_DATA, "data"),
    (TYPE_BOOTLOADER, "bootloader"),
    (TYPE_TABLE, "partition_table"),
];

/// All but `ota_0` to `ota_15`.
const SUBTYPES: &[(u8, &str, u8)] = &[
    (TYPE_APP, "factory", 0x00),
    (TYPE_APP, "test", 0x20),
    (TYPE_APP, "tee_0", 0x30),
    (TYPE_APP, "tee_1", 0x31),
    (TYPE_DATA, "ota", 0x00),
    (TYPE_DATA, "phy", 0x01),
    (TYPE_DATA, "nvs", 0x02),
    (TYPE_DATA, "coredump", 0x03),
    (TYPE_DATA, "nvs_keys", 0x04),
    (TYPE_DATA, "efuse", 0x05),
    (TYPE_DATA, "undefined", 0x06),
    (TYPE_DATA, "esphttpd", 0x80),
    (TYPE_DATA, "fat", 0x81),
    (TYPE_DATA, "spiffs", 0x82),
    (TYPE_DATA, "littlefs", 0x83),
    (TYPE_DATA, "tee_ota", 0x90),
    (TYPE_BOOTLOADER, "primary", 0x00),
    (TYPE_BOOTLOADER, "ota", 0x01),
    (TYPE_BOOTLOADER, "recovery", 0x02),
    (TYPE_TABLE, "primary", 0x00),
    (TYPE_TABLE, "ota", 0x01),
];

"""The signed manifest: header, components, extensions."""

import struct
from dataclasses import dataclass, field, replace

from . import carried, crypto
from .base import Reader, padding, u16
from .payload import occupied, page_count

HEADER_LEN, COMPONENT_LEN, MAX_SIGNED = 256, 160, 2048
MAX_COMPONENTS, MAX_PAGES = 8, 64
ANY_SLOT, ANY_CHIP = 2**64 - 1, 0xFFFF
MESSAGE = b"airseal1 manifest\0"
KINDS = {1: "app", 2: "bootloader", 3: "partition table", 4: "data"}
TARGETS, REQUIRES, CRITICAL, PRIVATE = 0x8001, 0x8002, 0x8000, range(0x7000, 0x8000)
CARRIED_GROUPS = 0x0004

HEADER = struct.Struct("<4sBBHIIBBBBB3s16s16sHHIQIIQQQQ32s32s32s48s")
COMPONENT = struct.Struct("<HBBHBBQQQQB7s16s32s32s32s")


@dataclass
class Component:
    component_id: int = 1
    kind: int = 1
    transform: int = 0
    target_chip: int = ANY_CHIP
    flags: int = 0
    place: int = 0
    file_off: int = 0
    enc_len: int = 0
    install_len: int = 0
    dest_addr: int = ANY_SLOT
    fe_scheme: int = 0
    parameters: bytes = bytes(7)
    fe_check: bytes = bytes(16)
    tree_root: bytes = bytes(32)
    image_digest: bytes = bytes(32)
    base_digest: bytes = bytes(32)

    def encode(self):
        return COMPONENT.pack(*vars(self).values())


@dataclass
class Manifest:
    """Fields in the order of the header; `extensions` are (type, value) pairs."""

    magic: bytes = b"ASM1"
    major: int = 1
    minor: int = 0
    header_len: int = HEADER_LEN
    signed_len: int = 0
    critical: int = 0
    n_components: int = 0
    reserved_17: int = 0
    content_suite: int = 1
    hash_suite: int = 1
    profile: int = 2
    reserved_21: bytes = bytes(3)
    vendor_id: bytes = bytes(16)
    class_id: bytes = bytes(16)
    hw_rev_min: int = 0
    hw_rev_max: int = 0xFFFF
    keyset_version: int = 0
    release_seq: int = 1
    security_version: int = 0
    min_from_secver: int = 0
    min_from_seq: int = 0
    built_at: int = 0
    expires_at: int = 0
    payload_len: int = 0
    payload_salt: bytes = bytes(32)
    cek_commit: bytes = bytes(32)
    version: bytes = b""
    reserved_208: bytes = bytes(48)
    components: list = field(default_factory=list)
    extensions: list = field(default_factory=list)

    def tail(self):
        return b"".join(c.encode() for c in self.components) + b"".join(
            u16(kind) + u16(len(value)) + value + padding(len(value)) for kind, value in self.extensions
        )

    def filled(self):
        """The same manifest with its counts and lengths computed."""
        return replace(self, n_components=len(self.components), signed_len=HEADER_LEN + len(self.tail()))

    def encode(self):
        """The signed bytes, exactly as the fields say; nothing is corrected."""
        head = list(vars(self).values())[:-2]
        return HEADER.pack(*head) + self.tail()

    def digest(self):
        return crypto.sha256(self.encode())

    def targets(self):
        """The recipient ids that may install this release, or None where everyone may."""
        for kind, value in self.extensions:
            if kind == TARGETS:
                return [value[i : i + 16] for i in range(0, len(value), 16)]
        return None

    def carried_groups(self):
        """The next generations of group keys that travel inside."""
        for kind, value in self.extensions:
            if kind == CARRIED_GROUPS:
                return [carried.decode(value[i : i + carried.LEN]) for i in range(0, len(value), carried.LEN)]
        return []

    def version_text(self):
        return self.version.rstrip(b"\0").decode("ascii")


def read_manifest(data, base=0):
    """Signed bytes at the start of `data`; returns the manifest, its signed bytes are data[:signed_len]."""
    r = Reader(data, "manifest", base)
    m = _read_header(r)
    r.require(m.signed_len <= len(data), "signed_len", "truncated", f"{m.signed_len} bytes wanted", at=8)
    r.data = r.data[: m.signed_len]
    running = 0
    for number in range(m.n_components):
        m.components.append(_read_component(r, m, number, running))
        running += occupied(m.profile, m.components[-1].enc_len)
    r.require(m.payload_len == running, "payload_len", "sum", f"components take {running}", at=104)
    while r.left:
        m.extensions.append(_read_extension(r, m.extensions))
    return m


def _read_header(r):
    m = Manifest()
    r.magic(b"ASM1")
    r.constant("B", 1, "major", "version")
    r.constant("B", 0, "minor", "version")
    r.constant("H", HEADER_LEN, "header_len", "version")
    m.signed_len = r.within("I", HEADER_LEN + COMPONENT_LEN, MAX_SIGNED, "signed_len")
    r.constant("I", 0, "critical_flags", "unknown-critical")
    m.n_components = r.within("B", 1, MAX_COMPONENTS, "n_components")
    r.require(HEADER_LEN + COMPONENT_LEN * m.n_components <= m.signed_len, "signed_len", "sum", at=8)
    r.zeros(1)
    m.content_suite = r.within("B", 0, 2, "content_suite", "unknown-value")
    r.constant("B", 1, "hash_suite", "unknown-value")
    m.profile = r.within("B", 1, 4, "profile", "unknown-value")
    r.zeros(3)
    m.vendor_id = r.take(16, "vendor_id")
    m.class_id = r.take(16, "class_id")
    m.hw_rev_min = r.u16("hw_rev_min")
    m.hw_rev_max = r.u16("hw_rev_max")
    r.require(m.hw_rev_min <= m.hw_rev_max, "hw_rev_max", "out-of-range", "below hw_rev_min")
    m.keyset_version = r.u32("keyset_version")
    m.release_seq = r.u64("release_seq")
    m.security_version = r.u32("security_version")
    m.min_from_secver = r.u32("min_from_secver")
    m.min_from_seq = r.u64("min_from_seq")
    m.built_at = r.u64("built_at")
    m.expires_at = r.u64("expires_at")
    m.payload_len = r.u64("payload_len")
    for name in ("payload_salt", "cek_commit"):
        value = r.take(32, name)
        if m.content_suite:
            r.require(any(value), name, "zero", "an encrypted release has one")
        else:
            r.require(not any(value), name, "must-be-zero", "zero without encryption")
        setattr(m, name, value)
    m.version = r.take(32, "version")
    text = m.version.rstrip(b"\0")
    r.require(len(text) <= 31 and all(0x20 <= c <= 0x7E for c in text), "version", "text", "0..31 printable ASCII, then NULs")
    r.zeros(48)
    return m


def _read_component(r, m, number, running):
    c, name, previous = Component(), f"component {number} ", m.components[-1] if m.components else None
    c.component_id = r.u16(name + "component_id")
    if previous:
        r.require(c.component_id != previous.component_id, name + "component_id", "not-ascending")
        r.require(c.component_id > previous.component_id, name + "component_id", "not-ascending")
    c.kind = r.within("B", 1, 4, name + "kind", "unknown-value")
    r.constant("B", 0, name + "transform", "unsupported")
    c.target_chip = r.u16(name + "target_chip")
    r.constant("B", 0, name + "flags", "reserved")
    c.place = r.u8(name + "place")
    if previous:
        r.require(c.place >= previous.place, name + "place", "not-ascending")
        r.require(c.place != previous.place or c.kind == previous.kind, name + "kind", "out-of-range", "one kind per place")
    c.file_off = r.u64(name + "file_off")
    r.require(c.file_off == running, name + "file_off", "sum", f"{running} expected")
    c.enc_len = r.within("Q", 1, 2**32 - 1, name + "enc_len")
    r.require(page_count(m.profile, c.enc_len) <= MAX_PAGES, name + "enc_len", "out-of-range", f"profile {m.profile} holds less")
    c.install_len = r.u64(name + "install_len")
    r.require(c.install_len == c.enc_len, name + "install_len", "sum", "equal to enc_len without a transform")
    c.dest_addr = r.u64(name + "dest_addr")
    r.require(c.dest_addr != ANY_SLOT or c.kind == 1, name + "dest_addr", "out-of-range", "only an app goes to any slot")
    c.fe_scheme = r.within("B", 0, 3, name + "fe_scheme", "unknown-value")
    r.require(not c.fe_scheme or c.dest_addr != ANY_SLOT, name + "fe_scheme", "out-of-range", "flash-encrypted bytes fit one address")
    r.require(not any(r.take(7, name + "transform_parameters")), name + "transform_parameters", "reserved", "parameters of a transform")
    c.fe_check = r.take(16, name + "flash_key_check")
    r.require(c.fe_scheme or not any(c.fe_check), name + "flash_key_check", "must-be-zero", "zero without a scheme")
    c.tree_root = r.take(32, name + "tree_root")
    c.image_digest = r.take(32, name + "image_digest")
    r.require(not any(r.take(32, name + "base_digest")), name + "base_digest", "must-be-zero", "zero without a transform")
    return c


def _read_extension(r, earlier):
    kind = r.u16("extension_type")
    if earlier:
        before = earlier[-1][0] & 0x7FFF
        r.require(kind & 0x7FFF != before, "extension_type", "not-ascending")
        r.require(kind & 0x7FFF > before, "extension_type", "not-ascending")
    r.require(kind != REQUIRES, "extension_type", "unsupported", "reserved for later")
    r.require(not kind & CRITICAL or kind == TARGETS, "extension_type", "unknown-critical", f"0x{kind:04x} is not known here")
    r.require(kind not in (0x0001, 0x0002), "extension_type", "out-of-range", "this number needs its critical bit")
    size = r.u16("extension_len")
    if kind == TARGETS:
        r.require(size and size % 16 == 0, "targets", "out-of-range", "one id or more, 16 bytes each")
    if kind == CARRIED_GROUPS:
        r.require(size and size % carried.LEN == 0, "carried_groups", "out-of-range", "one entry or more, 60 bytes each")
    value = r.take(size, "extension_value")
    if kind == CARRIED_GROUPS:
        entries = [carried.decode(value[i : i + carried.LEN]) for i in range(0, size, carried.LEN)]
        for before, entry in zip(entries, entries[1:], strict=False):
            r.require(before.old_recipient_id < entry.old_recipient_id, "carried_groups", "not-ascending", "old ids ascend")
        for entry in entries:
            old = carried.generation_of(entry.old_recipient_id)
            r.require(entry.generation > old, "carried_groups", "out-of-range", f"generation {entry.generation} after {old}")
    if kind == TARGETS:
        ids = [value[i : i + 16] for i in range(0, size, 16)]
        r.require(len(set(ids)) == len(ids), "targets", "not-ascending")
        r.require(ids == sorted(ids), "targets", "not-ascending", "ids ascend")
    r.zeros(len(padding(size)), "extension_padding")
    return kind, value

"""Signature blocks: reading, writing, and checking their entries against trusted keys."""

from dataclasses import dataclass, field

from . import crypto
from .base import Reader, Refused, padding, u16
from .crypto import ED25519, LMS, P256, Bad

VALUE_LEN = {ED25519: 64, P256: 129, LMS: 1516}
NAMES = {ED25519: "Ed25519", P256: "ECDSA P-256", LMS: "HSS/LMS"}
MAX_ENTRIES, MAX_BLOCK = 8, 4096


@dataclass
class Entry:
    alg: int
    key_id: bytes
    value: bytes
    offset: int | None = None

    def encode(self):
        head = self.alg.to_bytes(2, "little", signed=True) + u16(len(self.value))
        return head + self.key_id + self.value + padding(len(self.value))


@dataclass
class Anchor:
    """A key that counts: `key` is the raw Ed25519 key, or the SHA-256 of any other public key."""

    alg: int
    key_id: bytes
    key: bytes
    roles: int = 0
    reserved: int = 0


@dataclass
class Block:
    entries: list = field(default_factory=list)

    def encode(self, count=None, reserved=bytes(3)):
        count = len(self.entries) if count is None else count
        return bytes([count]) + reserved + b"".join(e.encode() for e in self.entries)

    def key_ids(self):
        return [entry.key_id for entry in self.entries]


def key_id(alg, public):
    return crypto.sha256(b"airseal1 key", alg.to_bytes(2, "little", signed=True), public)[:8]


def anchor(alg, public, roles=0):
    key = public if alg == ED25519 else crypto.sha256(public)
    return Anchor(alg, key_id(alg, public), key, roles)


def read_block(data, base, part):
    """One block at the start of `data`; returns it and its length."""
    r = Reader(data, part, base)
    count = r.within("B", 1, MAX_ENTRIES, "count")
    r.zeros(3)
    block = Block()
    for _ in range(count):
        start = r.pos
        alg = r.i16("algorithm")
        r.require(alg in VALUE_LEN, "algorithm", "unknown-value", f"{alg} is not an algorithm of this format")
        r.constant("H", VALUE_LEN[alg], "len", "out-of-range")
        identity = r.take(8, "key_id")
        previous = block.entries[-1].key_id if block.entries else b""
        r.require(identity != previous, "key_id", "not-ascending", "a key signs once")
        r.require(identity > previous, "key_id", "not-ascending", "entries ascend by key_id")
        value = r.take(VALUE_LEN[alg], "value")
        r.zeros(len(padding(len(value))), "padding")
        block.entries.append(Entry(alg, identity, value, base + start))
    r.require(r.pos <= MAX_BLOCK, "block", "limit", f"more than {MAX_BLOCK} bytes", at=0)
    return block, r.pos


def verified(block, message, anchors, skip_lms, part):
    """The anchors that signed. Entries of other keys are passed over; a bad entry of an anchor refuses the whole."""
    known = {a.key_id: a for a in anchors}
    signers = []
    for entry in block.entries:
        who = known.get(entry.key_id)
        if who is None:
            continue
        try:
            if not _entry_holds(entry, who, message, skip_lms):
                continue
        except Bad as bad:
            name, reason, detail = bad.args
            raise Refused(part, name, entry.offset, reason, f"entry of {entry.key_id.hex()}: {detail}") from None
        signers.append(who)
    return signers


def _entry_holds(entry, who, message, skip_lms):
    """Whether the entry counts. Bad carries field, reason, detail here."""
    if entry.alg != who.alg:
        raise Bad("algorithm", "key-mismatch", f"the key is {NAMES[who.alg]}, the entry says {NAMES[entry.alg]}")
    if entry.alg == LMS:
        if skip_lms:
            return False
        raise Bad("algorithm", "unsupported", "this reader has no LMS, and the keyset asks for a post-quantum signature")
    try:
        if entry.alg == ED25519:
            crypto.ed25519_verify(who.key, message, entry.value)
            return True
        public, signature = entry.value[:65], entry.value[65:]
        if crypto.sha256(public) != who.key or key_id(P256, public) != who.key_id:
            raise Bad("key-mismatch", "the public key in the entry is not the trusted one")
        crypto.p256_verify(public, message, signature)
    except Bad as bad:
        field = "signature" if bad.args[0] in ("bad-signature", "high-s") else "public_key"
        raise Bad(field, *bad.args) from None
    return True

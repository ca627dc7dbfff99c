"""Envelopes: the content key wrapped for one recipient, and packs of them."""

from dataclasses import dataclass

from . import crypto
from .base import Reader, Refused, u16, u32
from .crypto import KEMS, Bad

HEADER_LEN = 56
LENGTHS = {1: 136, 2: 169, 3: 96}
SUITES = {1: "HPKE X25519", 2: "HPKE P-256", 3: "AES-256 key wrap"}


@dataclass
class Envelope:
    wrap_suite: int
    recipient_id: bytes
    manifest_digest: bytes
    wrapped: bytes
    magic: bytes = b"ASE1"
    version: int = 1
    length: int | None = None
    offset: int | None = None

    def header(self):
        length = HEADER_LEN + len(self.wrapped) if self.length is None else self.length
        return self.magic + bytes([self.version, self.wrap_suite]) + u16(length) + self.recipient_id + self.manifest_digest

    def encode(self):
        return self.header() + self.wrapped

    def known(self):
        return self.wrap_suite in LENGTHS


@dataclass
class Identity:
    """A key that opens envelopes: `private` is an X25519 or P-256 private key, or the 32 bytes of a group key."""

    wrap_suite: int
    recipient_id: bytes
    private: object


def asymmetric_id(wrap_suite, public):
    return crypto.sha256(b"airseal1 rcpt", bytes([wrap_suite]), public)[:16]


def group_id(key, generation):
    return crypto.hkdf(key, b"airseal1 rcpt id", 12) + u32(generation)


def read_pack(data, digest, base=0):
    """All envelopes of a section; `digest` is the manifest's (None: each only agrees with the first)."""
    pack, pos = [], 0
    while pos < len(data) or not pack:
        r = Reader(data[pos:], "envelope", base + pos)
        r.magic(b"ASE1")
        r.constant("B", 1, "version", "version")
        suite = r.u8("wrap_suite")
        length = r.u16("len")
        r.require(length >= HEADER_LEN, "len", "out-of-range", "shorter than its header")
        if suite in LENGTHS:
            r.require(length == LENGTHS[suite], "len", "out-of-range", f"{LENGTHS[suite]} expected, {length} found")
        r.require(length <= len(r.data), "len", "truncated", f"{length} bytes wanted, {len(r.data)} left")
        recipient = r.take(16, "recipient_id")
        if pack:
            r.require(recipient != pack[-1].recipient_id, "recipient_id", "not-ascending")
            r.require(recipient > pack[-1].recipient_id, "recipient_id", "not-ascending")
        seen = r.take(32, "manifest_digest")
        digest = seen if digest is None else digest
        r.require(seen == digest, "manifest_digest", "other-release", "an envelope of another release")
        pack.append(Envelope(suite, recipient, seen, r.take(length - HEADER_LEN, "wrapped"), offset=base + pos))
        pos += length
    return pack


def wrap(identity_public, wrap_suite, recipient_id, digest, cek, ephemeral=None):
    """Seals `cek` for one recipient: `identity_public` is a raw public key, or the group key itself."""
    size = LENGTHS[wrap_suite] - HEADER_LEN
    envelope = Envelope(wrap_suite, recipient_id, digest, bytes(size))
    head = envelope.header()
    if wrap_suite == 3:
        envelope.wrapped = crypto.key_wrap(crypto.hkdf(identity_public, b"airseal1 kw" + head, 32), cek)
    else:
        envelope.wrapped = crypto.hpke_seal(KEMS[wrap_suite], ephemeral, identity_public, b"airseal1 wrap" + head, cek)
    return envelope


def find(pack, identity):
    for envelope in pack:
        if envelope.recipient_id == identity.recipient_id and envelope.known():
            return envelope
    raise Refused("envelope", "recipient_id", None, "not-a-recipient", f"none for {identity.recipient_id.hex()}")


def unwrap(envelope, identity):
    """The content key. That it is the right one shows only against the manifest's commitment."""
    head = envelope.header()
    if envelope.wrap_suite != identity.wrap_suite:
        raise Refused("envelope", "recipient_id", envelope.offset, "not-a-recipient", "the wrap suite is not this key's")
    try:
        if envelope.wrap_suite == 3:
            return crypto.key_unwrap(crypto.hkdf(identity.private, b"airseal1 kw" + head, 32), envelope.wrapped)
        return crypto.hpke_open(KEMS[envelope.wrap_suite], identity.private, b"airseal1 wrap" + head, envelope.wrapped)
    except Bad as bad:
        raise Refused("envelope", "wrapped_key", envelope.offset, "unwrap-failed", bad.args[1]) from None

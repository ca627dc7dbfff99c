"""Keysets: who may sign releases, root changes and offers, and how one keyset follows another."""

import struct
from dataclasses import dataclass, field, replace

from . import crypto, signatures
from .base import Reader, Refused
from .crypto import ED25519, LMS, Bad
from .signatures import Anchor, Block

HEADER_LEN, ROW_LEN, MAX_KEYS = 96, 44, 16
MESSAGE = b"airseal1 keyset\0"
ROOT, RELEASE, OFFER = 1, 2, 4
HEADER = struct.Struct("<4sBBHII16s16s32sIBBBBB7s")


@dataclass
class Keyset:
    """Fields in the order of the header; `keys` are anchors with roles."""

    magic: bytes = b"ASK1"
    major: int = 1
    minor: int = 0
    header_len: int = HEADER_LEN
    signed_len: int = 0
    version: int = 1
    vendor_id: bytes = bytes(16)
    class_id: bytes = bytes(16)
    prev_digest: bytes = bytes(32)
    max_security_version: int = 0
    n_keys: int = 0
    k_root: int = 1
    k_root_pq: int = 0
    k_release: int = 1
    k_release_pq: int = 0
    reserved: bytes = bytes(7)
    keys: list = field(default_factory=list)
    block: Block = field(default_factory=Block)
    offset: int = 0

    def filled(self):
        return replace(self, n_keys=len(self.keys), signed_len=HEADER_LEN + ROW_LEN * len(self.keys))

    def encode(self):
        """The signed bytes, exactly as the fields say."""
        rows = b"".join(k.alg.to_bytes(2, "little", signed=True) + bytes([k.roles, k.reserved]) + k.key_id + k.key for k in self.keys)
        return HEADER.pack(*list(vars(self).values())[:-3]) + rows

    def digest(self):
        return crypto.sha256(self.encode())

    def skips_lms(self):
        return not self.k_root_pq and not self.k_release_pq

    def holders(self, role, post_quantum):
        return [k for k in self.keys if k.roles & role and (k.alg == LMS) == post_quantum]


def read_keyset(data, base=0):
    """One keyset with its signature block at the start of `data`; returns it and its length."""
    r = Reader(data, "keyset", base)
    ks = Keyset(offset=base)
    r.magic(b"ASK1")
    r.constant("B", 1, "major", "version")
    r.constant("B", 0, "minor", "version")
    r.constant("H", HEADER_LEN, "header_len", "version")
    ks.signed_len = r.u32("signed_len")
    ks.version = r.u32("version")
    r.require(ks.version >= 1, "version", "out-of-range", "versions start at 1")
    ks.vendor_id = r.take(16, "vendor_id")
    ks.class_id = r.take(16, "class_id")
    ks.prev_digest = r.take(32, "prev_digest")
    r.require(ks.version != 1 or not any(ks.prev_digest), "prev_digest", "must-be-zero", "version 1 follows nothing")
    ks.max_security_version = r.u32("max_security_version")
    ks.n_keys = r.within("B", 1, MAX_KEYS, "n_keys")
    r.require(ks.signed_len == HEADER_LEN + ROW_LEN * ks.n_keys, "signed_len", "sum", "96 + 44 per key", at=8)
    ks.k_root = r.within("B", 1, 3, "k_root", "threshold")
    ks.k_root_pq = r.within("B", 0, 1, "k_root_pq", "threshold")
    ks.k_release = r.within("B", 1, 8, "k_release", "threshold")
    ks.k_release_pq = r.within("B", 0, 2, "k_release_pq", "threshold")
    r.require(ks.k_release + ks.k_release_pq <= 8, "k_release_pq", "threshold", "a block has 8 entries")
    r.zeros(7)
    for number in range(ks.n_keys):
        ks.keys.append(_read_row(r, ks, f"key {number} "))
    _check_thresholds(r, ks)
    ks.block, size = signatures.read_block(data[r.pos :], base + r.pos, "keyset")
    return ks, r.pos + size


def _read_row(r, ks, name):
    alg = r.i16(name + "algorithm")
    r.require(alg in signatures.VALUE_LEN, name + "algorithm", "unknown-value", f"{alg} is not an algorithm of this format")
    roles = r.u8(name + "roles")
    r.require(roles and not roles & ~(ROOT | RELEASE | OFFER), name + "roles", "wrong-role", "1 root, 2 release, 4 offer")
    offer_alone = roles == OFFER and alg == ED25519
    r.require(not roles & OFFER or offer_alone, name + "roles", "wrong-role", "an offer key is Ed25519 and nothing else")
    r.zeros(1, name + "reserved")
    identity = r.take(8, name + "key_id")
    if ks.keys:
        r.require(identity != ks.keys[-1].key_id, name + "key_id", "not-ascending")
        r.require(identity > ks.keys[-1].key_id, name + "key_id", "not-ascending")
    key = r.take(32, name + "key")
    r.require(all(key != k.key for k in ks.keys), name + "key", "not-ascending", "the same key twice")
    if alg == ED25519:
        try:
            crypto.ed_check_point(key)
        except Bad as bad:
            r.fail(name + "key", *bad.args)
        r.require(identity == signatures.key_id(alg, key), name + "key_id", "key-mismatch", "not the id of this key")
    return Anchor(alg, identity, key, roles)


def _check_thresholds(r, ks):
    rows = (("k_root", ROOT, False), ("k_root_pq", ROOT, True), ("k_release", RELEASE, False), ("k_release_pq", RELEASE, True))
    for at, (name, role, post_quantum) in enumerate(rows, start=85):
        have = len(ks.holders(role, post_quantum))
        r.require(getattr(ks, name) <= have, name, "threshold", f"only {have} keys could sign", at=at)


def read_keyset_file(data):
    """Keysets back to back; they ascend by one and each holds against the one before."""
    chain, pos = [], 0
    while pos < len(data) or not chain:
        ks, size = read_keyset(data[pos:], pos)
        chain.append(ks)
        pos += size
    check_ascending(chain)
    return chain


def check_ascending(chain):
    for before, ks in zip(chain, chain[1:]):
        if ks.version != before.version + 1:
            _refuse(ks, "version", 12, "chain-gap", f"{before.version + 1} expected, {ks.version} found")


def accept_chain(chain, in_force=None):
    """The keyset in force after a carried chain. Without one in force the first stands by its own roots."""
    for ks in chain:
        if in_force is None:
            _check_roots(ks, ks)
            in_force = ks
        elif ks.version < in_force.version:
            continue
        elif ks.version == in_force.version:
            if ks.encode() != in_force.encode():
                _refuse(ks, "version", 12, "keyset-conflict", "another keyset of this version is in force")
        else:
            _check_step(in_force, ks)
            in_force = ks
    return in_force


def _check_step(old, new):
    if new.version != old.version + 1:
        _refuse(new, "version", 12, "chain-gap", f"{old.version + 1} expected, {new.version} found")
    if new.prev_digest != old.digest():
        _refuse(new, "prev_digest", 48, "chain-broken", "does not name the keyset before")
    if new.vendor_id != old.vendor_id:
        _refuse(new, "vendor_id", 16, "owner-changed", "the vendor never changes")
    if new.class_id != old.class_id:
        _refuse(new, "class_id", 32, "owner-changed", "the class never changes")
    if new.max_security_version < old.max_security_version:
        _refuse(new, "max_security_version", 80, "security-version-fell", "never falls")
    _check_roots(new, old)
    _check_roots(new, new)


def _check_roots(ks, judge):
    """`ks` carries enough root signatures in the eyes of `judge`."""
    signers = signatures.verified(ks.block, MESSAGE + ks.encode(), judge.keys, judge.skips_lms(), "keyset")
    _count(signers, ROOT, judge.k_root, judge.k_root_pq, "keyset", f"roots of version {judge.version}")


def check_release(block, message, ks):
    """Enough release signatures under the keyset in force; returns the signers."""
    signers = signatures.verified(block, message, ks.keys, ks.skips_lms(), "signatures")
    _count(signers, RELEASE, ks.k_release, ks.k_release_pq, "signatures", "release keys")
    return signers


def _count(signers, role, classical, post_quantum, part, name):
    having = [s for s in signers if s.roles & role]
    pq = sum(s.alg == LMS for s in having)
    if len(having) - pq < classical or pq < post_quantum:
        raise Refused(part, "count", None, "too-few-signatures", f"{name}: {classical}+{post_quantum} wanted, {len(having) - pq}+{pq} signed")


def _refuse(ks, name, at, reason, detail):
    raise Refused("keyset", name, ks.offset + at, reason, detail)

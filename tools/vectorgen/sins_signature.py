"""Faults of signature blocks of manifests, and of what was signed."""

import hashlib
from dataclasses import replace


from sealed import crypto, keyset, make, manifest
from sealed.keyset import RELEASE, ROOT
from sealed.signatures import Block, Entry

from .frame import (
    ED_BASE, ED_ORDER_8, K1, K2, KEYS, ROWS_1, Stream, add_entry, ed_mul, ed_sign, lms_entry, lms_row, make_keyset, release,
)  # fmt: skip
from .sins_bundle import VERIFY

A, P = KEYS["release-a"], KEYS["release-p256"]


def add_all(out):
    block(out)
    ed25519(out)
    p256(out)
    keys(out)
    counting(out)


def sin(out, name, about, reason, field, change=None, sign=("release-a",), **fields):
    """`change` gets the parts, edits the block or returns another."""

    def after(parts):
        changed = change(parts) if change else None
        parts.block = parts.block if changed is None else changed

    options = {key: fields.pop(key) for key in list(fields) if key in ("keyset_version", "keysets")}
    parts = release(f"sin {name}", 100, sign=sign, after=after, **options)
    out.sin(name, "bundle", parts.encode(), about, "signatures", reason, field, **{**VERIFY, **fields})


def rewritten(**values):
    """Changes fields of the only entry."""
    return lambda parts: Block([replace(parts.block.entries[0], **values)])


def with_value(change):
    return lambda parts: Block([replace(parts.block.entries[0], value=change(parts.block.entries[0].value))])


def block(out):
    sin(out, "signatures-none", "count 0", "out-of-range", "count", lambda p: bytes(4))
    sin(out, "signatures-nine", "count 9", "out-of-range", "count", lambda p: p.block.encode(count=9))
    nine = [Entry(-19, bytes([n]) * 8, bytes(64)) for n in range(1, 9)]
    sin(out, "signatures-nine-present", "nine entries", "out-of-range", "count", lambda p: add_entry(p.block, *nine))
    sin(out, "signatures-fewer-than-said", "count 2, one entry", "truncated", "algorithm", lambda p: p.block.encode(count=2))
    sin(out, "signatures-more-than-said", "count 1, two entries", "trailing-bytes", "end", lambda p: p.block.encode(count=1), sign=("release-a", "release-b"))
    sin(out, "signatures-reserved", "a reserved byte", "reserved", "reserved", lambda p: p.block.encode(reserved=b"\0\0\1"))
    for number in (-8, -7, 0, 19, -37):
        sin(out, f"signatures-algorithm-{number}", f"algorithm {number}", "unknown-value", "algorithm", rewritten(alg=number))
    unknown = Entry(-8, b"\1" * 8, bytes(64))
    sin(out, "signatures-algorithm-of-unknown-key", "an unknown number in an entry of nobody", "unknown-value", "algorithm", lambda p: add_entry(p.block, unknown))
    sin(out, "signatures-length-60", "Ed25519 in 60 bytes", "out-of-range", "len", with_value(lambda v: v[:60]))
    sin(out, "signatures-length-68", "Ed25519 in 68 bytes", "out-of-range", "len", with_value(lambda v: v + bytes(4)))
    sin(out, "signatures-p256-without-key", "P-256 in 64 bytes", "out-of-range", "len", with_value(lambda v: v[65:]), sign=("release-p256",), trust=["release-p256"])
    odd = Entry(-9, b"\1" * 8, bytes(128))
    sin(out, "signatures-length-of-unknown-key", "a wrong length in an entry of nobody", "out-of-range", "len", lambda p: add_entry(p.block, odd))
    sin(out, "signatures-same-signer-twice", "one entry twice", "not-ascending", "key_id", lambda p: Block(p.block.entries * 2))
    both = ("release-a", "release-b")
    sin(out, "signatures-descending", "entries out of order", "not-ascending", "key_id", lambda p: Block(p.block.entries[::-1]), sign=both)

    def pad(parts):
        return parts.block.encode()[:-1] + b"\1"

    sin(out, "signatures-padding", "nonzero padding", "reserved", "padding", pad, sign=("release-p256",), trust=["release-p256"])
    large = [lms_entry(bytes([n]) * 8) for n in (1, 2, 3)]
    sin(out, "signatures-over-4-kib", "three LMS entries", "limit", "block", lambda p: add_entry(p.block, *large))
    sin(out, "signatures-lms-length", "an LMS entry of 1512 bytes", "out-of-range", "len", lambda p: add_entry(p.block, replace(lms_entry(), value=bytes(1512))))


def ed25519(out):
    sin(out, "ed25519-flip-r", "a bit of R", "bad-signature", "signature", with_value(find_flip))
    sin(out, "ed25519-flip-s", "a bit of S", "bad-signature", "signature", with_value(lambda v: v[:32] + bytes([v[32] ^ 1]) + v[33:]))
    order = crypto.ED_L

    def larger(v):
        return v[:32] + (int.from_bytes(v[32:], "little") + order).to_bytes(32, "little")

    sin(out, "ed25519-s-plus-order", "S + L, the same residue", "bad-signature", "signature", with_value(larger))
    scalar = clamped(A)

    def small_r(parts):
        r, _, s = ed_sign(scalar, A.public, 0, message(parts), (0, 1))
        return Block([replace(parts.block.entries[0], value=r + s.to_bytes(32, "little"))])

    sin(out, "ed25519-small-order-r", "R is the identity and the equation holds", "bad-signature", "signature", small_r)

    def noncanonical_r(parts):
        r = (crypto.ED_P + 1).to_bytes(32, "little")
        k = int.from_bytes(hashlib.sha512(r + A.public + message(parts)).digest(), "little")
        return Block([replace(parts.block.entries[0], value=r + (k * scalar % order).to_bytes(32, "little"))])

    sin(out, "ed25519-noncanonical-r", "R is the identity, written as y = p + 1", "bad-signature", "signature", noncanonical_r)

    def cofactored(parts):
        nonce = int.from_bytes(Stream("airseal vectors cofactored").take(32), "little") % order
        point = crypto.ed_add(ed_mul(nonce, ED_BASE), ED_ORDER_8)
        r, _, s = ed_sign(scalar, A.public, nonce, message(parts), point)
        return Block([replace(parts.block.entries[0], value=r + s.to_bytes(32, "little"))])

    sin(out, "ed25519-holds-only-with-cofactor", "R has a part of order 8", "bad-signature", "signature", cofactored)

    def other(text, signed_part):
        def change(parts):
            return make.sign(text + signed_part(parts), [A])

        return change

    sin(out, "signed-without-label", "the manifest without its label", "bad-signature", "signature", other(b"", lambda p: p.signed))
    sin(out, "signed-as-keyset", "the label of keysets", "bad-signature", "signature", other(keyset.MESSAGE, lambda p: p.signed))
    sin(out, "signed-digest", "the digest instead of the bytes", "bad-signature", "signature", other(manifest.MESSAGE, lambda p: crypto.sha256(p.signed)))
    sin(out, "signature-of-another-release", "a signature of another manifest", "bad-signature", "signature", lambda p: release("another", 100).block)

    def resigned(parts):
        return make.sign(message(parts), [KEYS["stranger"]])

    sin(out, "re-signed-by-a-stranger", "a good signature of an unknown key", "too-few-signatures", "count", resigned)

    def forged(parts):
        entry = make.sign(message(parts), [KEYS["stranger"]]).entries[0]
        return Block([replace(entry, key_id=A.key_id())])

    sin(out, "stranger-under-trusted-id", "a stranger's signature under a trusted key_id", "bad-signature", "signature", forged)

    def bit(parts):
        entry = parts.block.entries[0]
        return Block([replace(entry, key_id=bytes([entry.key_id[0] ^ 1]) + entry.key_id[1:])])

    sin(out, "key-id-flipped", "the only signer's key_id is changed", "too-few-signatures", "count", bit)


def p256(out):
    trust = {"sign": ("release-p256",), "trust": ["release-p256"]}
    order = crypto.P256_ORDER

    def high(v):
        return v[:97] + (order - int.from_bytes(v[97:], "big")).to_bytes(32, "big")

    sin(out, "p256-high-s", "n - s in the place of s", "high-s", "signature", with_value(high), **trust)
    for name, at, value in (("r-zero", 65, 0), ("s-zero", 97, 0), ("r-order", 65, order), ("s-order", 97, order)):
        data = value.to_bytes(32, "big")
        sin(out, f"p256-{name}", "out of 1..n-1", "bad-signature", "signature", with_value(lambda v, a=at, d=data: v[:a] + d + v[a + 32 :]), **trust)
    sin(out, "p256-flip-r", "a bit of r", "bad-signature", "signature", with_value(lambda v: v[:96] + bytes([v[96] ^ 1]) + v[97:]), **trust)
    sin(out, "p256-flip-s", "a bit of s", "bad-signature", "signature", with_value(lambda v: v[:-1] + bytes([v[-1] ^ 1])), **trust)
    sin(out, "p256-public-key-flipped", "a bit of the public key in the entry", "key-mismatch", "public_key", with_value(lambda v: v[:10] + bytes([v[10] ^ 1]) + v[11:]), **trust)

    def other_key(parts):
        value = KEYS["stranger-p256"].sign(message(parts))
        return Block([replace(parts.block.entries[0], value=value)])

    sin(out, "p256-another-public-key", "a good signature by the key in the entry, which is not the trusted one", "key-mismatch", "public_key", other_key, **trust)

    def hybrid(v):
        return bytes([6 | v[64] & 1]) + v[1:]

    sin(out, "p256-hybrid-point", "the hybrid encoding of the same point", "key-mismatch", "public_key", with_value(hybrid), **trust)

    def swapped(parts):
        return make.sign(b"airseal1 manifest" + parts.signed, [P])

    sin(out, "p256-signed-without-nul", "the label without its NUL", "bad-signature", "signature", swapped, **trust)
    number = lambda p: Block([Entry(-19, P.key_id(), p.block.entries[0].value[65:])])  # noqa: E731
    sin(out, "p256-key-under-ed25519-number", "a P-256 key_id with the number of Ed25519", "key-mismatch", "algorithm", number, **trust)
    value = bytes(129)
    wrong = lambda p: Block([Entry(-9, A.key_id(), value)])  # noqa: E731
    sin(out, "ed25519-key-under-p256-number", "an Ed25519 key_id with the number of P-256", "key-mismatch", "algorithm", wrong)
    lms = lambda p: Block([Entry(-46, A.key_id(), bytes(1516))])  # noqa: E731
    sin(out, "ed25519-key-under-lms-number", "an Ed25519 key_id with the number of LMS", "key-mismatch", "algorithm", lms)
    both = {"sign": ("release-a", "release-p256"), "trust": ["release-a", "release-p256"]}

    def spoil(parts):
        for entry in parts.block.entries:
            if entry.alg == crypto.P256:
                entry.value = high(entry.value)

    sin(out, "one-good-one-bad", "a good signature beside a bad one of another trusted key", "high-s", "signature", spoil, **both)


def keys(out):
    """Keys that are no keys: refused when they are read, or at the latest when they would count."""
    for name in ("weak-order-1", "weak-order-2", "weak-order-8", "weak-noncanonical"):
        parts = release(f"sin {name}", 100, sign=(name,))
        about = "the equation holds under this key for anybody"
        out.sin(f"ed25519-key-{name}", "bundle", parts.encode(), about, "key", "bad-key", "public_key", operation="verify", trust=[name])


def counting(out):
    under = {"trust": None, "keyset": "keysets/v1.keyset", "keyset_version": 1}
    sin(out, "threshold-1-of-2", "two release keys wanted, one signed", "too-few-signatures", "count", **{**under, "keyset": "keysets/two-of-two-releases.keyset"})
    same = lambda p: Block([*p.block.entries, *p.block.entries])  # noqa: E731
    sin(out, "threshold-same-signer-twice", "two wanted, one signed twice", "not-ascending", "key_id", same, **{**under, "keyset": "keysets/two-of-two-releases.keyset"})
    sin(out, "threshold-root-signed", "a root key does not release", "too-few-signatures", "count", sign=("root-1", "root-2"), **under)
    sin(out, "threshold-offer-signed", "the online key does not release", "too-few-signatures", "count", sign=("offer",), **under)
    sin(out, "threshold-stranger-signed", "a key that is not in the keyset", "too-few-signatures", "count", sign=("stranger",), **under)
    rotated = {**under, "keysets": [K1, K2], "keyset_version": 2}
    sin(out, "threshold-withdrawn-key", "signed by a key that version 2 left out", "too-few-signatures", "count", sign=("release-a",), **rotated)

    def spoil_s(parts):
        for entry in parts.block.entries:
            if entry.key_id == KEYS["offer"].key_id():
                entry.value = entry.value[:32] + bytes([entry.value[32] ^ 1]) + entry.value[33:]

    sin(out, "bad-entry-of-a-key-that-does-not-count", "enough good signatures, and a bad one of another key in the set", "bad-signature", "signature", spoil_s, sign=("release-a", "offer"), **under)
    required = make_keyset(((lms_row(), ROOT | RELEASE), *ROWS_1), k_release_pq=1)
    self_signed = out.keyset_file("lms-release-required", [required])
    entry = lms_entry(lms_row().key_id)
    out_of_reach = lambda p: add_entry(p.block, entry)  # noqa: E731
    sin(out, "lms-required-and-garbage", "a post-quantum signature is wanted, and this one is none", "unsupported", "algorithm", out_of_reach, **{**under, "keyset": self_signed})
    sin(out, "lms-required-and-missing", "a post-quantum signature is wanted", "too-few-signatures", "count", **{**under, "keyset": self_signed})


def message(parts):
    return manifest.MESSAGE + parts.signed


def clamped(key):
    raw = bytearray(hashlib.sha512(key.private.private_bytes_raw()).digest()[:32])
    raw[0] &= 248
    raw[31] = raw[31] & 127 | 64
    return int.from_bytes(raw, "little")


def find_flip(value):
    """R with its lowest flipped bit that still decodes to a point, so that only the equation fails."""
    for bit in range(8):
        r = bytes([value[0] ^ 1 << bit]) + value[1:32]
        try:
            crypto.ed_check_point(r)
        except crypto.Bad:
            continue
        return r + value[32:]
    raise AssertionError("no bit of the first byte gives a point")

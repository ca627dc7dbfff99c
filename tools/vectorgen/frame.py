"""Deterministic keys, releases and keysets, and the collector that writes files and the index."""

import hashlib
import json
import shutil
from dataclasses import dataclass, field, replace

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519

from sealed import bundle, crypto, envelope, keyfile, keyset, make, manifest, signatures, vectors
from sealed.keyfile import DEVICE, DEVICE_P256, GROUP, SIGNING, SIGNING_P256, Key, of_private
from sealed.keyset import OFFER, RELEASE, ROOT
from sealed.make import Component, Manifest

VENDOR, CLASS = "vectors.airseal.example", "sensor"
BUILT_AT = 1_750_000_000


class Stream:
    """SHA-256(label || counter), for ever: every secret and every image of the vectors."""

    def __init__(self, label):
        self.label, self.counter, self.buffer = label.encode(), 0, b""

    def take(self, count):
        while len(self.buffer) < count:
            self.buffer += crypto.sha256(self.label, self.counter.to_bytes(4, "big"))
            self.counter += 1
        out, self.buffer = self.buffer[:count], self.buffer[count:]
        return out


def ephemeral(stream, wrap_suite):
    if wrap_suite == 3:
        return None
    raw = stream.take(32)
    if wrap_suite == 1:
        return x25519.X25519PrivateKey.from_private_bytes(raw)
    return ec.derive_private_key(int.from_bytes(raw, "big") % (crypto.P256_ORDER - 1) + 1, ec.SECP256R1())


def make_key(kind, label, generation=0):
    raw = Stream(f"airseal vectors key {label}").take(32)
    if kind == GROUP:
        return of_private(GROUP, raw, generation)
    if kind == SIGNING:
        return of_private(kind, ed25519.Ed25519PrivateKey.from_private_bytes(raw))
    if kind == DEVICE:
        return of_private(kind, x25519.X25519PrivateKey.from_private_bytes(raw))
    return of_private(kind, ephemeral(Stream(f"airseal vectors key {label}"), 2))


# --- Edge keys of Ed25519, for which signatures are computed by hand ---------------------------------------


def ed_mul(scalar, point):
    out = (0, 1)
    while scalar:
        if scalar & 1:
            out = crypto.ed_add(out, point)
        point, scalar = crypto.ed_add(point, point), scalar >> 1
    return out


def ed_encode(point):
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


ED_BASE = crypto.ed_decode((4 * pow(5, -1, crypto.ED_P) % crypto.ED_P).to_bytes(32, "little"))
ED_ORDER_8 = crypto.ed_decode(bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"))


def ed_sign(scalar, public, r_scalar, message, r_point=None):
    """The signature equation with a chosen nonce, key encoding and R."""
    r = ed_encode(ed_mul(r_scalar, ED_BASE) if r_point is None else r_point)
    k = int.from_bytes(hashlib.sha512(r + public + message).digest(), "little") % crypto.ED_L
    return r, k, (r_scalar + k * scalar) % crypto.ED_L


class MixedOrderKey(Key):
    """A public key with a part of order 8: neither small nor non-canonical, and its signatures can hold."""

    scalar = 0

    def sign(self, message):
        stream = Stream("airseal vectors mixed order nonce")
        while True:
            r, k, s = ed_sign(self.scalar, self.public, int.from_bytes(stream.take(32), "little") % crypto.ED_L, message)
            if k % 8 == 0:
                return r + s.to_bytes(32, "little")


def mixed_order_key():
    scalar = int.from_bytes(Stream("airseal vectors key mixed order").take(32), "little") % crypto.ED_L
    key = MixedOrderKey(SIGNING, None, ed_encode(crypto.ed_add(ed_mul(scalar, ED_BASE), ED_ORDER_8)))
    key.scalar = scalar
    return key


class WeakKey(Key):
    """A key in the small subgroup: S of [S]B = R satisfies every message that hashes well."""

    def sign(self, message):
        stream = Stream("airseal vectors weak nonce")
        while True:
            r, k, s = ed_sign(0, self.public, int.from_bytes(stream.take(32), "little") % crypto.ED_L, message)
            if k % 8 == 0:
                return r + s.to_bytes(32, "little")


KEYS = {
    **{f"release-{n}": make_key(SIGNING, f"release {n}") for n in "abcde"},
    **{f"root-{n}": make_key(SIGNING, f"root {n}") for n in range(1, 7)},
    **{f"root-p256-{n}": make_key(SIGNING_P256, f"root p256 {n}") for n in (1, 2)},
    "release-p256": make_key(SIGNING_P256, "release p256"),
    "release-p256-b": make_key(SIGNING_P256, "release p256 b"),
    "offer": make_key(SIGNING, "offer"),
    "offer-b": make_key(SIGNING, "offer b"),
    "stranger": make_key(SIGNING, "stranger"),
    "stranger-p256": make_key(SIGNING_P256, "stranger p256"),
    "device-1": make_key(DEVICE, "device 1"),
    "device-2": make_key(DEVICE, "device 2"),
    "device-3": make_key(DEVICE, "device 3"),
    "device-p256-1": make_key(DEVICE_P256, "device p256 1"),
    "device-p256-2": make_key(DEVICE_P256, "device p256 2"),
    "group-0": make_key(GROUP, "group"),
    "group-7": make_key(GROUP, "group generation 7", 7),
    "mixed-order": mixed_order_key(),
    "weak-order-1": WeakKey(SIGNING, None, ed_encode((0, 1))),
    "weak-order-2": WeakKey(SIGNING, None, ed_encode((0, crypto.ED_P - 1))),
    "weak-order-8": WeakKey(SIGNING, None, ed_encode(ED_ORDER_8)),
    "weak-noncanonical": WeakKey(SIGNING, None, (crypto.ED_P + 1).to_bytes(32, "little")),
}


# --- Releases ----------------------------------------------------------------------------------------------


@dataclass
class Parts:
    """A bundle taken apart, for a sin to change one of them."""

    signed: bytes
    block: object
    envelopes: list
    payload: bytes
    keysets: list = field(default_factory=list)
    cek: bytes = b""
    manifest: Manifest | None = None

    def block_bytes(self):
        return self.block if isinstance(self.block, bytes) else self.block.encode()

    def sections(self):
        out = [(bundle.KEYSET, k if isinstance(k, bytes) else make.encode_keysets([k])) for k in self.keysets]
        out.append((bundle.MANIFEST, self.signed + self.block_bytes()))
        if self.envelopes:
            pack = self.envelopes if isinstance(self.envelopes, bytes) else make.encode_pack(self.envelopes)
            out.append((bundle.ENVELOPES, pack))
        return out + [(bundle.PAYLOAD, self.payload)]

    def encode(self):
        return bundle.encode(self.sections())


def settings(**changes):
    values = {
        "profile": 1, "vendor_id": make.vendor_id(VENDOR), "class_id": make.class_id(VENDOR, CLASS),
        "release_seq": 42, "security_version": 3, "built_at": BUILT_AT, "version": text("1.2.3"), **changes,
    }  # fmt: skip
    return Manifest(**values)


def text(value):
    return value.encode().ljust(32, b"\0")


def release(label, images=200, to=("device-1",), sign=("release-a",), keysets=(), edit=None, patch=None, after=None, tweak=None, **changes):
    """A bundle in parts. `edit` changes the manifest before it is signed (and may return another), `patch` the signed
    bytes before they are signed, `after` the parts when all is signed; `tweak` the sealed parts before the edit."""
    stream = Stream(f"airseal vectors release {label}")
    if isinstance(images, int):
        images = [(Component(), images)]
    images = [(c, stream.take(body) if isinstance(body, int) else body) for c, body in images]
    cek, salt = stream.take(32), stream.take(32)
    sealed = make.seal(images, settings(**changes), cek, salt)
    m = sealed.manifest
    if tweak:
        tweak(sealed)
    if edit:
        m = edit(m) or m
    signed = m.encode()
    if patch:
        signed = patch(signed)
    block = make.sign(manifest.MESSAGE + signed, [KEYS[name] for name in sign])
    parts = Parts(signed, block, [], sealed.payload, list(keysets), cek, m)
    if m.content_suite:
        parts.envelopes = pack(stream, parts, to)
    if after:
        after(parts)
    return parts


def pack(stream, parts, names, digest=None, cek=None):
    digest = crypto.sha256(parts.signed) if digest is None else digest
    out = []
    for name in names:
        key = KEYS[name]
        public = key.private if key.kind == GROUP else key.public
        suite = key.wrap_suite()
        out.append(envelope.wrap(public, suite, key.recipient_id(), digest, cek or parts.cek, ephemeral(stream, suite)))
    return sorted(out, key=lambda e: e.recipient_id)


def refill(m):
    return m.filled()


# --- Keysets -----------------------------------------------------------------------------------------------

ROWS_1 = (("root-1", ROOT), ("root-2", ROOT), ("root-3", ROOT), ("release-a", RELEASE), ("release-b", RELEASE), ("offer", OFFER))
ROWS_2 = (("root-2", ROOT), ("root-3", ROOT), ("root-4", ROOT), ("release-b", RELEASE), ("release-c", RELEASE), ("offer", OFFER))
ROWS_3 = (("root-4", ROOT), ("root-5", ROOT), ("root-6", ROOT), ("release-c", RELEASE), ("release-d", RELEASE), ("offer-b", OFFER))


def keyset_settings(**changes):
    values = {
        "vendor_id": make.vendor_id(VENDOR), "class_id": make.class_id(VENDOR, CLASS),
        "max_security_version": 100, "k_root": 2, **changes,
    }  # fmt: skip
    return keyset.Keyset(**values)


def make_keyset(rows=ROWS_1, signers=("root-1", "root-2"), previous=None, edit=None, **changes):
    """`rows` are (key name or Anchor, roles); `edit` changes the keyset before it is signed."""
    anchors = [KEYS[who].anchor(roles) if isinstance(who, str) else replace(who, roles=roles) for who, roles in rows]
    base = keyset_settings(**changes)
    if previous is not None:
        base = replace(base, **{"version": previous.version + 1, "prev_digest": previous.digest(), **changes})
    ks = replace(base, keys=sorted(anchors, key=lambda k: k.key_id)).filled()
    if edit:
        ks = edit(ks) or ks
    return make.sign_keyset(ks, [KEYS[name] for name in signers])


K1 = make_keyset()
K2 = make_keyset(ROWS_2, ("root-1", "root-2", "root-3", "root-4"), K1)
K3 = make_keyset(ROWS_3, ("root-2", "root-3", "root-4", "root-5"), K2)


# --- Collector ---------------------------------------------------------------------------------------------

SUFFIX = {"bundle": ".seal", "manifest": ".manifest", "envelopes": ".envelopes", "keyset": ".keyset", "offer": ".offer", "keyfile": ".key"}


class Collector:
    def __init__(self, root):
        self.root, self.cases, self.differences = root, [], []
        for folder in ("good", "sins", "keys", "keysets"):
            shutil.rmtree(root / folder, ignore_errors=True)
            (root / folder).mkdir(parents=True)
        self.index = {"about": "see README.md", "format": 1, "keys": self._keys(), "cases": self.cases}

    def _keys(self):
        out = {}
        for name, key in KEYS.items():
            entry = {"kind": key.kind}
            if key.public is not None:
                entry |= {"public": key.public.hex(), "public_file": f"keys/{name}.pub"}
                (self.root / entry["public_file"]).write_bytes(keyfile.write_public(key))
            if key.private is not None:
                entry |= {"secret": secret(key).hex(), "private_file": f"keys/{name}.key"}
                (self.root / entry["private_file"]).write_bytes(keyfile.write_private(key))
            if key.kind == GROUP:
                entry["generation"] = key.generation
            if key.kind in keyfile.SIGNERS:
                entry |= {"alg": key.alg(), "key_id": key.key_id().hex()}
            else:
                entry |= {"wrap_suite": key.wrap_suite(), "recipient_id": key.recipient_id().hex()}
            out[name] = entry
        return out

    def keyset_file(self, name, chain):
        path = f"keysets/{name}.keyset"
        (self.root / path).write_bytes(make.encode_keysets(chain))
        return path

    def good(self, name, kind, data, about, **fields):
        self._add("good", name, kind, data, about, {"expect": "ok"}, fields)

    def sin(self, name, kind, data, about, part, reason, field_name, **fields):
        wanted = {"expect": "refused", "part": part, "field": field_name, "reason": reason}
        self._add("sins", name, kind, data, about, wanted, fields)

    def _add(self, folder, name, kind, data, about, wanted, fields):
        assert all(c["name"] != name for c in self.cases), f"{name} twice"
        path = f"{folder}/{name}{SUFFIX[kind]}"
        (self.root / path).write_bytes(data)
        case = {"name": name, "file": path, "kind": kind, "about": about, **fields, **wanted}
        self._complete(case)
        self.cases.append(case)

    def _complete(self, case):
        """Runs the case, fills in digests and offsets, and insists on the declared outcome."""
        try:
            seen = vectors.outcome(self.root, self.index, case)
        except vectors.Refused as r:
            declared = (case.get("part"), case.get("reason"), case.get("field"))
            if declared != (r.part, r.reason, r.field):
                self.differences.append(f"{case['name']}: declared {declared}, seen {r}")
            case["offset"] = r.offset
            return
        if case["expect"] != "ok":
            self.differences.append(f"{case['name']}: accepted")
        case |= seen

    def finish(self):
        assert not self.differences, "\n".join(self.differences)
        (self.root / "index.json").write_text(json.dumps(self.index, indent=1) + "\n")


def secret(key):
    if key.kind == GROUP:
        return key.private
    if key.kind in (SIGNING_P256, DEVICE_P256):
        return key.private.private_numbers().private_value.to_bytes(32, "big")
    return key.private.private_bytes_raw()


LMS_KEY_ID = Stream("airseal vectors lms key id").take(8)


def lms_entry(key_id=LMS_KEY_ID):
    """An entry of the right length that nobody can check."""
    return signatures.Entry(crypto.LMS, key_id, Stream("airseal vectors lms entry").take(1516))


def lms_row():
    public = lms_entry().value[:60]
    return signatures.anchor(crypto.LMS, public)


def add_entry(block, *entries):
    return signatures.Block(sorted([*block.entries, *entries], key=lambda e: e.key_id))

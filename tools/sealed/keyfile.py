"""Key files: PEM with one line that names the kind, or plain PEM from elsewhere taken by its algorithm."""

import base64
import re
from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization as ser
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519

from . import crypto, signatures
from .base import Refused
from .crypto import ED25519, P256, Bad
from .envelope import Identity, asymmetric_id, group_id

SIGNING, SIGNING_P256, DEVICE, DEVICE_P256, GROUP = "signing", "signing-p256", "device", "device-p256", "group"
KINDS = (SIGNING, SIGNING_P256, DEVICE, DEVICE_P256, GROUP)
SIGNERS, RECIPIENTS = (SIGNING, SIGNING_P256), (DEVICE, DEVICE_P256, GROUP)
WRAP_SUITE = {DEVICE: 1, DEVICE_P256: 2, GROUP: 3}
GROUP_LABEL = "AIRSEAL GROUP KEY"
BEGIN = re.compile(r"^-----BEGIN ([A-Z0-9 ]+)-----\r?$", re.M)


@dataclass
class Key:
    """`private` is a library key, the 32 bytes of a group key, or None; `public` is raw (None for a group)."""

    kind: str
    private: object = None
    public: bytes | None = None
    generation: int = 0

    def alg(self):
        return {SIGNING: ED25519, SIGNING_P256: P256}[self.kind]

    def key_id(self):
        return signatures.key_id(self.alg(), self.public)

    def anchor(self, roles=0):
        return signatures.anchor(self.alg(), self.public, roles)

    def sign(self, message):
        """The value of a signature entry."""
        if self.kind == SIGNING:
            return self.private.sign(message)
        return self.public + crypto.p256_sign(self.private, message)

    def wrap_suite(self):
        return WRAP_SUITE[self.kind]

    def recipient_id(self):
        if self.kind == GROUP:
            return group_id(self.private, self.generation)
        return asymmetric_id(self.wrap_suite(), self.public)

    def identity(self):
        return Identity(self.wrap_suite(), self.recipient_id(), self.private)


def of_private(kind, private, generation=0):
    if kind == GROUP:
        return Key(kind, private, None, generation)
    form = crypto.POINT if kind in (SIGNING_P256, DEVICE_P256) else crypto.RAW
    return Key(kind, private, private.public_key().public_bytes(*form))


def read_key(data, allowed, name="key file"):
    """A key of one of the `allowed` kinds (SIGNERS or RECIPIENTS)."""

    def refuse(field, reason, detail=""):
        raise Refused("key", field, None, reason, f"{name}: {detail}" if detail else name)

    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        refuse("PEM", "unknown-value", "not a text file")
    labels = [label for label in BEGIN.findall(text) if label != "EC PARAMETERS"]
    if len(labels) != 1:
        refuse("PEM", "unknown-value" if not labels else "duplicate", f"{len(labels)} keys in the file, one expected")
    head = text[: BEGIN.search(text).start()]
    kinds = [line.removesuffix("\r") for line in head.split("\n") if line.startswith("airseal-kind:")]
    if len(kinds) > 1 or text.count("airseal-kind:") != len(kinds):
        refuse("airseal-kind", "duplicate", "exactly one line, before BEGIN")
    stated = None
    if kinds:
        stated = kinds[0].removeprefix("airseal-kind: ")
        if stated not in KINDS:
            refuse("airseal-kind", "unknown-value", repr(kinds[0]))
    try:
        key = _load_group(text) if labels[0] == GROUP_LABEL else _load(data, labels[0], stated, allowed)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        refuse("PEM", "unknown-value", f"unreadable {labels[0]}")
    if key is None:
        refuse("algorithm", "unknown-value", "not one this format uses")
    if stated not in (None, key.kind):
        refuse("airseal-kind", "key-mismatch", f"says {stated}, the key is {key.kind}")
    if key.kind not in allowed:
        refuse("airseal-kind", "key-mismatch", f"a {key.kind} key, wanted is one of: {', '.join(allowed)}")
    if key.kind == SIGNING:
        try:
            crypto.ed_check_point(key.public)
        except Bad as bad:
            refuse("public_key", bad.args[0], bad.args[1])
    return key


def _load(data, label, stated, allowed):
    if label == "PUBLIC KEY":
        private, public = None, ser.load_pem_public_key(data)
    else:
        private = ser.load_pem_private_key(data, password=None)
        public = private.public_key()
    if isinstance(public, ed25519.Ed25519PublicKey):
        kind = SIGNING
    elif isinstance(public, x25519.X25519PublicKey):
        kind = DEVICE
    elif isinstance(public, ec.EllipticCurvePublicKey) and isinstance(public.curve, ec.SECP256R1):
        kind = stated if stated in (SIGNING_P256, DEVICE_P256) else SIGNING_P256 if SIGNING_P256 in allowed else DEVICE_P256
    else:
        return None
    form = crypto.POINT if kind in (SIGNING_P256, DEVICE_P256) else crypto.RAW
    return Key(kind, private, public.public_bytes(*form))


def _load_group(text):
    body = re.search(f"-----BEGIN {GROUP_LABEL}-----\r?\n(.*?)-----END {GROUP_LABEL}-----", text, re.S)
    raw = base64.b64decode("".join(body.group(1).split()), validate=True) if body else b""
    if len(raw) != 36:
        raise ValueError
    return Key(GROUP, raw[:32], None, int.from_bytes(raw[32:], "little"))


def write_private(key):
    if key.kind == GROUP:
        body = base64.b64encode(key.private + key.generation.to_bytes(4, "little")).decode()
        pem = f"-----BEGIN {GROUP_LABEL}-----\n{body}\n-----END {GROUP_LABEL}-----\n"
    else:
        pem = key.private.private_bytes(ser.Encoding.PEM, ser.PrivateFormat.PKCS8, ser.NoEncryption()).decode()
    return f"airseal-kind: {key.kind}\n{pem}".encode()


def write_public(key):
    """SPKI, also for points that a library would not load."""
    if key.kind in (SIGNING_P256, DEVICE_P256):
        pem = crypto.p256_point(key.public).public_bytes(ser.Encoding.PEM, ser.PublicFormat.SubjectPublicKeyInfo).decode()
    else:
        oid = bytes([0x2B, 0x65, 0x70 if key.kind == SIGNING else 0x6E])
        der = bytes([0x30, 0x2A, 0x30, 0x05, 0x06, 0x03]) + oid + bytes([0x03, 0x21, 0x00]) + key.public
        pem = f"-----BEGIN PUBLIC KEY-----\n{base64.b64encode(der).decode()}\n-----END PUBLIC KEY-----\n"
    return f"airseal-kind: {key.kind}\n{pem}".encode()

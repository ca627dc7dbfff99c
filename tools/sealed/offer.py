"""Offers: a fresh, signed statement of what a device should run."""

import struct
from dataclasses import dataclass

from . import crypto
from .base import Reader, Refused
from .crypto import Bad
from .keyset import OFFER

OFFER_LEN, SIGNED_LEN = 152, 88
MESSAGE = b"airseal1 offer\0"
INSTALL, NOTHING_NEWER = 0, 1
LAYOUT = struct.Struct("<4sBBH16s16s32sII8s")


@dataclass
class Offer:
    magic: bytes = b"ASO1"
    major: int = 1
    purpose: int = INSTALL
    length: int = OFFER_LEN
    device_nonce: bytes = bytes(16)
    recipient_id: bytes = bytes(16)
    manifest_digest: bytes = bytes(32)
    keyset_version: int = 0
    valid_for: int = 60
    key_id: bytes = bytes(8)
    signature: bytes = bytes(64)

    def signed(self):
        return LAYOUT.pack(*list(vars(self).values())[:-1])

    def encode(self):
        return self.signed() + self.signature


def read_offer(data, base=0):
    r = Reader(data, "offer", base)
    o = Offer()
    r.magic(b"ASO1")
    r.constant("B", 1, "major", "version")
    o.purpose = r.within("B", 0, 1, "purpose", "unknown-value")
    r.constant("H", OFFER_LEN, "len", "out-of-range")
    o.device_nonce = r.take(16, "device_nonce")
    o.recipient_id = r.take(16, "recipient_id")
    o.manifest_digest = r.take(32, "manifest_digest")
    o.keyset_version = r.u32("keyset_version")
    o.valid_for = r.u32("valid_for")
    r.require(o.valid_for, "valid_for", "out-of-range", "an offer that is never valid")
    o.key_id = r.take(8, "key_id")
    o.signature = r.take(64, "signature")
    r.end()
    return o


def check_offer(offer, keyset, nonce=None, recipient=None, digest=None):
    """Signed by an offer key of the keyset, and about this poll, this device, this release (where given)."""
    row = next((k for k in keyset.keys if k.key_id == offer.key_id and k.roles & OFFER), None)
    if row is None:
        raise Refused("offer", "key_id", 80, "wrong-role", "not an offer key of the keyset")
    try:
        crypto.ed25519_verify(row.key, MESSAGE + offer.signed(), offer.signature)
    except Bad as bad:
        raise Refused("offer", "signature", 88, *bad.args) from None
    for name, at, wanted in (("device_nonce", 8, nonce), ("recipient_id", 24, recipient), ("manifest_digest", 40, digest)):
        if wanted is not None and getattr(offer, name) != wanted:
            raise Refused("offer", name, at, "offer-mismatch", "about something else")

"""New generations of group keys that travel inside a manifest, wrapped under the one before."""

from dataclasses import dataclass

from . import crypto
from .base import u32
from .crypto import Bad
from .envelope import group_id

LEN = 60


@dataclass
class Carried:
    old_recipient_id: bytes
    generation: int
    wrapped: bytes

    def encode(self):
        return self.old_recipient_id + u32(self.generation) + self.wrapped

    def kek(self, old_key, vendor_id, class_id):
        info = b"airseal1 next group" + vendor_id + class_id + self.old_recipient_id + u32(self.generation)
        return crypto.hkdf(old_key, info, 32)


def decode(entry):
    return Carried(entry[:16], int.from_bytes(entry[16:20], "little"), entry[20:])


def generation_of(recipient_id):
    return int.from_bytes(recipient_id[12:], "little")


def carry(old_key, old_generation, new_key, generation, vendor_id, class_id):
    entry = Carried(group_id(old_key, old_generation), generation, b"")
    entry.wrapped = crypto.key_wrap(entry.kek(old_key, vendor_id, class_id), new_key)
    return entry


def successor(manifest, identity):
    """Key and generation that the manifest carries for this identity, or None."""
    if identity.wrap_suite != 3:
        return None
    for entry in manifest.carried_groups():
        if entry.old_recipient_id == identity.recipient_id:
            try:
                kek = entry.kek(identity.private, manifest.vendor_id, manifest.class_id)
                return crypto.key_unwrap(kek, entry.wrapped), entry.generation
            except Bad:
                return None
    return None

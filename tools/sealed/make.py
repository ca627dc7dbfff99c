"""Making artifacts: sealing images, signing, adding recipients, keysets and offers.

Random values are arguments, so that vectors can be reproduced; `seal` draws them when they are not given.
"""

import os
import uuid
from dataclasses import dataclass, replace

from cryptography.hazmat.primitives.asymmetric import ec, x25519

from . import bundle, carried, envelope, keyset, manifest, offer, payload
from .manifest import Component, Manifest
from .signatures import Block, Entry


def vendor_id(vendor):
    return uuid.uuid5(uuid.NAMESPACE_DNS, vendor).bytes


def class_id(vendor, class_name):
    return uuid.uuid5(uuid.UUID(bytes=vendor_id(vendor)), class_name).bytes


def smallest_profile(lengths):
    for profile in (2, 3, 4):
        if all(payload.page_count(profile, n) <= manifest.MAX_PAGES for n in lengths):
            return profile
    raise ValueError("an image is larger than 4 GiB")


@dataclass
class Sealed:
    """A sealed release in parts, before it becomes a file."""

    manifest: Manifest
    payload: bytes
    cek: bytes
    block: Block
    envelopes: list
    keysets: list

    def sections(self):
        out = [(bundle.KEYSET, k.encode() + k.block.encode()) for k in self.keysets]
        out.append((bundle.MANIFEST, self.manifest.encode() + self.block.encode()))
        if self.envelopes:
            out.append((bundle.ENVELOPES, encode_pack(self.envelopes)))
        return out + [(bundle.PAYLOAD, self.payload)]

    def encode(self):
        return bundle.encode(self.sections())


def seal(images, settings, cek=None, salt=None):
    """`images` are (Component, plaintext) pairs with ids, kinds and places set; `settings` is a Manifest with
    everything else. Returns a release without signatures and envelopes."""
    suite = settings.content_suite
    cek = (cek or os.urandom(32)) if suite else b""
    salt = (salt or os.urandom(32)) if suite else bytes(32)
    keys, body, components = payload.ContentKeys.derive(suite, cek, salt), b"", []
    for component, plaintext in images:
        part, root = payload.build(settings.profile, component.component_id, keys.crypt(component.component_id, plaintext))
        components.append(
            replace(
                component,
                file_off=len(body),
                enc_len=len(plaintext),
                install_len=len(plaintext),
                tree_root=root,
                image_digest=keys.image_digest(component.place, plaintext),
            )
        )
        body += part
    m = replace(settings, components=components, payload_len=len(body), payload_salt=salt, cek_commit=keys.commitment())
    return Sealed(m.filled(), body, cek, Block(), [], [])


def sign(message, signers):
    entries = [Entry(s.alg(), s.key_id(), s.sign(message)) for s in signers]
    return Block(sorted(entries, key=lambda e: e.key_id))


def sign_release(sealed, signers):
    """Adds signatures; what is signed stays as it is."""
    added = sign(manifest.MESSAGE + sealed.manifest.encode(), signers)
    sealed.block = Block(sorted(sealed.block.entries + added.entries, key=lambda e: e.key_id))


def add_recipients(sealed, recipients, ephemerals=None):
    for number, key in enumerate(recipients):
        ephemeral = ephemerals[number] if ephemerals else fresh_ephemeral(key.wrap_suite())
        public = key.private if key.wrap_suite() == 3 else key.public
        sealed.envelopes.append(
            envelope.wrap(public, key.wrap_suite(), key.recipient_id(), sealed.manifest.digest(), sealed.cek, ephemeral)
        )
    sealed.envelopes.sort(key=lambda e: e.recipient_id)


def fresh_ephemeral(wrap_suite):
    if wrap_suite == 1:
        return x25519.X25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP256R1()) if wrap_suite == 2 else None


def encode_pack(envelopes):
    return b"".join(e.encode() for e in envelopes)


def make_keyset(settings, rows, signers, previous=None):
    """`rows` are (Key, roles) pairs. With `previous` the version, digest and ids follow from it."""
    if previous is not None:
        settings = replace(
            settings, version=previous.version + 1, prev_digest=previous.digest(),
            vendor_id=previous.vendor_id, class_id=previous.class_id,
        )  # fmt: skip
    keys = sorted((key.anchor(roles) for key, roles in rows), key=lambda k: k.key_id)
    return sign_keyset(replace(settings, keys=keys).filled(), signers)


def sign_keyset(ks, signers):
    return replace(ks, block=sign(keyset.MESSAGE + ks.encode(), signers))


def encode_keysets(chain):
    return b"".join(k.encode() + k.block.encode() for k in chain)


def sign_offer(settings, signer):
    o = replace(settings, key_id=signer.key_id())
    return replace(o, signature=signer.sign(offer.MESSAGE + o.signed()))


def targets(keys):
    return manifest.TARGETS, b"".join(sorted(k.recipient_id() for k in keys))


def carry_groups(pairs, settings):
    """The extension that carries each new group key to the holders of the old one; `pairs` are (old, new) keys."""
    ids = settings.vendor_id, settings.class_id
    entries = [carried.carry(old.private, old.generation, new.private, new.generation, *ids) for old, new in pairs]
    return manifest.CARRIED_GROUPS, b"".join(e.encode() for e in sorted(entries, key=lambda e: e.old_recipient_id))


__all__ = ["Component", "Manifest", "Sealed", "seal", "sign", "sign_release", "add_recipients", "make_keyset", "sign_offer"]

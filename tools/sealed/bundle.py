"""Bundles: the container, and the whole order of verifying and opening a release on a host."""

import hmac
from dataclasses import dataclass, field

from . import envelope, keyset, manifest, payload, signatures
from .base import Reader, Refused, u16, u64

KEYSET, MANIFEST, ENVELOPES, PAYLOAD = 1, 2, 3, 4
SECTION_LEN, MAX_KEYSETS, MIN_SECTIONS, MAX_SECTIONS = 16, 32, 2, 35


@dataclass
class Bundle:
    manifest: manifest.Manifest
    signed: bytes
    block: signatures.Block
    payload: bytes
    payload_at: int
    keysets: list = field(default_factory=list)
    envelopes: list = field(default_factory=list)

    def digest(self):
        return self.manifest.digest()


def encode(sections, n_sections=None):
    """Sections are (kind, bytes) pairs, in the order given."""
    out = b"ASB1" + bytes([1, 0]) + u16(len(sections) if n_sections is None else n_sections)
    return out + b"".join(u16(kind) + bytes(6) + u64(len(body)) + body for kind, body in sections)


def read_bundle(data):
    """Every structural rule; nothing is verified yet."""
    r = Reader(data, "bundle")
    r.magic(b"ASB1")
    r.constant("B", 1, "major", "version")
    r.constant("B", 0, "minor", "version")
    count = r.within("H", MIN_SECTIONS, MAX_SECTIONS, "n_sections")
    keysets, release, pack, seen = [], None, [], []
    for _ in range(count):
        kind, body, base = _read_section(r, seen)
        if kind == KEYSET:
            one, size = keyset.read_keyset(body, base)
            _whole(body, size, "keyset", base)
            keysets.append(one)
            keyset.check_ascending(keysets)
        elif kind == MANIFEST:
            release = read_release(body, base)
        elif kind == ENVELOPES:
            at = r.last
            r.require(body, "len", "missing", "an envelope section is never empty", at=at)
            if not release[0].content_suite:
                raise Refused("envelope", "content_suite", base, "must-be-zero", "an unencrypted release has no envelopes")
            pack = envelope.read_pack(body, release[0].digest(), base)
        else:
            wanted = release[0].payload_len
            if len(body) != wanted:
                raise Refused("payload", "len", base - 8, "sum", f"{wanted} bytes signed, {len(body)} here")
    r.require(seen[-1] == PAYLOAD, "kind", "missing", "the last section is the payload")
    r.end()
    return Bundle(*release, body, base, keysets, pack)


def _read_section(r, seen):
    kind = r.u16("section_kind")
    r.require(KEYSET <= kind <= PAYLOAD, "section_kind", "unknown-value")
    previous = seen[-1] if seen else KEYSET
    fits = kind > previous or kind == previous == KEYSET
    r.require(fits and (kind <= MANIFEST or MANIFEST in seen), "section_kind", "order")
    seen.append(kind)
    r.require(seen.count(KEYSET) <= MAX_KEYSETS, "section_kind", "limit", f"more than {MAX_KEYSETS} keysets")
    r.constant("H", 0, "section_flags", "reserved")
    r.zeros(4, "section_reserved")
    size = r.u64("section_len")
    base = r.pos
    return kind, r.take(size, "section"), base


def read_release(data, base=0):
    """A manifest and its signature block, filling `data`."""
    m = manifest.read_manifest(data, base)
    block, size = signatures.read_block(data[m.signed_len :], base + m.signed_len, "signatures")
    _whole(data, m.signed_len + size, "signatures", base)
    return m, data[: m.signed_len], block


def _whole(body, used, part, base):
    if used != len(body):
        raise Refused(part, "end", base + used, "trailing-bytes", f"{len(body) - used} bytes too many")


def verify(bundle, trust=(), chain=()):
    """Everything that needs no decryption key.

    `trust` are anchors, of which any one suffices; `chain` is a keyset file, whose first keyset is trusted.
    Returns the anchors that signed, the keyset in force (None under `trust`) and the verified ciphertexts.
    """
    signers, in_force = verify_manifest(bundle, trust, chain)
    return signers, in_force, payload.check(bundle.manifest, bundle.payload, bundle.payload_at)


def verify_manifest(bundle, trust=(), chain=()):
    m, message = bundle.manifest, manifest.MESSAGE + bundle.signed
    if not chain:
        keyset.accept_chain(bundle.keysets)
        signers = signatures.verified(bundle.block, message, trust, True, "signatures")
        if not signers:
            raise Refused("signatures", "count", None, "too-few-signatures", "no trusted key has signed")
        return signers, None
    in_force = keyset.accept_chain(bundle.keysets, keyset.accept_chain(chain))
    if m.keyset_version > in_force.version:
        raise Refused("manifest", "keyset_version", None, "need-keyset", f"{m.keyset_version} wanted, {in_force.version} in force")
    signers = keyset.check_release(bundle.block, message, in_force)
    if m.vendor_id != in_force.vendor_id:
        raise Refused("manifest", "vendor_id", None, "wrong-vendor", "not the keyset's vendor")
    if any(in_force.class_id) and m.class_id != in_force.class_id:
        raise Refused("manifest", "class_id", None, "wrong-class", "not the keyset's class")
    if m.security_version > in_force.max_security_version:
        raise Refused("manifest", "security_version", None, "security-version-too-high", "above the keyset's maximum")
    return signers, in_force


def content_keys(bundle, identity):
    """Targets, envelope and commitment. `identity` may be None for an unencrypted release without targets."""
    m, targets = bundle.manifest, bundle.manifest.targets()
    if targets is not None and (identity is None or identity.recipient_id not in targets):
        raise Refused("manifest", "targets", None, "not-a-recipient", "this key is not among the targets")
    if not m.content_suite:
        return payload.ContentKeys.derive(0, b"", b"")
    if identity is None:
        raise Refused("envelope", "recipient_id", None, "not-a-recipient", "an encrypted release needs a key")
    found = envelope.find(bundle.envelopes, identity)
    cek = envelope.unwrap(found, identity)
    keys = payload.ContentKeys.derive(m.content_suite, cek, m.payload_salt)
    if not hmac.compare_digest(keys.commitment(), m.cek_commit):
        raise Refused("envelope", "cek_commit", found.offset, "commitment-mismatch", "not the content key that was signed")
    return keys


def open_all(bundle, ciphertexts, identity, only=None):
    """The plaintext of every component (or of `only`), from what `verify` returned."""
    keys, out = content_keys(bundle, identity), {}
    for c in bundle.manifest.components:
        if only is not None and c.component_id != only:
            continue
        plaintext = keys.crypt(c.component_id, ciphertexts[c.component_id])
        if not hmac.compare_digest(keys.image_digest(c.place, plaintext), c.image_digest):
            raise Refused("payload", f"component {c.component_id} image_digest", None, "image-mismatch", "not the image that was signed")
        out[c.component_id] = plaintext
    return out

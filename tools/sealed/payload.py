"""The payload: per component a table of page hashes, then pages of leaf hashes with their chunks."""

from dataclasses import dataclass

from . import crypto
from .base import Refused, u16, u32, u64


@dataclass(frozen=True)
class Profile:
    chunk: int
    fan_out: int


PROFILES = {1: Profile(1024, 32), 2: Profile(4096, 128), 3: Profile(16384, 512), 4: Profile(65536, 1024)}
HASH = 32


def chunk_count(profile, length):
    return -(-length // PROFILES[profile].chunk)


def page_count(profile, length):
    return -(-chunk_count(profile, length) // PROFILES[profile].fan_out)


def occupied(profile, length):
    """Bytes that a component of this length takes in the payload."""
    return HASH * (page_count(profile, length) + chunk_count(profile, length)) + length


def leaf_hash(component_id, number, chunk):
    return crypto.sha256(b"\0", u16(component_id), u32(number), u32(len(chunk)), chunk)


def node_hash(component_id, number, page):
    return crypto.sha256(b"\1", u16(component_id), u32(number), page)


def root_hash(component_id, count, length, top):
    return crypto.sha256(b"\2", u16(component_id), u32(count), u64(length), top)


def build(profile, component_id, ciphertext):
    """The component's bytes in the payload, and its root."""
    size, fan_out = PROFILES[profile].chunk, PROFILES[profile].fan_out
    chunks = [ciphertext[i : i + size] for i in range(0, len(ciphertext), size)]
    leaves = [leaf_hash(component_id, i, chunk) for i, chunk in enumerate(chunks)]
    pages = [b"".join(leaves[i : i + fan_out]) for i in range(0, len(leaves), fan_out)]
    top = b"".join(node_hash(component_id, j, page) for j, page in enumerate(pages))
    body = b"".join(page + b"".join(chunks[j * fan_out : (j + 1) * fan_out]) for j, page in enumerate(pages))
    return top + body, root_hash(component_id, len(chunks), len(ciphertext), top)


def check(manifest, payload, base):
    """Every hash of every component; returns {component_id: ciphertext}."""
    return {c.component_id: _check_component(manifest.profile, c, payload, base) for c in manifest.components}


def _check_component(profile, component, payload, base):
    size, fan_out = PROFILES[profile].chunk, PROFILES[profile].fan_out
    cid, chunks, pages = component.component_id, chunk_count(profile, component.enc_len), page_count(profile, component.enc_len)
    at = component.file_off

    def refuse(level, number, offset):
        name = f"component {cid} {level}{number}"
        raise Refused("payload", name, base + offset, f"{level}-mismatch", "not what was signed")

    top = payload[at : at + HASH * pages]
    if root_hash(cid, chunks, component.enc_len, top) != component.tree_root:
        refuse("top", "", at)
    out, position, left = [], at + HASH * pages, component.enc_len
    for j in range(pages):
        entries = min(fan_out, chunks - j * fan_out)
        page = payload[position : position + HASH * entries]
        if node_hash(cid, j, page) != top[HASH * j : HASH * (j + 1)]:
            refuse("page", f" {j}", position)
        position += HASH * entries
        for k in range(entries):
            chunk = payload[position : position + min(size, left)]
            if leaf_hash(cid, j * fan_out + k, chunk) != page[HASH * k : HASH * (k + 1)]:
                refuse("chunk", f" {j * fan_out + k}", position)
            out.append(chunk)
            position, left = position + len(chunk), left - len(chunk)
    return b"".join(out)


@dataclass
class ContentKeys:
    """What the content key and the salt of a release give. Without encryption: no keys, a zero digest salt."""

    suite: int
    prk: bytes

    @classmethod
    def derive(cls, suite, cek, salt):
        return cls(suite, crypto.hkdf_extract(salt, cek) if suite else b"")

    def commitment(self):
        return crypto.hkdf_expand(self.prk, b"airseal1 commit", 32) if self.suite else bytes(32)

    def digest_salt(self, place):
        return crypto.hkdf_expand(self.prk, b"airseal1 image" + bytes([place]), 32) if self.suite else bytes(32)

    def crypt(self, component_id, data):
        if not self.suite:
            return data
        key = crypto.hkdf_expand(self.prk, b"airseal1 content" + bytes([self.suite]) + u16(component_id), 32)
        return crypto.content_cipher(self.suite, key, data)

    def image_digest(self, place, plaintext):
        return crypto.sha256(b"\3", bytes([place]), u64(len(plaintext)), self.digest_salt(place), plaintext)

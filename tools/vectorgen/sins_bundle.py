"""Faults of the container and of the payload."""

from dataclasses import replace

from sealed import bundle
from sealed.bundle import ENVELOPES, KEYSET, MANIFEST, PAYLOAD
from sealed.make import Component

from .frame import K1, ROWS_1, make_keyset, release

VERIFY = {"operation": "verify", "trust": ["release-a"]}
OPEN = {"operation": "open", "trust": ["release-a"], "key": "device-1"}


def add_all(out):
    header(out)
    sections(out)
    truncations(out)
    payload(out)


def base(label="container", **changes):
    return release(label, 100, keysets=[K1], keyset_version=1, **changes)


def sin(out, name, data, about, part, reason, field, **fields):
    out.sin(name, "bundle", data, about, part, reason, field, **{**VERIFY, **fields})


def put(data, at, value):
    return data[:at] + value + data[at + len(value) :]


def header(out):
    whole = base().encode()
    sin(out, "bundle-empty", b"", "no bytes", "bundle", "truncated", "magic")
    sin(out, "bundle-magic", put(whole, 0, b"ASB2"), "another magic", "bundle", "magic", "magic")
    sin(out, "bundle-major", put(whole, 4, b"\2"), "major 2", "bundle", "version", "major")
    sin(out, "bundle-minor", put(whole, 5, b"\1"), "minor 1", "bundle", "version", "minor")
    sin(out, "bundle-no-sections", put(whole, 6, b"\0\0"), "n_sections 0", "bundle", "out-of-range", "n_sections")
    sin(out, "bundle-one-section", put(whole, 6, b"\1\0"), "n_sections 1", "bundle", "out-of-range", "n_sections")
    sin(out, "bundle-36-sections", put(whole, 6, b"\x24\0"), "n_sections 36", "bundle", "out-of-range", "n_sections")
    sin(out, "bundle-sections-more-than-said", put(whole, 6, b"\3\0"), "n_sections 3 of 4", "bundle", "missing", "kind")
    extra = bundle.encode([*base().sections()], n_sections=5)
    sin(out, "bundle-sections-fewer-than-said", extra, "n_sections 5 of 4", "bundle", "truncated", "section_kind")
    sin(out, "bundle-trailing-byte", whole + b"\0", "one byte after the payload", "bundle", "trailing-bytes", "end")
    sin(out, "bundle-trailing-section", whole + bundle.encode([(PAYLOAD, b"x")])[8:], "a section after the last", "bundle", "trailing-bytes", "end")


def sections(out):
    parts = base()
    plain = parts.sections()
    whole = parts.encode()
    keyset, manifest, envelopes, payload_ = plain
    at = {kind: whole.index(bundle.encode([(kind, body)])[8:]) for kind, body in plain}
    for name, value in (("0", b"\0\0"), ("5", b"\5\0")):
        sin(out, f"section-kind-{name}", put(whole, at[ENVELOPES], value), "unknown section kind", "bundle", "unknown-value", "section_kind")
    for kind, name in ((KEYSET, "keyset"), (MANIFEST, "manifest"), (ENVELOPES, "envelopes"), (PAYLOAD, "payload")):
        sin(out, f"section-flags-{name}", put(whole, at[kind] + 2, b"\1"), f"flags of the {name} section", "bundle", "reserved", "section_flags")
        sin(out, f"section-reserved-{name}", put(whole, at[kind] + 7, b"\1"), f"reserved of the {name} section", "bundle", "reserved", "section_reserved")
    huge = put(whole, at[PAYLOAD] + 8, b"\xff" * 8)
    sin(out, "section-length-overflow", huge, "a length of 2^64-1", "bundle", "truncated", "section")
    for name, order in (
        ("manifest-before-keyset", [manifest, keyset, envelopes, payload_]),
        ("envelopes-before-manifest", [keyset, envelopes, manifest, payload_]),
        ("payload-before-envelopes", [keyset, manifest, payload_, envelopes]),
        ("payload-before-manifest", [payload_, manifest]),
        ("two-manifests", [manifest, manifest, payload_]),
        ("two-envelope-packs", [manifest, envelopes, envelopes, payload_]),
        ("two-payloads", [manifest, payload_, payload_]),
        ("no-manifest", [keyset, payload_]),
    ):
        sin(out, f"sections-{name}", bundle.encode(order), "sections out of order", "bundle", "order", "section_kind")
    sin(out, "sections-no-payload", bundle.encode([keyset, manifest]), "the payload is missing", "bundle", "missing", "kind")
    sin(out, "sections-empty-envelope-pack", bundle.encode([manifest, (ENVELOPES, b""), payload_]), "a pack is never empty", "bundle", "missing", "len")
    sin(out, "section-keyset-trailing", bundle.encode([(KEYSET, keyset[1] + bytes(4)), manifest, payload_]), "bytes after the signature block", "keyset", "trailing-bytes", "end")
    two = bundle.encode([(KEYSET, keyset[1] * 2), manifest, payload_])
    sin(out, "section-two-keysets", two, "one keyset per section", "keyset", "trailing-bytes", "end")
    sin(out, "section-manifest-trailing", bundle.encode([(MANIFEST, manifest[1] + bytes(4)), payload_]), "bytes after the signature block", "signatures", "trailing-bytes", "end")
    chain = [K1]
    while len(chain) < 33:
        chain.append(make_keyset(ROWS_1, ("root-1", "root-2"), chain[-1]))
    sin(out, "sections-33-keysets", release("k33", to=(), keysets=chain).encode(), "33 keysets", "bundle", "limit", "section_kind")


def truncations(out):
    parts = base()
    position, whole = 8, parts.encode()
    sin(out, "truncated-header", whole[:7], "inside the bundle header", "bundle", "truncated", "n_sections")
    names = {KEYSET: "keyset", MANIFEST: "manifest", ENVELOPES: "envelopes", PAYLOAD: "payload"}
    for kind, body in parts.sections():
        name = names[kind]
        cuts = (
            (f"truncated-before-{name}", 0, "section_kind"), (f"truncated-in-{name}-header", 9, "section_len"),
            (f"truncated-at-{name}-start", 16, "section"), (f"truncated-in-{name}", 16 + len(body) // 2, "section"),
        )  # fmt: skip
        for title, offset, field in cuts:
            sin(out, title, whole[: position + offset], "the file ends here", "bundle", "truncated", field)
        position += 16 + len(body)
    sin(out, "truncated-last-byte", whole[:-1], "one byte is missing", "bundle", "truncated", "section")


def payload(out):
    three = 34 * 1024

    def damaged(label, at, length=three):
        def flip(parts):
            parts.payload = parts.payload[:at] + bytes([parts.payload[at] ^ 1]) + parts.payload[at + 1 :]

        return release(label, length, after=flip).encode()

    top, group = 64, 32 * (32 + 1024)
    sin(out, "payload-flip-top", damaged("flip top", 40), "a bit of the second page hash", "payload", "top-mismatch", "component 1 top")
    sin(out, "payload-flip-first-page", damaged("flip page", top + 1), "a bit of the first page", "payload", "page-mismatch", "component 1 page 0")
    sin(out, "payload-flip-second-page", damaged("flip page 2", top + group), "a bit of the second page", "payload", "page-mismatch", "component 1 page 1")
    sin(out, "payload-flip-chunk", damaged("flip chunk", top + 1024), "a bit of the first chunk", "payload", "chunk-mismatch", "component 1 chunk 0")
    sin(out, "payload-flip-last-byte", damaged("flip last", 32 + 32 + 99, 100), "the last bit of the file's last byte", "payload", "chunk-mismatch", "component 1 chunk 0")
    small = 2048

    def swap(parts):
        at = 32 + 64
        body = parts.payload
        parts.payload = body[:at] + body[at + 1024 : at + 2048] + body[at : at + 1024]

    sin(out, "payload-chunks-swapped", release("swap", small, after=swap).encode(), "two chunks change places", "payload", "chunk-mismatch", "component 1 chunk 0")

    def exchange(parts):
        half = len(parts.payload) // 2
        parts.payload = parts.payload[half:] + parts.payload[:half]

    twins = [(Component(component_id=1), 100), (Component(component_id=2), 100)]
    sin(out, "payload-components-swapped", release("exchange", twins, after=exchange).encode(), "two components change places", "payload", "top-mismatch", "component 1 top")
    for name, change in (("longer", lambda b: b + b"\0"), ("shorter", lambda b: b[:-1]), ("empty", lambda b: b"")):
        parts = release(f"payload {name}", 100)
        parts.payload = change(parts.payload)
        sin(out, f"payload-{name}", parts.encode(), f"the payload is {name} than signed" if name != "empty" else "no payload bytes", "payload", "sum", "len")

    def wrong_digest(m):
        m.components[0] = replace(m.components[0], image_digest=bytes([1] * 32))

    for suite, key in ((0, None), (1, "device-1")):
        parts = release(f"digest {suite}", 100, content_suite=suite, edit=wrong_digest)
        sin(out, f"image-digest-suite-{suite}", parts.encode(), "the signed image_digest is another image's", "payload", "image-mismatch", "component 1 image_digest", operation="open", key=key)
    truncated_tree = release("wrong root", 100, edit=lambda m: m.components.__setitem__(0, replace(m.components[0], tree_root=bytes(32))))
    sin(out, "tree-root", truncated_tree.encode(), "the signed root is another tree's", "payload", "top-mismatch", "component 1 top")

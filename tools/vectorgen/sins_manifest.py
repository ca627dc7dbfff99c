"""Faults in the signed manifest. Every one of them is signed by the trusted key, so that only the fault is wrong."""

from dataclasses import replace

from sealed import make, manifest
from sealed.make import Component

from .frame import KEYS, Stream, make_keyset, refill, release, settings, text
from .sins_bundle import OPEN, VERIFY


def add_all(out):
    header(out)
    components(out)
    extensions(out)
    limits(out)
    policy(out)


def sin(out, name, about, reason, field, edit=None, images=100, part="manifest", operation=VERIFY, **changes):
    parts = release(f"sin {name}", images, edit=edit, **changes)
    out.sin(name, "bundle", parts.encode(), about, part, reason, field, **operation)


def fields(**values):
    return lambda m: replace(m, **values)


def more(**steps):
    return lambda m: replace(m, **{name: getattr(m, name) + step for name, step in steps.items()})


def header(out):
    sin(out, "manifest-magic", "another magic", "magic", "magic", fields(magic=b"ASM2"))
    sin(out, "manifest-major", "major 2", "version", "major", fields(major=2))
    sin(out, "manifest-minor", "minor 1", "version", "minor", fields(minor=1))
    sin(out, "manifest-header-len", "header_len 260", "version", "header_len", fields(header_len=260))
    sin(out, "manifest-signed-len-short", "less than one component", "out-of-range", "signed_len", fields(signed_len=415))
    sin(out, "manifest-signed-len-long", "more than 2 KiB", "out-of-range", "signed_len", fields(signed_len=2049))
    sin(out, "manifest-signed-len-one-component-of-two", "n_components 2, room for one", "sum", "signed_len", fields(n_components=2))
    sin(out, "manifest-critical-first", "critical flag 0", "unknown-critical", "critical_flags", fields(critical=1))
    sin(out, "manifest-critical-last", "critical flag 31", "unknown-critical", "critical_flags", fields(critical=1 << 31))
    sin(out, "manifest-no-components", "n_components 0", "out-of-range", "n_components", fields(n_components=0))
    nine = [(Component(component_id=n, kind=4, place=n, dest_addr=0x1000 * n), 1) for n in range(1, 10)]
    sin(out, "manifest-nine-components", "n_components 9", "out-of-range", "n_components", images=nine)
    sin(out, "manifest-reserved-17", "reserved byte after n_components", "reserved", "reserved", fields(reserved_17=1))
    sin(out, "manifest-content-suite-3", "unknown content suite", "unknown-value", "content_suite", fields(content_suite=3))
    sin(out, "manifest-hash-suite-0", "unknown hash suite", "unknown-value", "hash_suite", fields(hash_suite=0))
    sin(out, "manifest-hash-suite-2", "unknown hash suite", "unknown-value", "hash_suite", fields(hash_suite=2))
    sin(out, "manifest-profile-0", "unknown profile", "unknown-value", "profile", fields(profile=0))
    sin(out, "manifest-profile-5", "unknown profile", "unknown-value", "profile", fields(profile=5))
    sin(out, "manifest-reserved-21", "reserved bytes after profile", "reserved", "reserved", fields(reserved_21=b"\0\0\1"))
    sin(out, "manifest-hw-rev-reversed", "hw_rev_min 2, hw_rev_max 1", "out-of-range", "hw_rev_max", fields(hw_rev_min=2, hw_rev_max=1))
    sin(out, "manifest-payload-len", "one more than the components take", "sum", "payload_len", more(payload_len=1))
    sin(out, "manifest-zero-salt", "an all-zero salt", "zero", "payload_salt", fields(payload_salt=bytes(32)))
    sin(out, "manifest-zero-commitment", "an all-zero commitment", "zero", "cek_commit", fields(cek_commit=bytes(32)))
    one = bytes(31) + b"\1"
    sin(out, "manifest-plain-with-salt", "suite 0 with a salt", "must-be-zero", "payload_salt", fields(payload_salt=one), content_suite=0)
    sin(out, "manifest-plain-with-commitment", "suite 0 with a commitment", "must-be-zero", "cek_commit", fields(cek_commit=one), content_suite=0)
    for name, version in (
        ("control", text("1.0\x1f")), ("delete", text("1.0\x7f")), ("high-bit", b"1.0\x80".ljust(32, b"\0")),
        ("after-nul", b"1.0\0x".ljust(32, b"\0")), ("without-nul", b"v" * 32), ("starts-with-nul", b"\0001.0".ljust(32, b"\0")),
    ):  # fmt: skip
        sin(out, f"manifest-version-{name}", "version text", "text", "version", fields(version=version))
    sin(out, "manifest-reserved-208", "first reserved byte at the end", "reserved", "reserved", fields(reserved_208=b"\1" + bytes(47)))
    sin(out, "manifest-reserved-255", "last reserved byte", "reserved", "reserved", fields(reserved_208=bytes(47) + b"\1"))


def first(**values):
    def edit(m):
        m.components[0] = replace(m.components[0], **values)

    return edit


def second(**values):
    def edit(m):
        m.components[1] = replace(m.components[1], **values)

    return edit


def components(out):
    two = [(Component(component_id=3), 100), (Component(component_id=5, place=1), 100)]
    three = [(Component(component_id=n, place=n), 50) for n in (1, 2, 3)]
    sin(out, "component-ids-equal", "two components of one id", "not-ascending", "component 1 component_id", second(component_id=3), two)
    sin(out, "component-ids-descending", "ids 3 and 2", "not-ascending", "component 1 component_id", second(component_id=2), two)

    def reorder(m):
        m.components[1], m.components[2] = m.components[2], m.components[1]

    sin(out, "components-reordered", "the second and the third change places", "sum", "component 1 file_off", reorder, three)
    sin(out, "component-kind-0", "unknown kind", "unknown-value", "component 0 kind", first(kind=0))
    sin(out, "component-kind-5", "unknown kind", "unknown-value", "component 0 kind", first(kind=5))
    sin(out, "component-transform-1", "a transform", "unsupported", "component 0 transform", first(transform=1))
    delta = [(Component(component_id=1), 100), (Component(component_id=2), 100)]
    sin(out, "component-transform-beside-full", "a transform although an alternative would match", "unsupported", "component 0 transform", first(transform=2), delta)
    sin(out, "component-flags", "a flag", "reserved", "component 0 flags", first(flags=1))
    sin(out, "component-places-descending", "places 2 and 1", "not-ascending", "component 1 place", first(place=2), two)
    mixed = [(Component(component_id=1), 100), (Component(component_id=2, kind=4, dest_addr=0x1000), 100)]
    sin(out, "component-kinds-in-one-place", "an app and data in one place", "out-of-range", "component 1 kind", None, mixed)
    sin(out, "component-first-offset", "the first does not start at 0", "sum", "component 0 file_off", first(file_off=32))
    sin(out, "component-second-offset-gap", "a gap between two", "sum", "component 1 file_off", second(file_off=165), two)
    sin(out, "component-second-offset-overlap", "two overlap", "sum", "component 1 file_off", second(file_off=0), two)
    sin(out, "component-empty", "enc_len 0", "out-of-range", "component 0 enc_len", first(enc_len=0, install_len=0))
    sin(out, "component-install-len", "install_len differs", "sum", "component 0 install_len", first(install_len=101))
    for kind, name in ((2, "bootloader"), (3, "partition-table"), (4, "data")):
        sin(out, f"component-{name}-any-slot", "all ones is for apps only", "out-of-range", "component 0 dest_addr", first(kind=kind))
    sin(out, "component-fe-scheme-4", "unknown flash encryption scheme", "unknown-value", "component 0 fe_scheme", first(fe_scheme=4, dest_addr=0x10000))
    sin(out, "component-fe-without-address", "flash-encrypted bytes for any slot", "out-of-range", "component 0 fe_scheme", first(fe_scheme=1))
    sin(out, "component-parameters", "parameters without a transform", "reserved", "component 0 transform_parameters", first(parameters=bytes(6) + b"\1"))
    sin(out, "component-fe-check-without-scheme", "a check value without a scheme", "must-be-zero", "component 0 flash_key_check", first(fe_check=b"\1" + bytes(15)))
    sin(out, "component-base-digest", "a base without a delta", "must-be-zero", "component 0 base_digest", first(base_digest=b"\1" + bytes(31)))


def with_extensions(*pairs):
    return lambda m: refill(replace(m, extensions=list(pairs)))


def extensions(out):
    ids = sorted(KEYS[name].recipient_id() for name in ("device-1", "device-2"))
    ext = "extension_type"
    for name, kind in (("unknown", 0x8003), ("zero", 0x8000), ("private", 0xF000), ("last", 0xFFFF)):
        sin(out, f"extension-critical-{name}", f"type 0x{kind:04x}", "unknown-critical", ext, with_extensions((kind, b"1234")))
    sin(out, "extension-requires", "type 0x8002 is reserved for later", "unsupported", ext, with_extensions((0x8002, b"1234")))
    for name, kind in (("targets", 1), ("requires", 2)):
        sin(out, f"extension-{name}-not-critical", f"type 0x{kind:04x} without its critical bit", "out-of-range", ext, with_extensions((kind, bytes(16))))
    sin(out, "extensions-descending", "types 0x7002, 0x7001", "not-ascending", ext, with_extensions((0x7002, b""), (0x7001, b"")))
    sin(out, "extensions-critical-bit-orders", "0x0003 before 0x8001", "not-ascending", ext, with_extensions((3, b""), (0x8001, ids[0])))
    sin(out, "extension-twice", "type 0x7001 twice", "not-ascending", ext, with_extensions((0x7001, b"a"), (0x7001, b"b")))
    sin(out, "targets-twice", "targets twice", "not-ascending", ext, with_extensions((0x8001, ids[0]), (0x8001, ids[1])))
    sin(out, "targets-empty", "no target", "out-of-range", "targets", with_extensions((0x8001, b"")))
    sin(out, "targets-15-bytes", "not a multiple of 16", "out-of-range", "targets", with_extensions((0x8001, ids[0][:15])))
    sin(out, "targets-descending", "ids out of order", "not-ascending", "targets", with_extensions((0x8001, ids[1] + ids[0])))
    sin(out, "targets-same-twice", "one id twice", "not-ascending", "targets", with_extensions((0x8001, ids[0] * 2)))

    old, new, carried = KEYS["group-0"], KEYS["group-7"], "carried_groups"
    stray = replace(new, private=Stream("a third group").take(32), generation=0)
    _, pair = make.carry_groups([(old, new), (stray, new)], settings())
    one, two = pair[:60], pair[60:]
    for name, value, about, reason in (
        ("empty", b"", "no entry", "out-of-range"), ("59-bytes", one[:59], "not a multiple of 60", "out-of-range"),
        ("61-bytes", one + b"\0", "not a multiple of 60", "out-of-range"), ("descending", two + one, "old ids out of order", "not-ascending"),
        ("same-twice", one + one, "one old key twice", "not-ascending"),
    ):  # fmt: skip
        sin(out, f"carried-groups-{name}", about, reason, carried, with_extensions((manifest.CARRIED_GROUPS, value)))
    for name, pairs in (("same-generation", (new, replace(new))), ("lower-generation", (new, old))):
        sin(out, f"carried-groups-{name}", "a generation only rises", "out-of-range", carried, with_extensions(make.carry_groups([pairs], settings())))
    twice = with_extensions((4, one), (4, two))
    sin(out, "carried-groups-extension-twice", "type 0x0004 twice", "not-ascending", ext, twice)
    sin(out, "carried-groups-critical", "type 0x0004 has no critical bit", "unknown-critical", ext, with_extensions((0x8004, one)))

    def raw(tail):
        return lambda signed: signed[:8] + (len(signed) + len(tail)).to_bytes(4, "little") + signed[12:] + tail

    for name, tail, reason, field in (
        ("header-cut", b"\x01\x70", "truncated", "extension_len"), ("value-cut", b"\x01\x70\x08\x00abcd", "truncated", "extension_value"),
        ("padding-cut", b"\x01\x70\x01\x00a", "truncated", "extension_padding"), ("padding", b"\x01\x70\x01\x00a\0\0\1", "reserved", "extension_padding"),
        ("one-byte", b"\x01", "truncated", "extension_type"),
    ):  # fmt: skip
        sin(out, f"extension-{name}", "extensions fill the manifest exactly", reason, field, patch=raw(tail))
    sin(out, "targets-102", "102 targets make 2052 bytes", "out-of-range", "signed_len", with_extensions((0x8001, b"".join(sorted(Stream(f"t{n}").take(16) for n in range(102))))))


def limits(out):
    """Too large to carry the payload: the manifest and its signatures alone."""

    def alone(name, about, reason, field, **values):
        parts = release(f"sin {name}", 100, edit=first(**values))
        out.sin(name, "manifest", parts.signed + parts.block_bytes(), about, "manifest", reason, field, operation="read")

    for profile, size in ((1, 2**21), (2, 2**25), (3, 2**29)):
        parts = release(f"sin pages {profile}", 100, edit=first(enc_len=size + 1, install_len=size + 1), profile=profile)
        data = parts.signed + parts.block_bytes()
        out.sin(f"pages-65-profile-{profile}", "manifest", data, "65 pages", "manifest", "out-of-range", "component 0 enc_len", operation="read")
    alone("component-enc-len-2-32", "enc_len 2^32", "out-of-range", "component 0 enc_len", enc_len=2**32, install_len=2**32)
    alone("component-enc-len-2-64", "enc_len 2^64-1", "out-of-range", "component 0 enc_len", enc_len=2**64 - 1, install_len=2**64 - 1)
    parts = release("sin cut", 100)
    whole = parts.signed + parts.block_bytes()
    for name, length, part, reason, field in (
        ("manifest-cut-in-header", 100, "manifest", "truncated", "expires_at"), ("manifest-cut-in-component", 300, "manifest", "truncated", "signed_len"),
        ("manifest-cut-before-signatures", len(parts.signed), "signatures", "truncated", "count"),
        ("manifest-cut-in-signature", len(whole) - 1, "signatures", "truncated", "value"),
    ):  # fmt: skip
        out.sin(name, "manifest", whole[:length], "the bytes end here", part, reason, field, operation="read")
    out.sin("manifest-empty", "manifest", b"", "no bytes", "manifest", "truncated", "magic", operation="read")


def policy(out):
    only_2 = (manifest.TARGETS, KEYS["device-2"].recipient_id())
    sin(out, "not-among-targets", "sealed to this device, but another one is the target", "not-a-recipient", "targets", with_extensions(only_2), operation=OPEN)
    moved = (manifest.TARGETS, KEYS["group-7"].recipient_id()[:12] + (6).to_bytes(4, "little"))
    group = {**OPEN, "key": "group-7"}
    sin(out, "not-among-targets-other-generation", "another generation of the group is the target", "not-a-recipient", "targets", with_extensions(moved), to=("group-7",), operation=group)
    plain = {**OPEN, "key": None}
    sin(out, "not-among-targets-plain", "no key, but targets", "not-a-recipient", "targets", with_extensions(only_2), operation=plain, content_suite=0)
    under = {"operation": "verify", "trust": None, "keyset": "keysets/v1.keyset"}
    sin(out, "release-of-another-vendor", "vendor_id differs from the keyset's", "wrong-vendor", "vendor_id", fields(vendor_id=bytes([7] * 16)), operation=under)
    sin(out, "release-of-another-class", "class_id differs from the keyset's", "wrong-class", "class_id", fields(class_id=bytes([7] * 16)), operation=under)
    sin(out, "release-needs-newer-keyset", "keyset_version 2, version 1 in force", "need-keyset", "keyset_version", fields(keyset_version=2), operation=under)
    low = out.keyset_file("max-security-version-2", [make_keyset(max_security_version=2)])
    sin(out, "release-above-security-version", "security_version 3, the keyset allows 2", "security-version-too-high", "security_version", operation={**under, "keyset": low})

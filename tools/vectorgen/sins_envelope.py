"""Faults of envelopes, offers and key files."""

from dataclasses import replace

from sealed import crypto, envelope, keyfile, make
from sealed.envelope import Envelope

from .frame import KEYS, Stream, ephemeral, pack, release
from .good import about_poll, sample_offer
from .sins_bundle import OPEN, VERIFY


def add_all(out):
    form(out)
    plain(out)
    opening(out)
    offers(out)
    keyfiles(out)


def sin(out, name, about, reason, field, change, to=("device-1",), operation=OPEN, **fields):
    parts = release(f"sin {name}", 100, to=to)
    parts.envelopes = change(parts) or parts.envelopes
    out.sin(name, "bundle", parts.encode(), about, "envelope", reason, field, **{**operation, **fields})


def all_of(**values):
    return lambda parts: [replace(e, **values) for e in parts.envelopes]


def form(out):
    def form_sin(name, about, reason, field, change, **options):
        sin(out, name, about, reason, field, change, operation=VERIFY, **options)

    form_sin("envelope-magic", "another magic", "magic", "magic", all_of(magic=b"ASE2"))
    form_sin("envelope-version-0", "version 0", "version", "version", all_of(version=0))
    form_sin("envelope-version-2", "version 2", "version", "version", all_of(version=2))
    form_sin("envelope-length-long", "one byte more than its suite has", "out-of-range", "len", lambda p: [replace(p.envelopes[0], wrapped=p.envelopes[0].wrapped + b"\0")])
    form_sin("envelope-length-short", "one byte less", "out-of-range", "len", lambda p: [replace(p.envelopes[0], wrapped=p.envelopes[0].wrapped[:-1])])
    form_sin("envelope-length-of-another-suite", "suite 2 with the length of suite 1", "out-of-range", "len", all_of(wrap_suite=2))
    unknown = lambda p, **v: [*p.envelopes, Envelope(9, b"\xff" * 16, crypto.sha256(p.signed), bytes(20), **v)]  # noqa: E731
    form_sin("envelope-unknown-suite-55-bytes", "shorter than a header", "out-of-range", "len", lambda p: unknown(p, length=55))
    form_sin("envelope-unknown-suite-past-the-end", "longer than its section", "truncated", "len", lambda p: unknown(p, length=77))
    form_sin("envelope-unknown-suite-zero-length", "len 0 does not loop", "out-of-range", "len", lambda p: unknown(p, length=0))

    def other_digest(p):
        return [*p.envelopes, Envelope(9, b"\xff" * 16, bytes(32), b"")]

    form_sin("envelope-unknown-suite-of-another-release", "skipped only after its digest was compared", "other-release", "manifest_digest", other_digest)
    two = {"to": ("device-1", "device-2")}
    form_sin("envelopes-descending", "recipients out of order", "not-ascending", "recipient_id", lambda p: p.envelopes[::-1], **two)
    form_sin("envelopes-same-recipient-twice", "one recipient twice", "not-ascending", "recipient_id", lambda p: p.envelopes * 2)

    def unknown_twice(p):
        return [*p.envelopes, Envelope(9, p.envelopes[0].recipient_id, crypto.sha256(p.signed), b"")]

    form_sin("envelopes-same-recipient-in-an-unknown-suite", "one recipient twice, once in a suite nobody knows", "not-ascending", "recipient_id", unknown_twice)
    form_sin("envelope-pack-trailing", "bytes after the last envelope", "truncated", "magic", lambda p: make.encode_pack(p.envelopes) + b"\0\0\0")
    form_sin("envelope-pack-cut", "the section ends inside an envelope", "truncated", "len", lambda p: make.encode_pack(p.envelopes)[:-1])
    whole = release("pack alone", 100)
    digest = crypto.sha256(whole.signed).hex()
    for name, data, reason, field in (
        ("envelopes-alone-empty", b"", "truncated", "magic"), ("envelopes-alone-cut-in-header", make.encode_pack(whole.envelopes)[:30], "truncated", "len"),
    ):  # fmt: skip
        out.sin(name, "envelopes", data, "a pack without its bundle", "envelope", reason, field, operation="read", manifest_digest=digest)


def plain(out):
    parts = release("sin plain envelope", 100, content_suite=0)
    parts.envelopes = pack(Stream("plain envelope"), parts, ("device-1",), cek=bytes(32))
    out.sin("envelope-of-a-plain-release", "bundle", parts.encode(), "suite 0 has no envelopes", "envelope", "must-be-zero", "content_suite", **VERIFY)
    parts.envelopes = [Envelope(9, bytes(16), crypto.sha256(parts.signed), b"")]
    out.sin("envelope-unknown-of-a-plain-release", "bundle", parts.encode(), "nor one of an unknown suite", "envelope", "must-be-zero", "content_suite", **VERIFY)


def opening(out):
    other = release("another release", 100)
    sin(out, "envelope-of-another-release", "another release's envelope", "other-release", "manifest_digest", lambda p: other.envelopes)

    def relabelled(p):
        return [replace(e, manifest_digest=crypto.sha256(p.signed)) for e in other.envelopes]

    sin(out, "envelope-of-another-release-relabelled", "the same with this release's digest written over", "unwrap-failed", "wrapped_key", relabelled)
    sin(out, "envelope-none-for-this-key", "only another device has one", "not-a-recipient", "recipient_id", lambda p: None, to=("device-2",))
    sin(out, "envelope-none-at-all", "no envelopes", "not-a-recipient", "recipient_id", lambda p: None, to=())

    def for_other(p):
        return [replace(e, recipient_id=KEYS["device-1"].recipient_id()) for e in p.envelopes]

    sin(out, "envelope-for-another-device-relabelled", "another device's envelope under this id", "unwrap-failed", "wrapped_key", for_other, to=("device-2",))

    def forged(p):
        return pack(Stream("forged"), p, ("device-1",), cek=bytes([7] * 32))

    sin(out, "envelope-forged", "a good envelope around another content key", "commitment-mismatch", "cek_commit", forged)

    def forged_group(p):
        return pack(Stream("forged"), p, ("group-0",), cek=bytes([7] * 32))

    sin(out, "envelope-forged-group", "the same for a group", "commitment-mismatch", "cek_commit", forged_group, key="group-0")

    def unknown(p):
        return [Envelope(4, KEYS["device-1"].recipient_id(), crypto.sha256(p.signed), bytes(1120))]

    sin(out, "envelope-unknown-suite-under-own-id", "counts as no envelope", "not-a-recipient", "recipient_id", unknown)

    def kw_under_own_id(p):
        key = KEYS["group-0"]
        return [envelope.wrap(key.private, 3, KEYS["device-1"].recipient_id(), crypto.sha256(p.signed), p.cek)]

    sin(out, "envelope-another-suite-under-own-id", "a key wrap under an X25519 id", "not-a-recipient", "recipient_id", kw_under_own_id)
    for name, key, at in (
        ("x25519-enc", "device-1", 0), ("x25519-ciphertext", "device-1", 40), ("x25519-tag", "device-1", 79),
        ("p256-ciphertext", "device-p256-1", 70), ("group", "group-0", 3),
    ):  # fmt: skip
        flip = lambda p, a=at: [replace(e, wrapped=e.wrapped[:a] + bytes([e.wrapped[a] ^ 1]) + e.wrapped[a + 1 :]) for e in p.envelopes]  # noqa: E731
        sin(out, f"envelope-flip-{name}", "one bit", "unwrap-failed", "wrapped_key", flip, to=(key,), key=key)

    def enc(value):
        return lambda p: [replace(e, wrapped=value + e.wrapped[len(value) :]) for e in p.envelopes]

    sin(out, "envelope-x25519-zero", "an ephemeral key of zeros: the shared secret is zero", "unwrap-failed", "wrapped_key", enc(bytes(32)))
    low = bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")
    sin(out, "envelope-x25519-order-8", "an ephemeral key of order 8", "unwrap-failed", "wrapped_key", enc(low))
    p256 = {"to": ("device-p256-1",), "key": "device-p256-1"}
    sin(out, "envelope-p256-off-curve", "an ephemeral point off the curve", "unwrap-failed", "wrapped_key", enc(b"\4" + bytes(63) + b"\1"), **p256)
    sin(out, "envelope-p256-compressed", "an ephemeral point that begins as a compressed one", "unwrap-failed", "wrapped_key", enc(b"\2"), **p256)
    sin(out, "envelope-p256-infinity", "an ephemeral point of zeros", "unwrap-failed", "wrapped_key", enc(bytes(65)), **p256)

    def other_generation(p):
        key = KEYS["group-0"]
        moved = key.recipient_id()[:12] + (1).to_bytes(4, "little")
        return [envelope.wrap(key.private, 3, moved, crypto.sha256(p.signed), p.cek)]

    sin(out, "envelope-group-other-generation", "the same group key in generation 1", "not-a-recipient", "recipient_id", other_generation, to=("group-0",), key="group-0")

    def without_header(p):
        kek = crypto.hkdf(KEYS["group-0"].private, b"airseal1 kw", 32)
        return [replace(e, wrapped=crypto.key_wrap(kek, p.cek)) for e in p.envelopes]

    sin(out, "envelope-group-header-not-bound", "a key wrap whose key does not depend on the header", "unwrap-failed", "wrapped_key", without_header, to=("group-0",), key="group-0")

    def hpke_without_header(p):
        sealed = crypto.hpke_seal(crypto.X25519Kem, ephemeral(Stream("unbound"), 1), KEYS["device-1"].public, b"airseal1 wrap", p.cek)
        return [replace(e, wrapped=sealed) for e in p.envelopes]

    sin(out, "envelope-hpke-header-not-bound", "HPKE whose info lacks the header", "unwrap-failed", "wrapped_key", hpke_without_header)


def offers(out):
    good = make.sign_offer(sample_offer(), KEYS["offer"])

    def offer_sin(name, about, reason, field, one, poll=good):
        data = one if isinstance(one, bytes) else one.encode()
        out.sin(name, "offer", data, about, "offer", reason, field, operation="check", keyset="keysets/v1.keyset", about_poll=about_poll(poll))

    def signed(**values):
        return make.sign_offer(sample_offer(**values), KEYS["offer"])

    whole = good.encode()
    offer_sin("offer-magic", "another magic", "magic", "magic", signed(magic=b"ASO2"))
    offer_sin("offer-major", "major 2", "version", "major", signed(major=2))
    offer_sin("offer-purpose-2", "unknown purpose", "unknown-value", "purpose", signed(purpose=2))
    offer_sin("offer-length", "len 153", "out-of-range", "len", signed(length=153))
    offer_sin("offer-valid-for-0", "never valid", "out-of-range", "valid_for", signed(valid_for=0))
    offer_sin("offer-cut", "one byte is missing", "truncated", "signature", whole[:-1])
    offer_sin("offer-empty", "no bytes", "truncated", "magic", b"")
    offer_sin("offer-trailing", "one byte too many", "trailing-bytes", "end", whole + b"\0")
    offer_sin("offer-by-a-stranger", "an unknown key", "wrong-role", "key_id", make.sign_offer(sample_offer(), KEYS["offer-b"]))
    offer_sin("offer-by-a-release-key", "a key of another role", "wrong-role", "key_id", make.sign_offer(sample_offer(), KEYS["release-a"]))
    offer_sin("offer-flip-s", "a bit of S", "bad-signature", "signature", replace(good, signature=good.signature[:32] + bytes([good.signature[32] ^ 1]) + good.signature[33:]))
    s = int.from_bytes(good.signature[32:], "little") + crypto.ED_L
    offer_sin("offer-s-plus-order", "S + L", "bad-signature", "signature", replace(good, signature=good.signature[:32] + s.to_bytes(32, "little")))
    offer_sin("offer-changed-validity", "valid_for was raised after signing", "bad-signature", "signature", replace(good, valid_for=2**31))
    unlabelled = replace(good, signature=KEYS["offer"].sign(good.signed()))
    offer_sin("offer-signed-without-label", "signed without its label", "bad-signature", "signature", unlabelled)
    for name in ("device_nonce", "recipient_id", "manifest_digest"):
        value = bytes([9]) * len(getattr(good, name))
        offer_sin(f"offer-other-{name.replace('_', '-')}", f"a good offer with another {name}", "offer-mismatch", name, signed(**{name: value}))


def keyfiles(out):
    def file_sin(name, about, reason, field, data, operation):
        out.sin(f"keyfile-{name}", "keyfile", data, about, "key", reason, field, operation=operation)

    release_a, device = keyfile.write_private(KEYS["release-a"]), keyfile.write_private(KEYS["device-1"])
    p256 = keyfile.write_private(KEYS["device-p256-1"])
    group = keyfile.write_private(KEYS["group-0"])
    kind = "airseal-kind"
    file_sin("device-as-signing", "a device key where a signing key is wanted", "key-mismatch", kind, device, "signing")
    file_sin("signing-as-recipient", "a signing key where a recipient is wanted", "key-mismatch", kind, release_a, "recipient")
    file_sin("device-p256-as-signing", "a P-256 device key where a signing key is wanted: only the kind line tells", "key-mismatch", kind, p256, "signing")
    file_sin("group-as-signing", "a group key where a signing key is wanted", "key-mismatch", kind, group, "signing")
    file_sin("two-keys", "two keys in a file", "duplicate", "PEM", release_a + release_a.split(b"\n", 1)[1], "signing")
    file_sin("two-kind-lines", "two kind lines", "duplicate", kind, b"airseal-kind: signing\n" + release_a, "signing")
    file_sin("kind-after-begin", "a second kind line after the key", "duplicate", kind, release_a + b"airseal-kind: signing\n", "signing")
    file_sin("unknown-kind", "a kind that does not exist", "unknown-value", kind, release_a.replace(b"signing", b"signing-rsa"), "signing")
    file_sin("kind-with-space", "a space after the kind", "unknown-value", kind, release_a.replace(b"signing\n", b"signing \n"), "signing")
    file_sin("kind-without-space", "no space after the colon", "unknown-value", kind, release_a.replace(b": ", b":"), "signing")
    file_sin("kind-of-another-algorithm", "the kind says P-256, the key is Ed25519", "key-mismatch", kind, release_a.replace(b"signing\n", b"signing-p256\n"), "signing")
    short = make_group_body(KEYS["group-0"].private + b"\0\0\0")
    file_sin("group-35-bytes", "a group key without its whole generation", "unknown-value", "PEM", short, "recipient")
    file_sin("not-pem", "no key in it", "unknown-value", "PEM", b"hello\n", "signing")
    file_sin("empty", "no bytes", "unknown-value", "PEM", b"", "signing")
    file_sin("binary", "not a text file", "unknown-value", "PEM", bytes(range(128, 160)), "signing")


def make_group_body(raw):
    import base64

    return b"airseal-kind: group\n-----BEGIN AIRSEAL GROUP KEY-----\n" + base64.b64encode(raw) + b"\n-----END AIRSEAL GROUP KEY-----\n"

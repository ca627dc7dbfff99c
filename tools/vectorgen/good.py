"""Cases that every reader accepts."""

from dataclasses import replace

from sealed import crypto, make, manifest, signatures
from sealed.envelope import Envelope
from sealed.keyset import RELEASE, ROOT
from sealed.make import Component
from sealed.offer import INSTALL, NOTHING_NEWER, Offer

from .frame import (
    K1, K2, K3, KEYS, ROWS_1, ROWS_2, Stream, add_entry, lms_entry, lms_row, make_keyset, refill, release, settings, text,
)  # fmt: skip

SUITES = {0: "plain", 1: "aes", 2: "chacha"}
A = {"trust": ["release-a"]}


def add_all(out):
    content(out)
    envelopes(out)
    components(out)
    extensions(out)
    signers(out)
    keysets(out)
    offers(out)
    keyfiles(out)


def opened(out, name, parts, about, key="device-1", **fields):
    out.good(name, "bundle", parts.encode(), about, operation="open", key=key, **{**A, **fields})


def verified(out, name, parts, about, **fields):
    out.good(name, "bundle", parts.encode(), about, operation="verify", **{**A, **fields})


def content(out):
    hello = [(Component(), b"Hello, sealed world!\n")]
    opened(out, "worked-example", release("worked example", hello, version=text("1.0.0")), "the example of docs/FORMAT.md")
    for suite, suite_name in SUITES.items():
        for profile in (1, 2, 3, 4):
            name = f"{suite_name}-profile-{profile}"
            parts = release(name, 300 + profile, content_suite=suite, profile=profile)
            opened(out, name, parts, f"content suite {suite}, profile {profile}, one short chunk", key="device-1" if suite else None)
    for length in (1, 16, 1023, 1024, 1025, 2048, 32 * 1024 - 1, 32 * 1024, 32 * 1024 + 1):
        opened(out, f"length-{length}", release(f"length {length}", length), "a border of chunk (1024) or page (32 chunks), profile 1")
    opened(out, "length-4097", release("length 4097", 4097, profile=2), "a border of chunk, profile 2, AES")
    opened(out, "length-1025-chacha", release("length 1025 chacha", 1025, content_suite=2), "a second chunk under ChaCha20")
    longest = release("text", version=text("v" * 31), expires_at=2**63, hw_rev_min=7, hw_rev_max=7, min_from_seq=5, min_from_secver=2)
    opened(out, "longest-version-text", longest, "31 characters and one NUL; one hardware revision; far expiry; stepping stones")
    opened(out, "empty-version-text", release("no text", version=bytes(32)), "32 NULs")
    highest = release("highest", release_seq=2**64 - 1, built_at=2**64 - 1, expires_at=2**64 - 1, security_version=2**32 - 1, keyset_version=2**32 - 1)
    opened(out, "highest-numbers", highest, "the last value of every counter and date")
    opened(out, "zero-ids", release("zero ids", vendor_id=bytes(16), class_id=bytes(16)), "ids are bytes; zeros have no meaning in a manifest")
    opened(out, "sequence-zero", release("sequence zero", release_seq=0), "release_seq and keyset_version may be 0")


def envelopes(out):
    for name, key in (("x25519", "device-1"), ("p256", "device-p256-1"), ("group", "group-0"), ("group-generation-7", "group-7")):
        opened(out, f"envelope-{name}", release(f"envelope {name}", to=(key,)), f"one envelope, for {key}", key=key)
    everyone = ("device-1", "device-2", "device-3", "device-p256-1", "device-p256-2", "group-0", "group-7")
    for key in ("device-2", "device-p256-2", "group-7"):
        opened(out, f"envelope-pack-{key}", release("pack", to=everyone), f"seven recipients, opened by {key}", key=key)
    verified(out, "envelope-none", release("envelope none", to=()), "nobody can open it; verification needs no envelope")

    pack = release("pack", to=everyone)
    digest = crypto.sha256(pack.signed).hex()
    out.good("envelopes-alone", "envelopes", make.encode_pack(pack.envelopes), "a pack without its bundle", operation="read", manifest_digest=digest)
    alone = pack.signed + pack.block_bytes()
    out.good("manifest-alone", "manifest", alone, "a manifest and its signatures without their bundle", operation="read")

    def strange(parts, suite, length):
        first = Envelope(suite, bytes(16), crypto.sha256(parts.signed), Stream("strange").take(length))
        last = replace(first, recipient_id=b"\xff" * 16, wrapped=b"")
        parts.envelopes = [first, *parts.envelopes, last]

    for suite in (0, 4, 255):
        parts = release(f"unknown suite {suite}", after=lambda p, s=suite: strange(p, s, 1100))
        opened(out, f"envelope-unknown-suite-{suite}", parts, "envelopes of an unknown suite around ours, skipped by length (56 the shortest)")


def components(out):
    two = [(Component(component_id=1), 1500), (Component(component_id=7, kind=4, place=1, dest_addr=0x3F0000), 90)]
    opened(out, "two-places", release("two places", two), "an app and a data partition")
    kinds = [
        (Component(component_id=2, kind=2, place=0, dest_addr=0), 100),
        (Component(component_id=5, kind=3, place=3, dest_addr=0x8000), 96),
        (Component(component_id=6, kind=1, place=4), 2000),
        (Component(component_id=0xFFFF, kind=4, place=255, dest_addr=0x9000), 10),
    ]
    opened(out, "four-kinds", release("four kinds", kinds, content_suite=2), "all kinds, ids and places with gaps up to their last value")
    chips = [(Component(component_id=1, target_chip=5), 700), (Component(component_id=2, target_chip=9), 710), (Component(component_id=3), 720)]
    opened(out, "alternatives-by-chip", release("alternatives", chips), "one place, three alternatives: two chips, else any")
    raw = [
        (Component(component_id=1, dest_addr=0x10000, fe_scheme=2, fe_check=bytes(range(16))), 4096),
        (Component(component_id=2, dest_addr=0x210000, fe_scheme=2, fe_check=bytes(range(16))), 4096),
    ]
    opened(out, "flash-encrypted-for-two-slots", release("raw", raw, profile=2), "flash-encrypted bytes, one alternative per slot address")
    zero = [(Component(dest_addr=0, fe_scheme=1), 64)]
    opened(out, "flash-encrypted-zero-check", release("zero check", zero), "a check value of zeros and address 0 are values like any other")
    shadowed = [(Component(component_id=1), 70), (Component(component_id=2), 70), (Component(component_id=3, target_chip=5), 70)]
    opened(out, "alternatives-that-never-match", release("shadowed", shadowed), "the first alternative takes every device; the others are no fault")
    schemes = [(Component(component_id=n, dest_addr=0x1000 * n, fe_scheme=n, fe_check=bytes([n]) * 16), 33) for n in (1, 2, 3)]
    opened(out, "flash-encryption-schemes", release("schemes", schemes), "schemes 1, 2 and 3")
    same = Stream("the same image").take(64)
    twins = [(Component(component_id=n, target_chip=n), same) for n in (1, 2)]
    opened(out, "same-image-twice", release("twins", twins), "two components with the same plaintext: other ciphertext, equal image_digest")
    eight = [(Component(component_id=n, kind=4, place=n, dest_addr=0x1000 * n), n) for n in range(1, 9)]
    opened(out, "eight-components", release("eight", eight, to=("group-0",)), "as many as a manifest holds", key="group-0")


def extensions(out):
    def with_extensions(*pairs):
        return lambda m: refill(replace(m, extensions=list(pairs)))

    ours = make.targets([KEYS[k] for k in ("device-1", "group-7")])
    opened(out, "targets-device", release("targets", edit=with_extensions(ours)), "the device's id is among the targets")
    opened(out, "targets-group", release("targets", to=("group-7",), edit=with_extensions(ours)), "the group's id is among them", key="group-7")
    verified(out, "targets-not-tested-by-verify", release("targets 2", to=("device-2",), edit=with_extensions(ours)), "verify has no key to test")
    many = (manifest.TARGETS, b"".join(sorted([Stream(f"id {n}").take(16) for n in range(100)] + [KEYS["device-1"].recipient_id()])))
    opened(out, "targets-101", release("targets 101", edit=with_extensions(many)), "101 targets, 2036 signed bytes")
    plain = release("targets plain", content_suite=0, edit=with_extensions(ours))
    opened(out, "targets-plain", plain, "targets of an unencrypted release")
    private = with_extensions((0x7000, b""), (0x7ABC, b"abc"), (0x7FFF, b"1234"))
    opened(out, "extension-private", release("private", edit=private), "vendor-private extensions, empty and padded")
    ascending = release("skipped", edit=with_extensions((0, b"zero"), ours, (3, b"x"), (0x1234, b"later")))
    opened(out, "extension-unknown-not-critical", ascending, "unknown types without the critical bit are skipped, 0 included")
    carries(out, with_extensions, ours)
    full = with_extensions((0x7001, bytes(2048 - 256 - 160 - 4)))
    opened(out, "manifest-2048-bytes", release("full", edit=full), "the longest manifest")


def carries(out, with_extensions, ours):
    old, new = KEYS["group-0"], KEYS["group-7"]
    stray = replace(new, private=Stream("a third group").take(32), generation=0)
    renewed = make.carry_groups([(old, new)], settings())
    both = make.carry_groups([(old, new), (stray, new)], settings())

    def opened_by(name, about, to, *pairs, **fields):
        opened(out, f"carried-group-{name}", release(f"carried {name}", to=(to,), edit=with_extensions(*pairs)), about, key=to, **fields)

    opened_by("renewed", "a new generation for the group that opens it", "group-0", renewed)
    opened_by("two-entries", "two old keys, ascending", "group-0", both)
    opened_by("for-others", "a device whose key has no successor inside", "device-1", renewed)
    opened_by("before-targets", "0x0004 after 0x8001", "group-7", ours, renewed)
    damaged = renewed[0], renewed[1][:-1] + bytes([renewed[1][-1] ^ 1])
    opened_by("that-does-not-open", "an entry that does not open yields no key and is no fault", "group-0", damaged)


def signers(out):
    both = release("cosigned", sign=("release-a", "release-b"))
    verified(out, "cosigned-trust-first", both, "two signatures, one of them trusted")
    verified(out, "cosigned-trust-both", both, "two signatures, both trusted", trust=["release-a", "release-b"])
    verified(out, "signed-p256", release("p256", sign=("release-p256",)), "ECDSA P-256", trust=["release-p256"])
    mixed = release("mixed", sign=("release-a", "release-p256"))
    verified(out, "cosigned-p256", mixed, "Ed25519 and P-256, both trusted", trust=["release-a", "release-p256"])

    def garbage(parts):
        unknown = [signatures.Entry(alg, Stream(f"garbage id {alg}").take(8), Stream(f"garbage {alg}").take(n)) for alg, n in ((-19, 64), (-9, 129))]
        parts.block = add_entry(parts.block, *unknown)

    verified(out, "untrusted-entries-skipped", release("garbage", after=garbage), "entries of unknown keys are only measured")

    def surplus(parts):
        for entry in parts.block.entries:
            if entry.key_id == KEYS["release-b"].key_id():
                entry.key_id = bytes([entry.key_id[0], entry.key_id[1] ^ 1]) + entry.key_id[2:]
        parts.block.entries.sort(key=lambda e: e.key_id)

    flipped = release("surplus", sign=("release-a", "release-b"), after=surplus)
    verified(out, "surplus-key-id-flipped", flipped, "a surplus signature whose key_id was changed is nobody's", trust=["release-a", "release-b"])
    lms = release("lms", after=lambda p: setattr(p, "block", add_entry(p.block, lms_entry())))
    verified(out, "lms-entry-skipped", lms, "an HSS/LMS entry beside Ed25519")
    full = release("eight signers", sign=tuple(f"release-{n}" for n in "abcde") + ("root-1", "root-2", "release-p256"))
    verified(out, "eight-signers", full, "a full block")
    verified(out, "mixed-order-key", release("mixed order", sign=("mixed-order",)), "A with a part of order 8: the equation without cofactor holds", trust=["mixed-order"])


def keysets(out):
    one, chain = out.keyset_file("v1", [K1]), out.keyset_file("v1-to-v3", [K1, K2, K3])
    second = out.keyset_file("v2", [K2])
    under = {"trust": None, "keyset": one}
    verified(out, "under-keyset", release("k1", keyset_version=1), "no keyset carried", **under)
    verified(out, "keyset-carried-in-force", release("k1", keyset_version=1, keysets=[K1]), "the carried keyset is the one in force", **under)
    rotation = release("k2", sign=("release-c",), keyset_version=2, keysets=[K1, K2])
    verified(out, "keyset-rotation", rotation, "2 of 3 roots hand over; signed by a key of version 2", **under)
    tail = release("k2", sign=("release-c",), keyset_version=2, keysets=[K2])
    verified(out, "keyset-rotation-tail", tail, "the chain starts after the one in force", **under)
    longer = release("k3", sign=("release-d",), keyset_version=3, keysets=[K1, K2, K3])
    verified(out, "keyset-rotation-twice", longer, "two steps", **under)
    verified(out, "keyset-file-chain", release("k3", sign=("release-d",), keyset_version=3), "the keyset file carries the chain", trust=None, keyset=chain)
    verified(out, "keyset-file-starts-at-2", release("k2", sign=("release-c",), keyset_version=2), "prev_digest of the first is not checked", trust=None, keyset=second)
    newer = release("k1 newer", sign=("release-b",), keyset_version=1, keysets=[K1])
    verified(out, "keyset-in-force-newer", newer, "the manifest asks for version 1, version 2 is in force", trust=None, keyset=second)
    zero = release("k0", sign=("release-a",), keyset_version=0)
    verified(out, "keyset-version-0", zero, "sealed without a keyset, judged under one", **under)
    verified(out, "trust-with-carried-chain", rotation, "without a keyset in force the chain stands by itself", trust=["release-c"])
    from_3 = release("k3", sign=("release-d",), keyset_version=3, keysets=[K3])
    verified(out, "trust-with-chain-from-3", from_3, "prev_digest of the first is not checked", trust=["release-d"])
    skipped = release("skipped sig", keyset_version=1, keysets=[replace(K1, block=make.sign(b"other", [KEYS["root-1"]])), K2], sign=("release-c",))
    verified(out, "keyset-skipped-not-verified", skipped, "signatures of a keyset that is already in force are not looked at", **under)

    other = make_keyset(vendor_id=bytes([7] * 16), max_security_version=0)
    apart = release("apart", keysets=[other], keyset_version=9)
    verified(out, "trust-ignores-carried-policy", apart, "under trust no keyset is in force: vendor, version and maximum of a carried one are not compared")
    stranger = make_keyset(vendor_id=bytes([7] * 16))
    chain_2 = out.keyset_file("v2-in-force", [K2])
    skipped_vendor = release("skipped vendor", sign=("release-c",), keysets=[stranger], keyset_version=2)
    verified(out, "keyset-skipped-of-another-vendor", skipped_vendor, "a skipped keyset is well-formed and in order, nothing more", trust=None, keyset=chain_2)
    both = {"k_release": 2}
    two = out.keyset_file("two-of-two-releases", [make_keyset(**both)])
    pair = release("2 of 2", sign=("release-a", "release-b"), keyset_version=1)
    verified(out, "release-threshold-2", pair, "two release keys wanted, two signed", trust=None, keyset=two)
    p256_rows = (("root-p256-1", ROOT), ("root-p256-2", ROOT), ("release-p256", ROOT | RELEASE))
    p256_set = make_keyset(p256_rows, ("root-p256-1", "root-p256-2"))
    p256 = out.keyset_file("p256", [p256_set])
    verified(out, "keyset-p256", release("kp", sign=("release-p256",), keyset_version=1), "P-256 roots and a key of two roles", trust=None, keyset=p256)
    any_class = make_keyset(class_id=bytes(16))
    every = out.keyset_file("every-class", [any_class])
    verified(out, "keyset-every-class", release("every", keyset_version=1), "class_id zero matches any class", trust=None, keyset=every)
    lms_set = make_keyset(((lms_row(), ROOT | RELEASE), *ROWS_1))
    lms = out.keyset_file("lms-not-required", [lms_set])

    def lms_signed(parts):
        parts.block = add_entry(parts.block, lms_entry(lms_row().key_id))

    lms_release = release("klms", keyset_version=1, after=lms_signed)
    verified(out, "keyset-lms-not-required", lms_release, "an LMS signer that no threshold needs is skipped by a reader without LMS", trust=None, keyset=lms, only_without_lms=True)
    offer_signed = release("koffer", sign=("release-a", "offer", "root-1"), keyset_version=1)
    verified(out, "keyset-other-roles-do-not-count", offer_signed, "entries of root and offer keys hold but do not count", **under)

    def file(name, chain_, about):
        out.good(name, "keyset", make.encode_keysets(chain_), about, operation="accept")

    file("keyset-file-1", [K1], "version 1, signed by its own roots")
    file("keyset-file-3", [K1, K2, K3], "two rotations")
    orphan = make_keyset(version=7)
    file("keyset-file-from-7-without-predecessor", [orphan], "a first keyset of a later version may name no predecessor")
    file("keyset-file-from-2", [K2, K3], "the first one is trusted")
    rows = [(f"root-{n}", ROOT) for n in range(1, 7)] + [(f"release-{n}", RELEASE) for n in "abcde"]
    rows += [("stranger", RELEASE), ("mixed-order", RELEASE), ("release-p256", RELEASE), ("offer", 4), ("offer-b", 4)]
    file("keyset-16-keys", [make_keyset(rows, ("root-1", "root-2"))], "as many keys as a keyset holds")
    limits = make_keyset(rows, ("root-1", "root-2", "root-3"), k_root=3, k_release=8)
    file("keyset-highest-thresholds", [limits], "k_root 3, k_release 8")
    file("keyset-max-security-version-rises", [K1, make_keyset(ROWS_2, ("root-2", "root-3"), K1, max_security_version=200)], "roots 2 and 3 are in both sets")
    chain = [K1]
    while len(chain) < 33:
        chain.append(make_keyset(ROWS_1, ("root-1", "root-2"), chain[-1]))
    verified(out, "keysets-32", release("k32", keyset_version=32, keysets=chain[:32]), "as many keysets as a bundle carries", **under)


def about_poll(o):
    return {"device_nonce": o.device_nonce.hex(), "recipient_id": o.recipient_id.hex(), "manifest_digest": o.manifest_digest.hex()}


def sample_offer(**changes):
    stream = Stream("airseal vectors offer")
    values = {
        "device_nonce": stream.take(16), "recipient_id": KEYS["device-1"].recipient_id(),
        "manifest_digest": stream.take(32), "keyset_version": 1, "valid_for": 3600, **changes,
    }  # fmt: skip
    return Offer(**values)


def offers(out):
    for name, about, changes in (
        ("offer-install", "install this release", {"purpose": INSTALL}),
        ("offer-nothing-newer", "the installed release is the newest", {"purpose": NOTHING_NEWER}),
        ("offer-nothing-installed", "nothing newer, and nothing installed", {"purpose": NOTHING_NEWER, "manifest_digest": bytes(32)}),
        ("offer-newer-keyset", "names a keyset that the device does not have yet: installing waits, the offer holds", {"keyset_version": 9}),
        ("offer-longest", "the longest validity", {"valid_for": 2**32 - 1}),
    ):
        o = make.sign_offer(sample_offer(**changes), KEYS["offer"])
        out.good(name, "offer", o.encode(), about, operation="check", keyset="keysets/v1.keyset", about_poll=about_poll(o))


def keyfiles(out):
    from sealed import keyfile

    for name in ("release-a", "release-p256"):
        out.good(f"keyfile-{name}", "keyfile", keyfile.write_private(KEYS[name]), "a signing key with its kind", operation="signing")
    for name in ("device-1", "device-p256-1", "group-7"):
        out.good(f"keyfile-{name}", "keyfile", keyfile.write_private(KEYS[name]), "a recipient's key with its kind", operation="recipient")
    crlf = keyfile.write_private(KEYS["device-1"]).replace(b"\n", b"\r\n")
    out.good("keyfile-crlf", "keyfile", crlf, "CRLF line ends", operation="recipient")
    bare = keyfile.write_public(KEYS["release-a"]).split(b"\n", 1)[1]
    out.good("keyfile-from-elsewhere", "keyfile", bare, "no kind line: the option names the kind, the algorithm decides", operation="signing")
    group = keyfile.write_private(KEYS["group-7"]).split(b"\n", 1)[1]
    out.good("keyfile-group-without-kind", "keyfile", group, "the label of a group key says its kind", operation="recipient")
    noted = b"made on a Tuesday\n" + keyfile.write_public(KEYS["release-p256"])
    out.good("keyfile-with-text", "keyfile", noted, "other text before BEGIN is allowed", operation="signing")

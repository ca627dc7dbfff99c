"""Faults of keysets and of chains."""

from dataclasses import replace

from sealed import crypto, make
from sealed.keyset import MESSAGE, OFFER, RELEASE, ROOT
from sealed.signatures import Anchor, Entry, key_id

from .frame import K1, K2, K3, KEYS, ROWS_1, ROWS_2, ROWS_3, add_entry, lms_entry, lms_row, make_keyset, release
from .sins_bundle import VERIFY

UNDER = {"operation": "verify", "trust": None, "keyset": "keysets/v1.keyset"}


def add_all(out):
    form(out)
    rows(out)
    thresholds(out)
    block(out)
    chains(out)
    carried(out)


def sin(out, name, about, reason, field, chain, **fields):
    data = chain if isinstance(chain, bytes) else make.encode_keysets(chain)
    out.sin(name, "keyset", data, about, "keyset", reason, field, operation="accept", **fields)


def header_fields(**values):
    return [make_keyset(edit=lambda ks: replace(ks, **values))]


def form(out):
    whole = make.encode_keysets([K1])
    sin(out, "keyset-empty", "no bytes", "truncated", "magic", b"")
    sin(out, "keyset-magic", "another magic", "magic", "magic", header_fields(magic=b"ASK2"))
    sin(out, "keyset-major", "major 2", "version", "major", header_fields(major=2))
    sin(out, "keyset-minor", "minor 1", "version", "minor", header_fields(minor=1))
    sin(out, "keyset-header-len", "header_len 100", "version", "header_len", header_fields(header_len=100))
    sin(out, "keyset-signed-len", "one row more than n_keys", "sum", "signed_len", header_fields(signed_len=96 + 44 * 7))
    sin(out, "keyset-version-zero", "version 0", "out-of-range", "version", header_fields(version=0))
    sin(out, "keyset-version-1-with-predecessor", "version 1 names one before", "must-be-zero", "prev_digest", header_fields(prev_digest=bytes(31) + b"\1"))
    sin(out, "keyset-no-keys", "n_keys 0", "out-of-range", "n_keys", header_fields(n_keys=0, keys=[], signed_len=96))
    many = [(f"root-{n}", ROOT) for n in range(1, 7)] + [(f"release-{n}", RELEASE) for n in "abcde"]
    many += [(n, RELEASE) for n in ("stranger", "mixed-order", "release-p256", "release-p256-b", "root-p256-1", "root-p256-2")]
    sin(out, "keyset-17-keys", "n_keys 17", "out-of-range", "n_keys", [make_keyset(many)])
    sin(out, "keyset-reserved", "the last reserved byte", "reserved", "reserved", header_fields(reserved=bytes(6) + b"\1"))
    sin(out, "keyset-trailing", "bytes after the signature block", "truncated", "magic", whole + b"\0")
    for name, length, field in (
        ("header", 60, "prev_digest"), ("row", 96 + 20, "key 0 key"), ("before-signatures", 96 + 44 * 6, "count"), ("signature", len(whole) - 1, "value"),
    ):  # fmt: skip
        sin(out, f"keyset-cut-in-{name}", "the bytes end here", "truncated", field, whole[:length])


def row(index, **values):
    """Changes one row of version 1 (rows ascend by key_id) before it is signed."""

    def edit(ks):
        keys = list(ks.keys)
        keys[index] = replace(keys[index], **values)
        return replace(ks, keys=keys)

    return [make_keyset(edit=edit)]


def rows(out):
    sin(out, "keyset-row-algorithm-8", "algorithm -8", "unknown-value", "key 2 algorithm", row(2, alg=-8))
    sin(out, "keyset-row-without-role", "roles 0", "wrong-role", "key 2 roles", row(2, roles=0))
    sin(out, "keyset-row-role-8", "roles 8", "wrong-role", "key 2 roles", row(2, roles=8))
    sin(out, "keyset-row-role-beside-unknown", "roles 1 + 128", "wrong-role", "key 2 roles", row(2, roles=129))
    sin(out, "keyset-row-reserved", "the reserved byte", "reserved", "key 2 reserved", row(2, reserved=1))
    sin(out, "keyset-row-key-id", "key_id is not this key's", "key-mismatch", "key 0 key_id", row(0, key_id=bytes(8)))

    def edited(change):
        return [make_keyset(edit=lambda ks: replace(ks, keys=change(list(ks.keys))).filled())]

    sin(out, "keyset-rows-descending", "the last two rows change places", "not-ascending", "key 5 key_id", edited(lambda k: [*k[:4], k[5], k[4]]))
    sin(out, "keyset-row-twice", "one row twice", "not-ascending", "key 1 key_id", edited(lambda k: [k[0], *k]))
    p256 = KEYS["release-p256"].anchor(RELEASE)
    again = replace(p256, key_id=b"\xff" * 8)
    sin(out, "keyset-same-key-twice", "equal key material under two ids", "not-ascending", "key 7 key", [make_keyset((*ROWS_1, (p256, RELEASE), (again, RELEASE)))])
    bad = (("small-order", (1).to_bytes(32, "little")), ("noncanonical", noncanonical_point()), ("off-curve", off_curve()))
    for name, key in bad:
        ks = make_keyset((*ROWS_1, (Anchor(-19, key_id(-19, key), key), RELEASE)))
        at = [k.key for k in ks.keys].index(key)
        sin(out, f"keyset-row-{name}", "an Ed25519 key that is none", "bad-key", f"key {at} key", [ks])
    for name, roles in (("root", OFFER | ROOT), ("release", OFFER | RELEASE)):
        ks = make_keyset(((KEYS["offer-b"].anchor(), roles), *ROWS_1))
        at = [k.key for k in ks.keys].index(KEYS["offer-b"].public)
        sin(out, f"keyset-offer-and-{name}", "an offer key has no other role", "wrong-role", f"key {at} roles", [ks])
    ks = make_keyset(((p256, OFFER), *ROWS_1))
    sin(out, "keyset-offer-p256", "an offer key is Ed25519", "wrong-role", f"key {[k.key for k in ks.keys].index(p256.key)} roles", [ks])


def noncanonical_point():
    """A point that is not of small order, written with y + p."""
    for y in range(2, 19):
        try:
            crypto.ed_check_point(y.to_bytes(32, "little"))
        except crypto.Bad:
            continue
        return (crypto.ED_P + y).to_bytes(32, "little")
    raise AssertionError("no such point")


def off_curve():
    for y in range(2, 100):
        try:
            crypto.ed_decode(y.to_bytes(32, "little"))
        except crypto.Bad:
            return y.to_bytes(32, "little")
    raise AssertionError("every y is on the curve")


def thresholds(out):
    for name, field, reason, values in (
        ("k-root-0", "k_root", "threshold", {"k_root": 0}), ("k-root-4", "k_root", "threshold", {"k_root": 4}),
        ("k-root-pq-2", "k_root_pq", "threshold", {"k_root_pq": 2}), ("k-root-pq-without-key", "k_root_pq", "threshold", {"k_root_pq": 1}),
        ("k-release-0", "k_release", "threshold", {"k_release": 0}), ("k-release-above-keys", "k_release", "threshold", {"k_release": 3}),
        ("k-release-pq-3", "k_release_pq", "threshold", {"k_release_pq": 3}), ("k-release-pq-without-key", "k_release_pq", "threshold", {"k_release_pq": 1}),
        ("k-release-sum-9", "k_release_pq", "threshold", {"k_release": 7, "k_release_pq": 2}), ("k-release-9", "k_release", "threshold", {"k_release": 9}),
    ):  # fmt: skip
        sin(out, f"keyset-{name}", "thresholds", reason, field, header_fields(**values))
    two_roots = make_keyset(ROWS_1[1:], ("root-2", "root-3"), k_root=3)
    sin(out, "keyset-k-root-above-keys", "k_root 3, two root keys", "threshold", "k_root", [two_roots])
    lms_root = make_keyset(((lms_row(), ROOT), *ROWS_1[2:]), ("root-3",))
    sin(out, "keyset-lms-is-no-classical-root", "k_root 2, one classical root and one LMS root", "threshold", "k_root", [lms_root])


def block(out):
    sin(out, "keyset-too-few-roots", "two roots wanted, one signed", "too-few-signatures", "count", [make_keyset(signers=("root-1",))])
    sin(out, "keyset-signed-by-release-keys", "release keys are no roots", "too-few-signatures", "count", [make_keyset(signers=("release-a", "release-b"))])
    sin(out, "keyset-signed-by-strangers", "keys that are not in the set", "too-few-signatures", "count", [make_keyset(signers=("root-5", "root-6"))])
    spoiled = replace(K1, block=make.sign(b"something else" + K1.encode(), [KEYS["root-1"], KEYS["root-2"]]))
    sin(out, "keyset-signature-of-other-bytes", "signatures of other bytes", "bad-signature", "signature", [spoiled])
    as_manifest = replace(K1, block=make.sign(b"airseal1 manifest\0" + K1.encode(), [KEYS["root-1"], KEYS["root-2"]]))
    sin(out, "keyset-signed-as-manifest", "the label of manifests", "bad-signature", "signature", [as_manifest])
    surplus = make_keyset(signers=("root-1", "root-2", "release-a"))
    entries = [replace(e, value=flip_s(e.value)) if e.key_id == KEYS["release-a"].key_id() else e for e in surplus.block.entries]
    bad = replace(surplus, block=replace(surplus.block, entries=entries))
    sin(out, "keyset-bad-surplus-signature", "enough good roots, and a bad entry of another key in the set", "bad-signature", "signature", [bad])
    named = replace(KEYS["root-p256-1"].anchor(), key_id=bytes(8))
    wrong_id = make_keyset(((named, ROOT), *ROWS_1))
    entry = Entry(-9, bytes(8), KEYS["root-p256-1"].sign(MESSAGE + wrong_id.encode()))
    sin(out, "keyset-p256-row-with-another-key-id", "the row's key_id is not this P-256 key's", "key-mismatch", "public_key", [replace(wrong_id, block=add_entry(wrong_id.block, entry))])
    twice = replace(K1, block=replace(K1.block, entries=[K1.block.entries[0]] * 2))
    sin(out, "keyset-same-root-twice", "one root signed twice", "not-ascending", "key_id", [twice])
    unknown = replace(K1, block=add_entry(K1.block, Entry(-7, bytes(8), bytes(64))))
    sin(out, "keyset-signature-algorithm-7", "algorithm -7 in an entry of nobody", "unknown-value", "algorithm", [unknown])
    required = make_keyset(((lms_row(), ROOT), *ROWS_1), k_root_pq=1)
    sin(out, "keyset-lms-root-missing", "a post-quantum root is wanted", "too-few-signatures", "count", [required])
    garbage = replace(required, block=add_entry(required.block, lms_entry(lms_row().key_id)))
    sin(out, "keyset-lms-root-garbage", "a post-quantum root is wanted, and this is none", "unsupported", "algorithm", [garbage])


def flip_s(value):
    return value[:32] + bytes([value[32] ^ 1]) + value[33:]


NEW = ("root-2", "root-3")


def chains(out):
    """NEW are roots of versions 1 and 2, so that only the named step is wrong."""
    sin(out, "chain-skips-a-version", "versions 1 and 3", "chain-gap", "version", [K1, K3])
    sin(out, "chain-descends", "versions 2 and 1", "chain-gap", "version", [K2, K1])
    sin(out, "chain-repeats-a-version", "version 1 twice", "chain-gap", "version", [K1, K1])
    wrong = make_keyset(ROWS_2, NEW, K1, prev_digest=bytes([9] * 32))
    sin(out, "chain-broken", "prev_digest names another keyset", "chain-broken", "prev_digest", [K1, wrong])
    with_block = crypto.sha256(make.encode_keysets([K1]))
    sin(out, "chain-digest-with-signatures", "prev_digest over the signature block too", "chain-broken", "prev_digest", [K1, make_keyset(ROWS_2, NEW, K1, prev_digest=with_block)])
    sin(out, "chain-vendor-changes", "another vendor", "owner-changed", "vendor_id", [K1, make_keyset(ROWS_2, NEW, K1, vendor_id=bytes([9] * 16))])
    sin(out, "chain-class-changes", "another class", "owner-changed", "class_id", [K1, make_keyset(ROWS_2, NEW, K1, class_id=bytes([9] * 16))])
    sin(out, "chain-class-widens", "from one class to every class", "owner-changed", "class_id", [K1, make_keyset(ROWS_2, NEW, K1, class_id=bytes(16))])
    sin(out, "chain-max-security-version-falls", "99 after 100", "security-version-fell", "max_security_version", [K1, make_keyset(ROWS_2, NEW, K1, max_security_version=99)])
    sin(out, "chain-too-few-old-roots", "one old root signed", "too-few-signatures", "count", [K1, make_keyset(ROWS_2, ("root-2", "root-4"), K1)])
    sin(out, "chain-too-few-new-roots", "one new root signed", "too-few-signatures", "count", [K1, make_keyset(ROWS_2, ("root-1", "root-2"), K1)])
    sin(out, "chain-only-new-roots", "no old root signed", "too-few-signatures", "count", [K2, make_keyset(ROWS_3, ("root-5", "root-6"), K2)])
    old_signer = make_keyset(ROWS_2, ("root-1", *NEW), K1)
    entries = [replace(e, value=flip_s(e.value)) if e.key_id == KEYS["root-1"].key_id() else e for e in old_signer.block.entries]
    bad = replace(old_signer, block=replace(old_signer.block, entries=entries))
    sin(out, "chain-bad-signature-of-an-old-root", "enough good ones, and a bad one of a root that leaves", "bad-signature", "signature", [K1, bad])


def carried(out):
    def in_bundle(name, about, reason, field, chain, sign="release-a", version=1, trust=UNDER):
        parts = release(f"sin {name}", 100, sign=(sign,), keysets=chain, keyset_version=version)
        out.sin(name, "bundle", parts.encode(), about, "keyset", reason, field, **trust)

    in_bundle("carried-gap-after-the-one-in-force", "version 3 carried, version 1 in force, version 1 wanted", "chain-gap", "version", [K3])
    in_bundle("carried-gap", "versions 1 and 3 carried", "chain-gap", "version", [K1, K3])
    in_bundle("carried-descending", "versions 2 and 1 carried", "chain-gap", "version", [K2, K1])
    in_bundle("carried-same-twice", "version 1 carried twice", "chain-gap", "version", [K1, K1])
    other = make_keyset(max_security_version=101)
    in_bundle("carried-equal-version-other-bytes", "another version 1 than the one in force", "keyset-conflict", "version", [other])
    failing = make_keyset(ROWS_2, ("root-2",), K1)
    in_bundle("carried-failing-though-not-needed", "version 2 fails, version 1 would do", "too-few-signatures", "count", [K1, failing])
    trust = {**VERIFY, "trust": ["release-a"]}
    in_bundle("trust-carried-first-not-by-its-roots", "the carried keyset is not signed by its own roots", "too-few-signatures", "count", [make_keyset(signers=("root-1",))], trust=trust)
    in_bundle("trust-carried-broken-step", "the second carried keyset fails", "chain-broken", "prev_digest", [K1, make_keyset(ROWS_2, NEW, K1, prev_digest=bytes(32))], trust=trust)
    truncated = make.encode_keysets([K1])[:-4]
    parts = release("sin carried cut", 100, keysets=[truncated], keyset_version=1)
    out.sin("carried-cut", "bundle", parts.encode(), "the keyset section ends inside a signature", "keyset", "truncated", "value", **UNDER)

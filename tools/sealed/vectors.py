"""Runs the cases of a vector folder; `index.json` says what each file is and what has to come out."""

import json
import sys
from pathlib import Path

from . import bundle, carried, crypto, envelope, keyfile, keyset, offer
from .base import Refused


def run(directory, quiet=False):
    """Prints each difference and a closing line; returns the exit code."""
    index = load(directory)
    failed = 0
    for case in index["cases"]:
        difference = check(directory, index, case)
        failed += difference is not None
        if difference:
            print(f"FAILED {case['name']}: {difference}", file=sys.stderr)
        elif not quiet:
            print(f"ok {case['name']}")
    print(f"{len(index['cases']) - failed} passed, {failed} failed")
    return 1 if failed else 0


def load(directory):
    return json.loads((Path(directory) / "index.json").read_text())


def check(directory, index, case):
    """None where the case comes out as the index says, else what differs."""
    try:
        seen = {"expect": "ok", **outcome(Path(directory), index, case)}
    except Refused as r:
        seen = {"expect": "refused", "part": r.part, "field": r.field, "offset": r.offset, "reason": r.reason}
    wanted = {name: case.get(name) for name in seen}
    if seen == wanted:
        return None
    return ", ".join(f"{n}: {wanted[n]!r} expected, {seen[n]!r} seen" for n in seen if seen[n] != wanted[n])


def outcome(root, index, case):
    """What the case yields; raises Refused."""
    return RUNNERS[case["kind"]](root, index, case, (root / case["file"]).read_bytes())


def _bundle(root, index, case, data):
    one = bundle.read_bundle(data)
    signers, in_force, ciphertexts = bundle.verify(one, *_trust(root, index, case))
    seen = {
        "manifest_digest": one.digest().hex(),
        "signers": sorted(s.key_id.hex() for s in signers),
        "keyset_in_force": in_force.version if in_force else None,
    }
    if case["operation"] == "open":
        identity = _key(root, index, case["key"], "private").identity() if case.get("key") else None
        opened = bundle.open_all(one, ciphertexts, identity)
        if identity and one.manifest.carried_groups():
            found = carried.successor(one.manifest, identity)
            seen["next_group"] = envelope.group_id(*found).hex() if found else None
        seen["components"] = [
            {"id": c.component_id, "place": c.place, "kind": c.kind, "len": len(opened[c.component_id]),
             "sha256": crypto.sha256(opened[c.component_id]).hex()}
            for c in one.manifest.components
        ]  # fmt: skip
    return seen


def _manifest(_root, _index, _case, data):
    m, _, _ = bundle.read_release(data)
    return {"manifest_digest": m.digest().hex()}


def _envelopes(_root, _index, case, data):
    pack = envelope.read_pack(data, bytes.fromhex(case["manifest_digest"]))
    return {"recipients": [e.recipient_id.hex() for e in pack if e.known()]}


def _keyset(_root, _index, _case, data):
    return {"keyset_in_force": keyset.accept_chain(keyset.read_keyset_file(data)).version}


def _offer(root, _index, case, data):
    in_force = keyset.accept_chain(keyset.read_keyset_file((root / case["keyset"]).read_bytes()))
    one = offer.read_offer(data)
    wanted = {name: bytes.fromhex(value) for name, value in case["about_poll"].items()}
    offer.check_offer(one, in_force, wanted.get("device_nonce"), wanted.get("recipient_id"), wanted.get("manifest_digest"))
    return {"purpose": one.purpose}


def _keyfile(_root, _index, case, data):
    allowed = keyfile.SIGNERS if case["operation"] == "signing" else keyfile.RECIPIENTS
    key = keyfile.read_key(data, allowed)
    return {"key_kind": key.kind, "public": key.public.hex() if key.public else None}


def _trust(root, index, case):
    if case.get("keyset"):
        return (), keyset.read_keyset_file((root / case["keyset"]).read_bytes())
    return [_key(root, index, name, "public").anchor() for name in case["trust"]], ()


def _key(root, index, name, which):
    entry = index["keys"][name]
    allowed = keyfile.SIGNERS if entry["kind"] in keyfile.SIGNERS else keyfile.RECIPIENTS
    return keyfile.read_key((root / entry[f"{which}_file"]).read_bytes(), allowed, name)


RUNNERS = {
    "bundle": _bundle, "manifest": _manifest, "envelopes": _envelopes,
    "keyset": _keyset, "offer": _offer, "keyfile": _keyfile,
}  # fmt: skip

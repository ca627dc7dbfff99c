#!/usr/bin/env python3
"""Reads, verifies, opens and makes sealed releases; an independent check of the Rust implementation.

    airseal_decode.py inspect FILE [--json]
    airseal_decode.py verify  BUNDLE (--trust PUB... | --keyset FILE)
    airseal_decode.py open    BUNDLE (--trust PUB... | --keyset FILE) [--key KEY] -o OUT [--component ID]
    airseal_decode.py seal    IMAGE -o OUT --sign KEY... --to KEY... --vendor NAME --class NAME [...]
    airseal_decode.py check-vectors DIR

Exit codes: 0 done, 1 refused (one line on stderr: part, field, offset, reason), 2 usage, 3 a file could not be read or written.
"""

import argparse
import json
import sys
from pathlib import Path

from sealed import bundle, envelope, keyfile, keyset, make, manifest, offer, signatures, vectors
from sealed.base import Refused


def main(arguments=None):
    options = parser().parse_args(arguments)
    try:
        return options.run(options) or 0
    except Refused as refused:
        print(f"refused: {refused}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 3


def parser():
    top = argparse.ArgumentParser(prog="airseal_decode.py", description=__doc__.split("\n", 1)[0])
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    one = commands.add_parser("inspect", help="everything that is public in a file")
    one.add_argument("file", type=Path)
    one.add_argument("--json", action="store_true")
    one.set_defaults(run=run_inspect)

    one = commands.add_parser("verify", help="signatures, policy and every chunk; needs no decryption key")
    trust_options(one)
    one.set_defaults(run=run_verify)

    one = commands.add_parser("open", help="verify, then decrypt one component")
    trust_options(one)
    one.add_argument("--key", type=Path, help="the device's or group's private key")
    one.add_argument("-o", "--output", type=Path, required=True)
    one.add_argument("--component", type=int)
    one.set_defaults(run=run_open)

    one = commands.add_parser("seal", help="make a bundle of one app image")
    one.add_argument("image", type=Path)
    one.add_argument("-o", "--output", type=Path, required=True)
    one.add_argument("--sign", type=Path, action="append", required=True, help="signing key; repeatable")
    one.add_argument("--to", type=Path, action="append", default=[], help="recipient; repeatable")
    one.add_argument("--only", type=Path, action="append", default=[], help="targets extension; repeatable")
    one.add_argument("--vendor", required=True)
    one.add_argument("--class", dest="class_name", required=True)
    one.add_argument("--seq", type=int, default=1)
    one.add_argument("--version", default="")
    one.add_argument("--security-version", type=int, default=0)
    one.add_argument("--chip", type=lambda text: int(text, 0), default=manifest.ANY_CHIP)
    one.add_argument("--suite", choices=SUITES, default="aes256-ctr")
    one.add_argument("--profile", type=int, choices=(1, 2, 3, 4))
    one.add_argument("--keyset", type=Path, help="a chain to carry; sets the keyset version")
    one.set_defaults(run=run_seal)

    one = commands.add_parser("check-vectors", help="run every case of a vector folder")
    one.add_argument("directory", type=Path)
    one.add_argument("--quiet", action="store_true")
    one.set_defaults(run=lambda o: vectors.run(o.directory, o.quiet))
    return top


def trust_options(one):
    one.add_argument("bundle", type=Path)
    group = one.add_mutually_exclusive_group(required=True)
    group.add_argument("--trust", type=Path, action="append", default=[], help="public key; any one that signed suffices")
    group.add_argument("--keyset", type=Path, help="keyset file; its first keyset is trusted")


def run_verify(options):
    one = bundle.read_bundle(options.bundle.read_bytes())
    signers, in_force, _ = bundle.verify(one, *load_trust(options))
    by = ", ".join(s.key_id.hex() for s in signers)
    under = f"keyset {in_force.version}" if in_force else "the given keys"
    print(f"verified under {under}: manifest {one.digest().hex()}, signed by {by}, expires_at {one.manifest.expires_at}")


def run_open(options):
    one = bundle.read_bundle(options.bundle.read_bytes())
    ids = [c.component_id for c in one.manifest.components]
    chosen = options.component if options.component is not None else ids[0]
    if chosen not in ids or (options.component is None and len(ids) > 1):
        print(f"usage: --component is one of {', '.join(map(str, ids))}", file=sys.stderr)
        return 2
    identity = load_key(options.key, keyfile.RECIPIENTS).identity() if options.key else None
    _, _, ciphertexts = bundle.verify(one, *load_trust(options))
    options.output.write_bytes(bundle.open_all(one, ciphertexts, identity, chosen)[chosen])
    return 0


SUITES = {"none": 0, "aes256-ctr": 1, "chacha20": 2}


def run_seal(options):
    image, suite = options.image.read_bytes(), SUITES[options.suite]
    if not image or not (options.to or not suite) or (options.to and not suite):
        print("usage: an image that is not empty; --to exactly when the suite encrypts", file=sys.stderr)
        return 2
    chain = keyset.read_keyset_file(options.keyset.read_bytes()) if options.keyset else []
    only = [load_key(path, keyfile.RECIPIENTS) for path in options.only]
    settings = make.Manifest(
        content_suite=suite,
        profile=options.profile or make.smallest_profile([len(image)]),
        vendor_id=make.vendor_id(options.vendor),
        class_id=make.class_id(options.vendor, options.class_name),
        keyset_version=chain[-1].version if chain else 1,
        release_seq=options.seq,
        security_version=options.security_version,
        version=options.version.encode("ascii").ljust(32, b"\0"),
        extensions=[make.targets(only)] if only else [],
    )
    sealed = make.seal([(make.Component(target_chip=options.chip), image)], settings)
    make.sign_release(sealed, [load_key(path, keyfile.SIGNERS) for path in options.sign])
    make.add_recipients(sealed, [load_key(path, keyfile.RECIPIENTS) for path in options.to])
    sealed.keysets = chain
    data = sealed.encode()
    bundle.read_bundle(data)
    options.output.write_bytes(data)
    print(f"sealed: manifest {sealed.manifest.digest().hex()}, {len(data)} bytes")
    return 0


def load_trust(options):
    if options.keyset:
        return (), keyset.read_keyset_file(options.keyset.read_bytes())
    return [load_key(path, keyfile.SIGNERS).anchor() for path in options.trust], ()


def load_key(path, allowed):
    return keyfile.read_key(path.read_bytes(), allowed, path.name)


def run_inspect(options):
    data = options.file.read_bytes()
    readers = {b"ASB1": show_bundle, b"ASM1": show_release, b"ASK1": show_keysets, b"ASE1": show_pack, b"ASO1": show_offer}
    if data[:4] not in readers:
        raise Refused("file", "magic", 0, "magic", "not a bundle, manifest, keyset, envelope pack or offer")
    shown = readers[data[:4]](data)
    if options.json:
        print(json.dumps(shown, indent=1))
    else:
        print_tree(shown)


def show_bundle(data):
    one = bundle.read_bundle(data)
    return {
        "bundle": show_manifest(one.manifest, one.block),
        "keysets": [show_keyset(k) for k in one.keysets],
        "envelopes": [show_envelope(e) for e in one.envelopes],
        "payload": {"offset": one.payload_at, "len": len(one.payload)},
    }


def show_release(data):
    m, _, block = bundle.read_release(data)
    return {"manifest": show_manifest(m, block)}


def show_manifest(m, block):
    shown = {"digest": m.digest().hex(), **show_fields(m, ("magic", "components", "extensions"))}
    shown["version"] = m.version_text()
    shown["components"] = [show_fields(c) for c in m.components]
    shown["extensions"] = [{"type": f"0x{kind:04x}", "value": value.hex()} for kind, value in m.extensions]
    shown["signatures"] = show_block(block)
    return shown


def show_block(block):
    return [{"algorithm": signatures.NAMES[e.alg], "key_id": e.key_id.hex()} for e in block.entries]


def show_keysets(data):
    return {"keysets": [show_keyset(k) for k in keyset.read_keyset_file(data)]}


def show_keyset(ks):
    shown = {"digest": ks.digest().hex(), **show_fields(ks, ("magic", "keys", "block", "offset"))}
    shown["keys"] = [show_fields(k, ("reserved",)) for k in ks.keys]
    shown["signatures"] = show_block(ks.block)
    return shown


def show_pack(data):
    return {"envelopes": [show_envelope(e) for e in envelope.read_pack(data, None)]}


def show_envelope(e):
    return {"suite": envelope.SUITES.get(e.wrap_suite, f"unknown {e.wrap_suite}"), "recipient_id": e.recipient_id.hex()}


def show_offer(data):
    return {"offer": show_fields(offer.read_offer(data), ("magic", "signature"))}


def show_fields(thing, without=()):
    hidden = ("reserved", "parameters", "header_len", "major", "minor")
    pairs = ((k, v) for k, v in vars(thing).items() if k not in without and not k.startswith(hidden))
    return {k: v.hex() if isinstance(v, bytes) else v for k, v in pairs}


def print_tree(value, indent=0):
    for name, item in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(item, (dict, list)):
            print(f"{' ' * indent}{name}:")
            print_tree(item, indent + 2)
        else:
            print(f"{' ' * indent}{name}: {item}")


if __name__ == "__main__":
    sys.exit(main())

"""Tests of the second implementation: the vectors, round trips, flipped bits, primitives, and the commands."""

import contextlib
import io
import json
import random
import shutil
import subprocess
import sys
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path

import airseal_decode
from sealed import bundle, crypto, envelope, keyfile, keyset, make, manifest, offer, payload, vectors
from sealed.base import Refused
from vectorgen import frame, good, sins
from vectorgen.frame import KEYS, release

VECTORS = Path(__file__).parent.parent / "vectors" / "v1"
INDEX = vectors.load(VECTORS)
TRUST = [KEYS["release-a"].anchor()]


def case_file(name):
    return (VECTORS / next(c["file"] for c in INDEX["cases"] if c["name"] == name)).read_bytes()


class Vectors(unittest.TestCase):
    def test_every_case_comes_out_as_the_index_says(self):
        for case in INDEX["cases"]:
            with self.subTest(case["name"]):
                self.assertIsNone(vectors.check(VECTORS, INDEX, case))

    def test_every_file_has_its_case(self):
        listed = {c["file"] for c in INDEX["cases"]}
        present = {str(p.relative_to(VECTORS)) for folder in ("good", "sins") for p in (VECTORS / folder).iterdir()}
        self.assertEqual(listed, present)

    def test_a_wrong_expectation_is_noticed(self):
        case = next(c for c in INDEX["cases"] if c["name"] == "aes-profile-1")
        for change in ({"manifest_digest": "00"}, {"expect": "refused"}, {"components": []}):
            self.assertIsNotNone(vectors.check(VECTORS, INDEX, {**case, **change}))
        sin = next(c for c in INDEX["cases"] if c["expect"] == "refused")
        self.assertIsNotNone(vectors.check(VECTORS, INDEX, {**sin, "reason": "other"}))

    def test_vectors_are_made_the_same_again(self):
        with tempfile.TemporaryDirectory() as folder:
            out = frame.Collector(Path(folder))
            good.add_all(out)
            sins.add_all(out)
            out.finish()
            for path in Path(folder).rglob("*"):
                if path.is_file():
                    self.assertEqual(path.read_bytes(), (VECTORS / path.relative_to(folder)).read_bytes(), path.name)


class Document(unittest.TestCase):
    """docs/FORMAT.md prints a vector and its secrets; both have to be right."""

    text = (VECTORS.parent.parent / "docs" / "FORMAT.md").read_text()

    def test_the_worked_example_is_the_vector(self):
        data, seen = case_file("worked-example"), bytearray(len(case_file("worked-example")))
        example = self.text.split("## 13.")[1].split("```")[1]
        for line in example.strip().split("\n"):
            offset, row = int(line[:3], 16), bytes.fromhex(line[5:52])
            seen[offset : offset + len(row)] = row
        self.assertEqual(bytes(seen), data)

    def test_the_printed_secrets_are_right(self):
        one = bundle.read_bundle(case_file("worked-example"))
        identity = KEYS["device-1"].identity()
        cek = envelope.unwrap(one.envelopes[0], identity)
        keys = payload.ContentKeys.derive(1, cek, one.manifest.payload_salt)
        content = crypto.hkdf_expand(keys.prk, b"airseal1 content\1\1\0", 32)
        for value in (frame.secret(KEYS["device-1"]), identity.recipient_id, cek, keys.prk, keys.commitment(), content, keys.digest_salt(0)):
            self.assertIn(f" {value.hex()}\n", self.text)

    def test_every_reason_of_the_vectors_is_listed(self):
        words = self.text.split("## 12.")[1].split("## 13.")[0]
        for case in INDEX["cases"]:
            if case["expect"] == "refused" and case["kind"] != "keyfile":
                self.assertIn(case["reason"], words)


class RoundTrips(unittest.TestCase):
    def test_good_artifacts_encode_to_what_was_parsed(self):
        for case in INDEX["cases"]:
            data = (VECTORS / case["file"]).read_bytes()
            if case["expect"] == "ok" and case["kind"] in ENCODE_AGAIN:
                with self.subTest(case["name"]):
                    self.assertEqual(ENCODE_AGAIN[case["kind"]](data), data)

    def test_random_releases_open_to_their_images(self):
        rng = random.Random(3)
        for number in range(40):
            lengths = [rng.choice((1, 63, 64, 1023, 1024, 1025, 4096, 4097, 33000, rng.randrange(1, 70000))) for _ in range(rng.randrange(1, 4))]
            images = [(make.Component(component_id=n * 3, place=n), rng.randbytes(size)) for n, size in enumerate(lengths, 1)]
            suite, profile = rng.randrange(3), rng.randrange(1, 5)
            key = rng.choice(("device-1", "device-p256-1", "group-7"))
            parts = release(f"random {number}", images, to=(key,), content_suite=suite, profile=profile)
            one = bundle.read_bundle(parts.encode())
            _, _, ciphertexts = bundle.verify(one, TRUST)
            opened = bundle.open_all(one, ciphertexts, KEYS[key].identity())
            self.assertEqual(list(opened.values()), [plain for _, plain in images])
            if suite:
                self.assertFalse(any(plain == ciphertexts[c.component_id] for c, plain in images if len(plain) > 16))

    def test_cosigning_keeps_the_digest(self):
        sealed = make.seal([(make.Component(), b"image")], frame.settings())
        digest = sealed.manifest.digest()
        make.sign_release(sealed, [KEYS["release-a"]])
        make.sign_release(sealed, [KEYS["release-p256"]])
        make.add_recipients(sealed, [KEYS["device-1"], KEYS["group-0"]])
        one = bundle.read_bundle(sealed.encode())
        self.assertEqual(one.digest(), digest)
        signers, _, _ = bundle.verify(one, [KEYS[n].anchor() for n in ("release-a", "release-p256")])
        self.assertEqual(len(signers), 2)

    def test_profiles_hold_what_they_promise(self):
        for length, profile in ((1, 2), (2**25, 2), (2**25 + 1, 3), (2**29, 3), (2**29 + 1, 4), (2**32 - 1, 4)):
            self.assertEqual(make.smallest_profile([length]), profile)

    def test_chunks_decrypt_alone(self):
        key, data = bytes(range(32)), random.Random(1).randbytes(5000)
        for suite in (1, 2):
            whole = crypto.content_cipher(suite, key, data)
            for offset in (0, 1024, 4096):
                part = crypto.content_cipher(suite, key, data[offset : offset + 1024], offset)
                self.assertEqual(part, whole[offset : offset + 1024])


def bundle_again(data):
    one = bundle.read_bundle(data)
    return make.Sealed(one.manifest, one.payload, b"", one.block, one.envelopes, one.keysets).encode()


def manifest_again(data):
    m, _, block = bundle.read_release(data)
    return m.encode() + block.encode()


ENCODE_AGAIN = {
    "bundle": bundle_again,
    "manifest": manifest_again,
    "keyset": lambda data: make.encode_keysets(keyset.read_keyset_file(data)),
    "offer": lambda data: offer.read_offer(data).encode(),
    "envelopes": lambda data: make.encode_pack(envelope.read_pack(data, None)),
}


class FlippedBits(unittest.TestCase):
    """Every bit of what is signed or wrapped matters; sampled in the long parts."""

    def refused(self, data, name, use):
        with self.assertRaises(Refused, msg=name):
            use(data)

    def flip_all(self, data, use, start=0, stop=None, step=1):
        for at in range(start * 8, (len(data) if stop is None else stop) * 8, step):
            flipped = bytearray(data)
            flipped[at // 8] ^= 1 << at % 8
            self.refused(bytes(flipped), f"bit {at % 8} of byte {at // 8}", use)

    def test_bundle(self):
        data = case_file("aes-profile-1")

        def use(changed):
            one = bundle.read_bundle(changed)
            _, _, ciphertexts = bundle.verify(one, TRUST)
            bundle.open_all(one, ciphertexts, KEYS["device-1"].identity())

        use(data)
        self.flip_all(data, use)

    def test_p256_and_group(self):
        data = release("flips", 64, to=("group-0",), sign=("release-p256",)).encode()

        def use(changed):
            one = bundle.read_bundle(changed)
            _, _, ciphertexts = bundle.verify(one, [KEYS["release-p256"].anchor()])
            bundle.open_all(one, ciphertexts, KEYS["group-0"].identity())

        use(data)
        self.flip_all(data, use, step=3)

    def test_keyset_chain(self):
        data = make.encode_keysets([frame.K1, frame.make_keyset(frame.ROWS_2, ("root-2", "root-3"), frame.K1)])

        def use(changed):
            keyset.accept_chain(keyset.read_keyset_file(changed))

        use(data)
        self.flip_all(data, use, step=3)

    def test_offer(self):
        one = make.sign_offer(good.sample_offer(), KEYS["offer"])

        def use(changed):
            offer.check_offer(offer.read_offer(changed), frame.K1)

        use(one.encode())
        self.flip_all(one.encode(), use)

    def test_truncation_anywhere(self):
        data = case_file("keyset-rotation")
        for length in range(len(data)):
            self.refused(data[:length], f"{length} bytes", lambda d: bundle.verify(bundle.read_bundle(d), [KEYS["release-c"].anchor()]))

    def test_noise_is_refused_and_nothing_else_happens(self):
        rng = random.Random(5)
        whole = release("noise", 100, to=(), keysets=[frame.K1], keyset_version=1).encode()
        for _ in range(3000):
            data = bytearray(whole)
            for _ in range(rng.randrange(1, 6)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            if bytes(data) == whole:
                continue
            with contextlib.suppress(Refused):
                bundle.verify(bundle.read_bundle(bytes(data)), TRUST)
                self.fail("changed bytes were accepted")


class Primitives(unittest.TestCase):
    def test_hpke_against_the_library(self):
        try:
            from cryptography.hazmat.primitives import hpke
        except ImportError:
            self.skipTest("this version of cryptography has no HPKE")
        for name, kem, theirs in (("device-1", crypto.X25519Kem, hpke.KEM.X25519), ("device-p256-1", crypto.P256Kem, hpke.KEM.P256)):
            suite = hpke.Suite(theirs, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)
            key, info, text = KEYS[name], b"some info", bytes(range(32))
            sealed = suite.encrypt(text, key.private.public_key(), info)
            self.assertEqual(crypto.hpke_open(kem, key.private, info, sealed), text)
            ours = crypto.hpke_seal(kem, make.fresh_ephemeral(kem.suite), key.public, info, text)
            self.assertEqual(suite.decrypt(ours, key.private, info), text)

    def test_small_order_points(self):
        point, seen = frame.ED_ORDER_8, set()
        for _ in range(8):
            point = crypto.ed_add(point, frame.ED_ORDER_8)
            seen.add(point)
            with self.assertRaises(crypto.Bad):
                crypto.ed_check_point(frame.ed_encode(point))
        self.assertEqual(len(seen), 8)

    def test_noncanonical_encodings_that_decode_elsewhere(self):
        """2^255 - 19 + y for y below 19, with either sign: 24 of them are points, none is accepted."""
        points = 0
        for y in range(19):
            for sign in (0, 1):
                with contextlib.suppress(crypto.Bad):
                    crypto.ed_decode((y | sign << 255).to_bytes(32, "little"))
                    points += 1
                with self.assertRaises(crypto.Bad) as caught:
                    crypto.ed_decode((crypto.ED_P + y | sign << 255).to_bytes(32, "little"))
                self.assertEqual(caught.exception.args, ("bad-key", "y is not below the field prime"))
        self.assertGreater(points, 20)

    def test_hand_made_signature_equals_the_library(self):
        key, message = KEYS["release-a"], b"message"
        scalar = sins.sins_signature.clamped(key)
        self.assertEqual(frame.ed_encode(frame.ed_mul(scalar, frame.ED_BASE)), key.public)
        r, _, s = frame.ed_sign(scalar, key.public, 12345, message)
        crypto.ed25519_verify(key.public, message, r + s.to_bytes(32, "little"))


class KeyFiles(unittest.TestCase):
    def test_written_and_read_again(self):
        for name, key in KEYS.items():
            if key.private is None:
                continue
            allowed = keyfile.SIGNERS if key.kind in keyfile.SIGNERS else keyfile.RECIPIENTS
            back = keyfile.read_key(keyfile.write_private(key), allowed)
            self.assertEqual((back.kind, back.public, back.generation, frame.secret(back)), (key.kind, key.public, key.generation, frame.secret(key)), name)
            if key.public is not None:
                self.assertEqual(keyfile.read_key(keyfile.write_public(key), allowed).public, key.public)

    @unittest.skipUnless(shutil.which("openssl"), "needs the openssl program")
    def test_openssl_reads_ours(self):
        for name in ("release-a", "release-p256", "device-1", "device-p256-1"):
            for option, suffix in (([], "key"), (["-pubin"], "pub")):
                path = VECTORS / "keys" / f"{name}.{suffix}"
                subprocess.run(["openssl", "pkey", *option, "-in", path, "-noout"], check=True, capture_output=True)

    @unittest.skipUnless(shutil.which("openssl"), "needs the openssl program")
    def test_ours_reads_openssl(self):
        for algorithm, kind in ((["ed25519"], "signing"), (["x25519"], "device"), (["EC", "-pkeyopt", "ec_paramgen_curve:P-256"], "signing-p256")):
            pem = subprocess.run(["openssl", "genpkey", "-algorithm", *algorithm], check=True, capture_output=True).stdout
            self.assertEqual(keyfile.read_key(pem, keyfile.KINDS).kind, kind)


class Commands(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.keys = VECTORS / "keys"

    def run_command(self, *arguments):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = airseal_decode.main([str(a) for a in arguments])
            except SystemExit as stopped:
                code = stopped.code
        return code, out.getvalue(), err.getvalue()

    def seal(self, *more):
        image, sealed = self.folder / "image.bin", self.folder / "out.seal"
        image.write_bytes(random.Random(9).randbytes(10000))
        code, _, err = self.run_command(
            "seal", image, "-o", sealed, "--sign", self.keys / "release-a.key", "--to", self.keys / "device-1.pub",
            "--to", self.keys / "group-7.key", "--vendor", "acme.example", "--class", "lamp", "--version", "1.0.0", *more,
        )  # fmt: skip
        self.assertEqual((code, err), (0, ""))
        return image, sealed

    def test_seal_verify_open(self):
        image, sealed = self.seal()
        for key in ("device-1", "group-7"):
            code, _, err = self.run_command(
                "open", sealed, "--trust", self.keys / "release-a.pub", "--key", self.keys / f"{key}.key", "-o", self.folder / key
            )
            self.assertEqual((code, err), (0, ""))
            self.assertEqual((self.folder / key).read_bytes(), image.read_bytes())
        self.assertEqual(self.run_command("verify", sealed, "--trust", self.keys / "release-a.pub")[0], 0)

    def test_refusals_are_one_line_and_exit_1(self):
        _, sealed = self.seal()
        code, out, err = self.run_command("verify", sealed, "--trust", self.keys / "release-b.pub")
        self.assertEqual((code, out, err.count("\n")), (1, "", 1))
        self.assertIn("too-few-signatures", err)
        target = self.folder / "no"
        code, _, err = self.run_command("open", sealed, "--trust", self.keys / "release-a.pub", "--key", self.keys / "device-2.key", "-o", target)
        self.assertEqual(code, 1)
        self.assertFalse(target.exists())

    def test_targets(self):
        _, sealed = self.seal("--only", self.keys / "device-2.pub")
        code, _, err = self.run_command(
            "open", sealed, "--trust", self.keys / "release-a.pub", "--key", self.keys / "device-1.key", "-o", self.folder / "x"
        )
        self.assertEqual(code, 1)
        self.assertIn("targets", err)

    def test_inspect_needs_no_key(self):
        for name in ("aes-profile-1", "keyset-rotation", "keyset-file-3", "offer-install", "four-kinds"):
            path = VECTORS / next(c["file"] for c in INDEX["cases"] if c["name"] == name)
            code, out, _ = self.run_command("inspect", path, "--json")
            self.assertEqual(code, 0)
            self.assertTrue(json.loads(out))
            self.assertEqual(self.run_command("inspect", path)[0], 0)

    def test_usage_and_missing_files(self):
        self.assertEqual(self.run_command("verify")[0], 2)
        self.assertEqual(self.run_command("inspect", self.folder / "missing")[0], 3)
        path = VECTORS / "good" / "two-places.seal"
        code, _, err = self.run_command("open", path, "--trust", self.keys / "release-a.pub", "--key", self.keys / "device-1.key", "-o", self.folder / "x")
        self.assertEqual(code, 2)
        self.assertIn("--component", err)

    def test_check_vectors_fails_on_a_changed_file(self):
        copy = self.folder / "v1"
        shutil.copytree(VECTORS, copy)
        self.assertEqual(self.run_command("check-vectors", copy, "--quiet")[0], 0)
        path = copy / "good" / "aes-profile-1.seal"
        path.write_bytes(path.read_bytes()[:-1] + b"\0")
        self.assertEqual(self.run_command("check-vectors", copy, "--quiet")[0], 1)


class Order(unittest.TestCase):
    """The fault that counts most is found although another one stands beside it."""

    def test_a_forged_manifest_never_reaches_the_payload(self):
        parts = release("order", 100, sign=("stranger",))
        parts.payload = bytes(len(parts.payload))
        with self.assertRaises(Refused) as caught:
            bundle.verify(bundle.read_bundle(parts.encode()), TRUST)
        self.assertEqual(caught.exception.part, "signatures")

    def test_a_damaged_payload_is_not_decrypted(self):
        parts = release("order 2", 100, to=("device-2",))
        parts.payload = bytes(len(parts.payload))
        with self.assertRaises(Refused) as caught:
            bundle.verify(bundle.read_bundle(parts.encode()), TRUST)
        self.assertEqual((caught.exception.part, caught.exception.reason), ("payload", "top-mismatch"))

    def test_an_unsigned_change_of_any_header_field_is_a_signature_fault(self):
        parts = release("order 3", 100)
        m = replace(parts.manifest, release_seq=parts.manifest.release_seq + 1)
        parts.signed = m.encode()
        parts.envelopes = []
        with self.assertRaises(Refused) as caught:
            bundle.verify(bundle.read_bundle(parts.encode()), TRUST)
        self.assertEqual(caught.exception.reason, "bad-signature")
        self.assertEqual(manifest.read_manifest(parts.signed).release_seq, 43)


if __name__ == "__main__":
    sys.exit(unittest.main())

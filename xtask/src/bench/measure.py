"""Times a program with its peak memory, and the peers that sealing is compared with.

    measure.py run PROGRAM ARGUMENT...        {"seconds", "peak_kib"} of a child process
    measure.py sha256 FILE                    {"seconds"}: one pass over the bytes in memory
    measure.py peer-keys FOLDER               an RSA-3072 key pair
    measure.py peer-seal FOLDER FILE OUT      the vendor tool's scheme, the whole file in memory
    measure.py peer-open FOLDER FILE OUT
"""

import hashlib
import json
import os
import sys
import time

IV_LEN = 16
WRAPPED_LEN = 384


def run(program, *arguments):
    started = time.perf_counter()
    child = os.fork()
    if child == 0:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.execvp(program, [program, *arguments])
    _, status, usage = os.wait4(child, 0)
    seconds = time.perf_counter() - started
    if status != 0:
        sys.exit(f"{program} failed")
    print(json.dumps({"seconds": seconds, "peak_kib": usage.ru_maxrss}))


def sha256(file):
    data = read(file)
    started = time.perf_counter()
    hashlib.sha256(data).digest()
    print(json.dumps({"seconds": time.perf_counter() - started}))


def peer_keys(folder):
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 3072)
    private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    public = key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    write(f"{folder}/peer.key", private)
    write(f"{folder}/peer.pub", public)


def peer_seal(folder, file, out):
    from cryptography.hazmat.primitives.asymmetric import padding
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    public = load_pem_public_key(read(f"{folder}/peer.pub"))
    key, iv = os.urandom(32), os.urandom(IV_LEN)
    wrapped = public.encrypt(key, padding.PKCS1v15())
    sealed = AESGCM(key).encrypt(iv, read(file), None)
    write(out, wrapped + iv, sealed)


def peer_open(folder, file, out):
    from cryptography.hazmat.primitives.asymmetric import padding
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    private = load_pem_private_key(read(f"{folder}/peer.key"), None)
    data = read(file)
    key = private.decrypt(data[:WRAPPED_LEN], padding.PKCS1v15())
    start = WRAPPED_LEN + IV_LEN
    write(out, AESGCM(key).decrypt(data[WRAPPED_LEN:start], data[start:], None))


def read(path):
    with open(path, "rb") as file:
        return file.read()


def write(path, *parts):
    with open(path, "wb") as file:
        for part in parts:
            file.write(part)


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    {"run": run, "sha256": sha256, "peer-keys": peer_keys, "peer-seal": peer_seal, "peer-open": peer_open}[command](*rest)

"""Times a program with its peak memory, and the peers that sealing is compared with.

    measure.py run PROGRAM ARGUMENT...        {"seconds", "cpu_seconds", "peak_kib"} of a child process
    measure.py run-on-one-core PROGRAM ...    the same, kept on one core
    measure.py sha256 FILE                    {"seconds"}: one pass over the bytes in memory
    measure.py peer-keys FOLDER               an RSA-3072 key pair
    measure.py peer-seal KEY FILE OUT         the vendor tool's scheme, the whole file in memory
    measure.py peer-open KEY FILE OUT
"""

import hashlib
import json
import os
import sys
import time

WRAPPED_LEN = 384
IV_LEN = 16
TAG_LEN = 16
COMMANDS = {name: name.replace("-", "_") for name in ("run", "run-on-one-core", "sha256", "peer-keys", "peer-seal", "peer-open")}


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
    cpu_seconds = usage.ru_utime + usage.ru_stime
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_kib": usage.ru_maxrss}))


def run_on_one_core(program, *arguments):
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    run(program, *arguments)


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


def peer_seal(key_file, file, out):
    from cryptography.hazmat.primitives.asymmetric import padding
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

    data, pem = read(file), read(key_file)
    public = load_pem_public_key(pem) if b"BEGIN PUBLIC" in pem else load_pem_private_key(pem, None).public_key()
    key, iv = os.urandom(32), os.urandom(IV_LEN)
    wrapped = public.encrypt(key, padding.PKCS1v15())
    sealed = AESGCM(key).encrypt(iv, data, None)
    write(out, wrapped, iv, sealed[len(data):], sealed[:len(data)])


def peer_open(key_file, file, out):
    from cryptography.hazmat.primitives.asymmetric import padding
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    private = load_pem_private_key(read(key_file), None)
    with open(file, "rb") as sealed:
        key = private.decrypt(sealed.read(WRAPPED_LEN), padding.PKCS1v15())
        iv, tag, data = sealed.read(IV_LEN), sealed.read(TAG_LEN), sealed.read()
    write(out, AESGCM(key).decrypt(iv, data + tag, None))


def read(path):
    with open(path, "rb") as file:
        return file.read()


def write(path, *parts):
    with open(path, "wb") as file:
        for part in parts:
            file.write(part)


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    globals()[COMMANDS[command]](*rest)

"""A second reader and writer of the sealed release format, written from its specification alone.

It shares no code with the Rust implementation, so that an error in one of them shows as a difference.
Modules follow the artifacts: manifest, signatures, keyset, envelope, payload, offer, bundle. `make` builds
every artifact from parts, `keyfile` reads and writes key files, `crypto` holds the primitives.

Nothing here is meant for production: secrets are not erased from memory and whole files are held in it.
"""

"""Cases that every reader refuses, one fault each."""

from . import sins_bundle, sins_envelope, sins_keyset, sins_manifest, sins_signature


def add_all(out):
    sins_bundle.add_all(out)
    sins_manifest.add_all(out)
    sins_signature.add_all(out)
    sins_keyset.add_all(out)
    sins_envelope.add_all(out)

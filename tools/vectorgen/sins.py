"""Cases that every reader refuses, one fault each."""

from . import sins_bundle, sins_manifest


def add_all(out):
    sins_bundle.add_all(out)
    sins_manifest.add_all(out)

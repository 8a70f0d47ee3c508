"""oneDNN's cache of prepared convolutions."""

import os


def keep_prepared_convolutions() -> None:
    """Makes oneDNN cache the convolutions of every image size in a training; its default suffices for five sizes.

    Call it before the process runs its first convolution.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "20000")

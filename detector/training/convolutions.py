"""Prepared convolutions."""

import os


def keep_prepared_convolutions() -> None:
    """Lets oneDNN remember the convolutions of every image size that training meets (its default suffices for five).

    Has to come before the process runs its first convolution.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "20000")

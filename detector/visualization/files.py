"""Writes pictures."""

import io
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from detector.errors import InputError
from proposals.files import atomic_write


def save_picture(path: Path, pixels: np.ndarray) -> Path:
    """Writes (H, W, 3) uint8 RGB `pixels`: a PNG if `path` ends so, else a JPEG. Raises `InputError` if that fails."""
    picture, encoded = PillowImage.fromarray(pixels), io.BytesIO()  # to a file, Pillow overlooks that a disk is full
    if path.suffix.lower() == ".png":
        picture.save(encoded, "PNG", compress_level=1)
    else:
        picture.save(encoded, "JPEG", quality=92)
    try:
        with atomic_write(path) as temporary:
            temporary.write_bytes(encoded.getbuffer())
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None
    return path

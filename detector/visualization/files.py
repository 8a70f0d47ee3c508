"""Writes pictures."""

from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from detector.errors import InputError
from proposals.files import atomic_write


def save_picture(path: Path, pixels: np.ndarray) -> Path:
    """Writes (H, W, 3) uint8 RGB `pixels`: a PNG if `path` ends so, else a JPEG. Raises `InputError` if that fails."""
    try:
        with atomic_write(path) as temporary:
            picture = PillowImage.fromarray(pixels)
            if path.suffix.lower() == ".png":
                picture.save(temporary, "PNG", compress_level=1)
            else:
                picture.save(temporary, "JPEG", quality=92)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None
    return path

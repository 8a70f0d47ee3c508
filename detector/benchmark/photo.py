"""The photo on which is measured."""

from pathlib import Path

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageOps

from detector.errors import InputError
from detector.structures.image import Image, read_image

_PHOTO = Path(__file__).parents[2] / "tests" / "photos" / "astronaut.jpg"
_PHOTO_SIZE = (500, 375)  # of most photos of PASCAL VOC


def default_photo() -> Image:
    """A photo of 500x375 pixels, cut and slightly reduced from one that comes with the source code.

    Raises:
        InputError: this is an installed package, which has no photos.
    """
    if not _PHOTO.is_file():
        raise InputError("the package is installed without photos; give one: --image PHOTO")
    original = PillowImage.fromarray(read_image(_PHOTO).pixels)
    return Image(np.array(ImageOps.fit(original, _PHOTO_SIZE, PillowImage.Resampling.LANCZOS)), _PHOTO.name)

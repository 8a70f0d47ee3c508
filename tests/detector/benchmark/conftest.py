import numpy as np
import pytest

from detector.structures.image import Image


@pytest.fixture
def image() -> Image:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    return Image(pixels, "noise")

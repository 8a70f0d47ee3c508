from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from detector.benchmark.photo import default_photo
from detector.errors import InputError


def test_the_default_photo(photos: Path) -> None:
    photo = default_photo()
    assert (photo.width, photo.height) == (500, 375)
    with PillowImage.open(photos / "astronaut.jpg") as picture:
        middle = np.asarray(picture.convert("RGB").crop((0, 64, 512, 448)).resize((500, 375)), np.float32)
    assert np.abs(photo.pixels - middle).mean() < 2


def test_an_installed_package_has_no_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detector.benchmark.photo._PHOTO", tmp_path / "tests/photos/astronaut.jpg")
    with pytest.raises(InputError, match="installed without photos; give one: --image PHOTO"):
        default_photo()

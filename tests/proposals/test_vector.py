"""The test vector: on these photos every installation, on every processor, gives these boxes.

`python -m tests.proposals.test_vector` writes it anew, which only a new `ALGORITHM_VERSION` justifies.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from proposals import SelectiveSearch, SelectiveSearchConfig
from proposals.selective_search import ALGORITHM_VERSION

VECTOR = Path(__file__).parent / "data/test_vector.json"
PHOTOS = Path(__file__).parents[1] / "photos"
PRESETS = ("single", "fast", "balanced")
BOXES = 50


def drawn() -> np.ndarray:
    """A drawing by whole numbers alone: stripes, rings and a checkerboard over a slope of brightness."""
    y, x = np.indices((240, 360))
    rings = ((x - 110) ** 2 + (y - 120) ** 2) // 900 % 3
    board = (x // 24 + y // 18) % 2
    red = np.where(x < 220, 60 + 70 * rings, 90 + x // 4)
    green = np.where(x < 220, 40 + y // 2, 50 + 120 * board)
    blue = (x * y // 90 + 5 * (x // 36)) % 200
    return np.dstack((red, green, blue)).astype(np.uint8)


def pixels(name: str) -> np.ndarray:
    return drawn() if name == "drawn" else np.asarray(Image.open(PHOTOS / name).convert("RGB"))


def measure(name: str, preset: str) -> dict[str, Any]:
    search = SelectiveSearch(SelectiveSearchConfig.preset(preset))
    found = search(pixels(name))
    content = found.boxes.astype("<f4").tobytes() + found.scores.astype("<f4").tobytes()
    return {
        "photo": name,
        "preset": preset,
        "fingerprint": search.fingerprint,
        "pixels": hashlib.sha256(pixels(name).tobytes()).hexdigest(),
        "count": len(found),
        "boxes_and_scores": hashlib.sha256(content).hexdigest(),
        "boxes": found.boxes[:BOXES].astype(int).tolist(),
    }


@pytest.mark.parametrize(
    "expected", json.loads(VECTOR.read_text()), ids=lambda entry: f"{entry['photo']} {entry['preset']}"
)
def test_vector(expected: dict[str, Any]) -> None:
    if hashlib.sha256(pixels(expected["photo"]).tobytes()).hexdigest() != expected["pixels"]:
        pytest.skip("this version of libjpeg decodes the photo to other pixels")
    measured = measure(expected["photo"], expected["preset"])
    assert measured.pop("boxes") == expected.pop("boxes")
    assert measured == expected


def test_the_vector_is_of_this_version() -> None:
    entries = json.loads(VECTOR.read_text())
    assert {(entry["photo"], entry["preset"]) for entry in entries} == {
        (photo, preset) for photo in ("cat.jpg", "astronaut.jpg", "drawn") for preset in PRESETS
    }
    assert ALGORITHM_VERSION == 4, "write the vector anew, and say in proposals/README.md what has changed"


if __name__ == "__main__":
    entries = [measure(photo, preset) for photo in ("cat.jpg", "astronaut.jpg", "drawn") for preset in PRESETS]
    VECTOR.write_text("[\n" + ",\n".join(json.dumps(entry) for entry in entries) + "\n]\n")

"""Draws the failures that the model card shows, from the photos in tests/photos."""

from pathlib import Path

import cv2
import numpy as np

from detector import load_detector, read_image
from detector.structures.image import Image

ROOT = Path(__file__).parents[1]

cat, astronaut = (read_image(ROOT / f"tests/photos/{name}.jpg").pixels for name in ("cat", "astronaut"))
noise = np.random.default_rng(0).normal(0, 60, cat.shape)
photos = {"upside down": cat[::-1, ::-1], "noise": np.clip(cat + noise, 0, 255).astype(np.uint8), "whole": astronaut}
detector = load_detector(device="cpu")
pictures = []
for name, pixels in photos.items():
    image = Image(np.ascontiguousarray(pixels), name)
    found = detector(image, score=0.25)
    print(name, [(one.label, round(one.score, 2)) for one in found])
    picture = found.draw(image)
    pictures.append(cv2.resize(picture, (300 * picture.shape[1] // picture.shape[0], 300)))
cv2.imwrite(str(ROOT / ".github/images/failures.png"), np.hstack(pictures)[:, :, ::-1])

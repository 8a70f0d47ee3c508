"""Several looks at an image: mirrored, and at other sizes."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from detector.errors import InputError
from detector.inference.assembly import load_detector
from detector.structures.image import read_image
from detector.structures.region_scores import average_scores

CAT = Path(__file__).parents[2] / "photos/cat.jpg"


def config(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "detector.yaml"
    models = "" if "models" in text else "models: [voc07]\n"
    path.write_text(f"{models}proposals: {{}}\n{text}")
    return path


def test_a_mirrored_look_at_a_mirrored_image_is_the_look_at_the_image(tmp_path: Path):
    detector = load_detector(device="cpu", config=config(tmp_path, "flip_test: true\n"))
    plain, mirrored = detector.scorers
    image = read_image(CAT)
    swapped = dataclasses.replace(image, pixels=np.ascontiguousarray(image.pixels[:, ::-1]))
    boxes = torch.tensor([[12.0, 8, 428, 296], [100, 50, 300, 200]])
    flipped = torch.stack((image.width - boxes[:, 2], boxes[:, 1], image.width - boxes[:, 0], boxes[:, 3]), dim=1)
    one, other = plain.encode(image).score(boxes), mirrored.encode(swapped).score(flipped)
    torch.testing.assert_close(one.scores, other.scores, rtol=0, atol=0.02)  # resizing is not quite symmetric
    torch.testing.assert_close(one.box_deltas[..., 1:], other.box_deltas[..., 1:], rtol=0, atol=0.2)
    torch.testing.assert_close(one.box_deltas[..., 0], -other.box_deltas[..., 0], rtol=0, atol=0.2)


def test_several_looks_are_averaged(tmp_path: Path):
    detector = load_detector(device="cpu", config=config(tmp_path, "test_scales: [256, 320]\nflip_test: true\n"))
    assert [(s.config.input.short_side, s.flipped) for s in detector.scorers] == [
        (256, False),
        (320, False),
        (256, True),
        (320, True),
    ]
    assert detector.scorers[0].config.input.long_side == round(1071 * 256 / 480)
    image = read_image(CAT)
    views = detector.encode(image)
    proposals = detector.propose(image, views)
    boxes = torch.from_numpy(np.array(proposals.boxes))
    expected = average_scores([view.score(boxes) for view in views])
    torch.testing.assert_close(detector.score(views, proposals).scores, expected.scores)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("test_scales: []\n", "test_scales must name at least one, and each once"),
        ("test_scales: [480, 480]\n", "test_scales must name at least one, and each once"),
        ("test_scales: [100000]\n", "test_scales.0: input should be less than or equal to 2048"),
        ("flip_test: true\nmodels: [voc07_crops]\n", "test_scales and flip_test are for models of one pass"),
    ],
)
def test_errors(tmp_path: Path, text: str, message: str):
    with pytest.raises(InputError, match=message):
        load_detector(device="cpu", config=config(tmp_path, text))

"""A second look at regions, and several looks at an image."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from detector.errors import InputError
from detector.images import read_image
from detector.pipeline import Detector, load_detector
from detector.refinement import join_looks, move_regions
from detector.scorers import RegionScores, average_scores
from detector.weights import load_model
from proposals.boxes import decode_offsets, encode_offsets

CAT = Path(__file__).parents[1] / "photos/cat.jpg"
BOXES = torch.tensor([[10.0, 10, 50, 40], [60, 5, 90, 70], [0, 0, 100, 80]])


def scores(values: list[float], targets: torch.Tensor, boxes: torch.Tensor = BOXES) -> RegionScores:
    return RegionScores(torch.tensor(values)[:, None], encode_offsets(boxes, targets)[:, None])


def test_by_hand():
    """Two regions move twice; the third would leave the image and stays where it was."""
    first_targets = torch.tensor([[12.0, 12, 52, 38], [55, 5, 120, 70], [101, 81, 130, 99]])
    first = scores([0.2, 0.4, 0.1], first_targets)
    moved = move_regions(BOXES, first, (100, 80))
    expected = torch.tensor([[12.0, 12, 52, 38], [55, 5, 100, 70], [0, 0, 100, 80]])
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-3)
    final = torch.tensor([[14.0, 13, 54, 37], [56, 6, 99, 72], [2, 2, 90, 70]])
    joined = join_looks(BOXES, first, moved, scores([0.6, 0.2, 0.3], final, moved))
    torch.testing.assert_close(joined.scores[:, 0], torch.tensor([0.4, 0.3, 0.2]))
    torch.testing.assert_close(decode_offsets(BOXES, joined.offsets[:, 0]), final, rtol=0, atol=1e-3)


@pytest.fixture(scope="module")
def detectors() -> dict[bool, Detector]:
    model = load_model("voc07")
    return {refine: Detector(model, "cpu", refine=refine) for refine in (False, True)}


def test_the_detector_looks_twice(detectors: dict[bool, Detector]):
    image = read_image(CAT)
    once, twice = detectors[False], detectors[True]
    views = once.look(image)
    proposals = once.propose(image, views)
    first = once.score(views, proposals)
    boxes = torch.from_numpy(np.array(proposals.boxes))
    moved = move_regions(boxes, first, proposals.image_size)
    second = views[0].score(moved)
    found = twice.score(twice.look(image), proposals)
    torch.testing.assert_close(found.scores, (first.scores + second.scores) / 2, rtol=0, atol=1e-5)
    assert once.fingerprint != twice.fingerprint
    assert [d.label for d in twice.detect(image)] == ["cat"]


def test_without_box_regression_there_is_nothing_to_look_at_again():
    model = load_model("voc07")
    asked = dataclasses.replace(model, config=dataclasses.replace(model.config, refine=True))
    assert Detector(asked, "cpu").refine
    assert not Detector(asked, "cpu", box_regression=False).refine


def test_models_that_see_crops_do_not_refine():
    with pytest.raises(InputError, match="refine is for models of one pass"):
        Detector([load_model("voc07"), load_model("voc07_crops")], "cpu", refine=True)


def config(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "detector.yaml"
    path.write_text(f"models: [voc07]\nproposals: {{}}\n{text}")
    return path


def test_a_mirrored_look_at_a_mirrored_image_is_the_look_at_the_image(tmp_path: Path):
    detector = load_detector(device="cpu", config=config(tmp_path, "mirrored: true\n"))
    plain, mirrored = detector.scorers
    image = read_image(CAT)
    swapped = dataclasses.replace(image, pixels=np.ascontiguousarray(image.pixels[:, ::-1]))
    boxes = torch.tensor([[12.0, 8, 428, 296], [100, 50, 300, 200]])
    flipped = torch.stack((image.width - boxes[:, 2], boxes[:, 1], image.width - boxes[:, 0], boxes[:, 3]), dim=1)
    one, other = plain.view(image).score(boxes), mirrored.view(swapped).score(flipped)
    torch.testing.assert_close(one.scores, other.scores, rtol=0, atol=0.02)  # resizing is not quite symmetric
    torch.testing.assert_close(one.offsets[..., 1:], other.offsets[..., 1:], rtol=0, atol=0.2)
    torch.testing.assert_close(one.offsets[..., 0], -other.offsets[..., 0], rtol=0, atol=0.2)


def test_several_looks_are_averaged(tmp_path: Path):
    detector = load_detector(device="cpu", config=config(tmp_path, "short_sides: [256, 320]\nmirrored: true\n"))
    assert [(s.config.input.short_side, s.mirrored) for s in detector.scorers] == [
        (256, False),
        (320, False),
        (256, True),
        (320, True),
    ]
    assert detector.scorers[0].config.input.long_side == round(1071 * 256 / 480)
    image = read_image(CAT)
    views = detector.look(image)
    proposals = detector.propose(image, views)
    boxes = torch.from_numpy(np.array(proposals.boxes))
    expected = average_scores([view.score(boxes) for view in views])
    torch.testing.assert_close(detector.score(views, proposals).scores, expected.scores)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("short_sides: []\n", "short_sides must name at least one"),
        ("refine: true\nbox_regression: false\n", "refine means nothing without box_regression"),
    ],
)
def test_errors(tmp_path: Path, text: str, message: str):
    with pytest.raises(InputError, match=message):
        load_detector(device="cpu", config=config(tmp_path, text))

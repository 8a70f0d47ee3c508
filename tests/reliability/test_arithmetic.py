"""NaN and infinities are refused by name; results are the same in every run.

For the same seed detections and training agree to the last bit, and within the tolerances below with other numbers of
threads. Denormal numbers do not slow a detection.
"""

import math
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from detector import load_detector
from detector.data.annotations import Annotations
from detector.errors import InputError
from detector.evaluation import DetectionTable, GroundTruth
from detector.inference.pipeline import DetectionPipeline
from detector.models.weights import _is_finite, load_model
from detector.structures.detections import Detections
from detector.structures.image import as_image, read_image
from detector.training.assembly import make_loop
from detector.training.recipes import load_recipe
from proposals import Proposals
from tests.reliability.commands import train
from tests.reliability.fork_server import MODEL, ROOT

CAT = ROOT / "tests/photos/cat.jpg"
# Detections with another number of threads, whose sums have another order: bfloat16 has 8 bits.
SCORE_TOLERANCE, PIXEL_TOLERANCE = 0.02, 2.0
# Weights after a few steps with another number of threads, relative to the tensor's largest weight.
WEIGHT_TOLERANCE = 0.02
# A detection with denormal numbers takes at most this many times as long as usual.
DENORMAL_FACTOR = 3.0


def refused(read: Callable[[], object], *named: str, error: type[Exception] = InputError) -> None:
    with pytest.raises(error) as caught:
        read()
    assert "\n" not in str(caught.value)
    for name in named:
        assert name in str(caught.value)


@pytest.mark.parametrize("count", [3, pytest.param(None, marks=pytest.mark.slow)])
def test_weights(count: int | None, tmp_path: Path):
    """A number in each of some or all tensors of a model file is NaN or infinite."""
    chance, tensors, path = random.Random(0), load_file(MODEL), tmp_path / "bad.safetensors"
    with safe_open(MODEL, framework="pt") as file:
        metadata = file.metadata()
    for name in chance.sample(sorted(tensors), count or len(tensors)):
        changed = tensors[name].clone()
        changed.view(-1)[chance.randrange(changed.numel())] = chance.choice((math.nan, math.inf, -math.inf))
        save_file({**tensors, name: changed}, path, metadata)
        refused(lambda: load_model(path), "bad.safetensors", name)


def test_the_check_of_the_weights_does_not_slow_the_start():
    tensors = [tensor.float() for tensor in load_file(MODEL).values()]
    seconds = []
    for _ in range(5):
        started = time.process_time()
        assert all(map(_is_finite, tensors))
        seconds.append(time.process_time() - started)
    assert min(seconds) < 0.02


@pytest.mark.parametrize("layer", ["backbone.inception_5b.conv1x1", "backbone.inception_5b.conv3x3", "score_conv"])
def test_finite_weights_that_overflow(layer: str):
    """(In an early layer PyTorch's ReLU and LRN may turn NaN into zeros, and objects are only missing.)"""
    model = load_model(MODEL)
    with torch.no_grad():
        model.network.get_submodule(layer).weight.fill_(3e38)
    detector = DetectionPipeline(model, "cpu")
    refused(lambda: detector.detect(read_image(CAT), 0.1), "not finite")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_boxes_scores_and_pixels(bad: float):
    def proposals(box: list[float], score: float) -> Proposals:
        scores = np.array([score], np.float32)
        return Proposals(np.array([box], np.float32), scores, np.zeros(1, np.int16), ("a",), (90, 90))

    good, common = [10.0, 10.0, 50.0, 50.0], {"image_ids": ("a",), "class_names": ("cat",), "images": [0]}
    for corner in range(4):
        box = [*good[:corner], bad, *good[corner + 1 :]]
        refused(lambda: Detections([box], [0.5], [0], ("cat",), (90, 90)), "box")  # noqa: B023
        refused(lambda: Annotations([box], [0], [False], (90, 90)), "box")  # type: ignore[arg-type]  # noqa: B023
        refused(lambda: GroundTruth(**common, labels=[0], boxes=[box]), "box")  # noqa: B023
        refused(lambda: DetectionTable(**common, labels=[0], boxes=[box], scores=[0.5]), "box")  # noqa: B023
        refused(lambda: proposals(box, 0.5), "box", error=ValueError)  # noqa: B023
    refused(lambda: Detections([good], [bad], [0], ("cat",), (90, 90)))
    refused(lambda: proposals(good, bad), error=ValueError)
    refused(lambda: as_image(torch.full((3, 4, 4), bad)))


def assert_close(first: Any, second: Any) -> None:
    """Boxes, scores and labels: every object that scores at least 0.3 is in the other result, within the tolerances."""
    for (boxes, scores, labels), (others, other_scores, other_labels) in ((first, second), (second, first)):
        near = np.abs(np.array(boxes)[:, None] - np.array(others)).max(axis=2) <= PIXEL_TOLERANCE
        near &= np.abs(np.array(scores)[:, None] - np.array(other_scores)) <= SCORE_TOLERANCE
        near &= np.array(labels)[:, None] == np.array(other_labels)
        assert near.any(axis=1)[np.array(scores) >= 0.3].all(), (first, second)


def test_the_same_detections_with_any_number_of_threads():
    detector, before, results = load_detector(MODEL, device="cpu"), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 1):
            torch.set_num_threads(threads)
            found = detector(CAT, score=0.05)
            results.append([found.boxes.tolist(), found.scores.tolist(), found.labels.tolist()])
    finally:
        torch.set_num_threads(before)
    assert results[2] == results[0]
    assert_close(results[0], results[1])


@pytest.mark.slow
def test_the_same_weights_from_every_training(tmp_path: Path):
    train(6).prepare(tmp_path)
    before, states = torch.get_num_threads(), []
    try:
        for index, threads in enumerate((1, 1, 2)):
            torch.set_num_threads(threads)
            recipe = load_recipe(tmp_path / "recipe.yaml")
            (tmp_path / str(index)).mkdir()
            loop = make_loop(recipe, tmp_path / "VOC", tmp_path / str(index), MODEL, tmp_path / "cache", "cpu")
            for step in range(loop.config.steps):
                loop.step = step
                loop.train_step(loop.task.example(step))
            states.append(loop.network.state_dict())
    finally:
        torch.set_num_threads(before)
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name
        assert (value - states[2][name]).abs().max() <= WEIGHT_TOLERANCE * value.abs().max().clamp(min=1e-12), name


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_denormal_numbers_do_not_slow_a_detection(precision: str):
    image = read_image(CAT)

    def seconds(factor: float) -> float:
        model = load_model(MODEL)
        with torch.no_grad():
            for parameter in model.network.get_submodule("backbone").parameters():
                parameter.mul_(factor)
        detector = DetectionPipeline(model, "cpu", precision=precision)
        times = []
        for _ in range(3):
            started = time.perf_counter()
            detector.encode(image)
            times.append(time.perf_counter() - started)
        return min(times)

    assert max(seconds(factor) for factor in (1e-6, 1e-20, 1e-36, 1e-40)) <= DENORMAL_FACTOR * seconds(1.0)

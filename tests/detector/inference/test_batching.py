"""Several images at once give what they give one by one, with networks of random weights."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from detector.config import MultiBoxModelConfig
from detector.errors import InputError
from detector.inference.batching import Scored, in_batches
from detector.inference.pipeline import DetectionPipeline
from detector.models.rfcn import RFCN
from detector.models.weights import Model, make_network
from detector.ops.devices import default_batch, uses_gpu
from detector.structures.detections import Detections
from detector.structures.image import Image
from detector.structures.region_scores import RegionScores, fetch
from proposals import UnionProposer
from proposals.multibox.network import MultiBoxHead
from proposals.multibox.proposer import MultiBoxProposer
from tests.detector.inference.random_models import HEAD, RandomBoxes, fill, noise, rcnn_model, rfcn_model

SIZES = ((90, 60), (60, 90), (96, 64), (300, 64), (90, 60), (5, 7))
"""The first, third and fifth have inputs of one size, and so have the second and the last."""


@pytest.fixture(scope="module")
def model() -> Model:
    return rfcn_model()


@pytest.fixture(scope="module")
def larger() -> Model:
    return rfcn_model(seed=1, short_side=96)


@pytest.fixture(scope="module")
def crops() -> Model:
    return rcnn_model(seed=2)


def images(sizes: Sequence[tuple[int, int]] = SIZES) -> list[Image]:
    return [noise(size, seed) for seed, size in enumerate(sizes)]


def assert_same(found: Sequence[Detections], expected: Sequence[Detections]) -> None:
    """Equal to the last digits: the passes are equal to the bit, but the exponential of a score may round differently
    at the end of a table. Equal scores may swap."""
    assert [(one.image_size, len(one)) for one in found] == [(one.image_size, len(one)) for one in expected]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.scores, b.scores, rtol=0, atol=1e-6)
        same = (a.labels[:, None] == b.labels) & (np.abs(a.scores[:, None] - b.scores) < 1e-6)
        same &= np.abs(a.boxes[:, None] - b.boxes).max(axis=2, initial=0) < 1e-3
        assert same.any(axis=1).all()
        assert same.any(axis=0).all()


@pytest.mark.parametrize("count", [0, 1, len(SIZES)])
@pytest.mark.parametrize("empty_height", [None, 60, 64, 7])
def test_a_batch_finds_what_singles_find(model: Model, count: int, empty_height: int | None):
    """Also where an image, a whole pass or everything has no proposals."""
    detector = DetectionPipeline(model, "cpu", RandomBoxes(empty_height), precision="float32")
    expected = [detector.detect(image, 0.05) for image in images(SIZES[:count])]
    assert_same(detector.detect_batch(images(SIZES[:count]), 0.05), expected)


def test_images_of_one_input_size_pass_together(model: Model, monkeypatch: pytest.MonkeyPatch):
    passes, pooled = [], []
    features, classify = RFCN.features, RFCN.classify
    monkeypatch.setattr(RFCN, "features", lambda self, x: passes.append(tuple(x.shape)) or features(self, x))
    monkeypatch.setattr(RFCN, "classify", lambda self, maps, r: pooled.append(len(r)) or classify(self, maps, r))
    DetectionPipeline(model, "cpu", RandomBoxes()).detect_batch(images())
    assert passes == [(3, 3, 64, 96), (2, 3, 96, 64), (1, 3, 64, 288)]
    assert pooled == [40 + 40 + 40, 30 + 2, 40]


@pytest.mark.parametrize("box_regression", [True, False])
def test_ensembles(model: Model, larger: Model, crops: Model, box_regression: bool):
    """Three shared passes of different sizes, one of them mirrored, and crops, which go image by image."""
    models = (model, larger, crops)
    detector = DetectionPipeline(models, "cpu", RandomBoxes(), box_regression=box_regression, precision="float32")
    flipped = detector.scorers[0].with_input(96, flipped=True)  # type: ignore[union-attr]
    detector = detector.replace(scorers=(*detector.scorers, flipped))
    assert_same(detector.detect_batch(images(), 0.05), [detector.detect(image, 0.05) for image in images()])


@pytest.mark.parametrize("source", ["multibox", "both"])
def test_multibox_from_the_shared_passes(model: Model, source: str, monkeypatch: pytest.MonkeyPatch):
    detector = DetectionPipeline(model, "cpu", source=source)  # type: ignore[arg-type]
    expected = [detector.detect(image, 0.05) for image in images()]
    assert sum(map(len, expected)) > 0
    heads = []
    forward = MultiBoxHead.forward
    monkeypatch.setattr(MultiBoxHead, "forward", lambda self, x: heads.append(len(x)) or forward(self, x))
    assert_same(detector.detect_batch(images(), 0.05), expected)
    assert heads == [3, 2, 1]


def test_a_separate_multibox_network_gets_a_batch(model: Model, monkeypatch: pytest.MonkeyPatch):
    torch.manual_seed(3)
    network = make_network(MultiBoxModelConfig(size=64, head=HEAD), 0)
    fill(network.head)  # type: ignore[arg-type]
    proposer = MultiBoxProposer(network.eval(), 64, 15)  # type: ignore[arg-type]
    detector = DetectionPipeline(model, "cpu", UnionProposer([RandomBoxes(), proposer]))
    expected = [detector.detect(image, 0.05) for image in images()]
    batches = []
    propose = proposer.propose
    monkeypatch.setattr(proposer, "propose", lambda photos: batches.append(len(photos)) or propose(photos))
    found = detector.detect_batch(images(), 0.05)
    assert batches == [len(SIZES)]
    for a, b in zip(found, expected, strict=True):  # in the default number format, perhaps bfloat16
        assert len(a) == len(b)
        np.testing.assert_allclose(a.scores, b.scores, atol=0.02)


def test_scores_come_from_a_device_in_one_piece(monkeypatch: pytest.MonkeyPatch):
    """The path of GPU tensors: on the meta device up to the transfer, on random rows after it."""
    scored = [RegionScores(torch.rand(n, 3), torch.rand(n, 1, 4)) for n in (5, 0, 2)]
    assert fetch(scored) == scored
    away = [RegionScores(one.scores.to("meta"), one.box_deltas.to("meta")) for one in scored]  # type: ignore[union-attr]
    rows = torch.cat([torch.cat((one.scores, one.box_deltas.flatten(1)), 1) for one in scored])  # type: ignore[union-attr]
    transfers = []
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: transfers.append(tuple(tensor.shape)) or rows)
    for found, expected in zip(fetch(away), scored, strict=True):
        assert torch.equal(found.scores, expected.scores)
        assert torch.equal(found.box_deltas, expected.box_deltas)  # type: ignore[arg-type]
    assert transfers == [(7, 7)]
    unmoved = fetch([RegionScores(one.scores, None) for one in away])
    assert [one.box_deltas for one in unmoved] == [None] * 3


def test_batches_are_for_gpus(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [uses_gpu(device) for device in ("auto", "cuda:1", "cpu")] == [True, True, False]
    assert [default_batch(device) for device in ("auto", "cuda", "cpu")] == [8, 8, 1]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert default_batch("auto") == 1


# Streams


Finish = Callable[[int, Scored], Detections]


@pytest.fixture
def detector(model: Model) -> DetectionPipeline:
    return DetectionPipeline(model, "cpu", RandomBoxes())


@pytest.fixture
def finish(detector: DetectionPipeline) -> Finish:
    return lambda _, scored: detector.suppress(scored.proposals, scored.scores, 0.05)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("batch", [1, 4, 20])
def test_a_stream_keeps_the_order(detector: DetectionPipeline, finish: Finish, batch: int, workers: int):
    photos = images(SIZES * 2)
    found = list(in_batches(detector, range(12), photos.__getitem__, finish, batch, workers))
    assert_same(found, [detector.detect(photo, 0.05) for photo in photos])  # type: ignore[arg-type]


def test_a_failure_affects_only_its_image(detector: DetectionPipeline, finish: Finish):
    """Reading, the networks (a batch that fails is tried one by one), or what comes after them."""
    photos, batches = images(), []
    score_batch = detector.score_batch

    def failing(group):
        batches.append([one.image.name for one in group])
        if "noise 3" in batches[-1]:
            raise RuntimeError("out of memory")
        return score_batch(group)

    def read(index: int) -> Image:
        if index == 1:
            raise InputError("no photo")
        return photos[index]

    def conclude(index: int, scored: Scored) -> Detections:
        if index == 5:
            raise InputError("no picture")
        assert scored.seconds > 0
        return finish(index, scored)

    detector.score_batch = failing  # type: ignore[method-assign]
    found = list(in_batches(detector, range(6), read, conclude, 4, 2))
    assert [str(one) if isinstance(one, Exception) else "" for one in found] == [
        "", "no photo", "", "out of memory", "", "no picture",
    ]  # fmt: skip
    assert batches == [
        ["noise 0", "noise 2", "noise 3"], ["noise 0"], ["noise 2"], ["noise 3"], ["noise 4", "noise 5"],
    ]  # fmt: skip
    assert_same([found[i] for i in (0, 2, 4)], [detector.detect(photos[i], 0.05) for i in (0, 2, 4)])  # type: ignore

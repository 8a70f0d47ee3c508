"""Several images at once give what they give one by one, with networks of random weights."""

import threading
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import nn

from detector.config import CropConfig, CropNetworkConfig, MultiBoxModelConfig, RCNNConfig
from detector.errors import InputError
from detector.inference.batching import Scored, in_batches
from detector.inference.pipeline import DetectionPipeline
from detector.models.rcnn import RCNN
from detector.models.rfcn import RFCN
from detector.models.weights import Model, make_network
from detector.ops.devices import default_batch, uses_gpu
from detector.structures.detections import Detections
from detector.structures.image import Image
from detector.structures.region_scores import RegionScores, fetch
from proposals import UnionProposer
from proposals.multibox.network import MultiBoxHead
from proposals.multibox.proposer import MultiBoxProposer
from tests.detector.inference.random_models import HEAD, RandomBoxes, fill, noise, rfcn_model

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
    torch.manual_seed(2)
    config = RCNNConfig(crops=CropConfig(size=64, context=4), network=CropNetworkConfig(box_bins=2))
    network = RCNN(2, config.network).eval().requires_grad_(False)
    nn.init.normal_(network.classifier.weight, std=0.5)
    return Model(network, config, ("cat", "dog"), {})


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


@pytest.mark.parametrize("sizes", [SIZES, SIZES[:1], (SIZES[0],) * 3], ids=["mixed", "one", "equal"])
@pytest.mark.parametrize("empty_height", [None, 60, 64, 7])
def test_a_batch_finds_what_singles_find(model: Model, sizes: tuple[tuple[int, int], ...], empty_height: int | None):
    """Also where an image, a whole pass or everything has no proposals."""
    detector = DetectionPipeline(model, "cpu", RandomBoxes(empty_height), precision="float32")
    expected = [detector.detect(image, 0.05) for image in images(sizes)]
    assert sum(map(len, expected)) > 0 or empty_height == sizes[0][1]
    assert_same(detector.detect_batch(images(sizes), 0.05), expected)


def test_an_empty_batch_gives_an_empty_list(model: Model):
    assert DetectionPipeline(model, "cpu", RandomBoxes()).detect_batch([]) == []


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
    """Two shared passes of different sizes, and crops, which go image by image."""
    models = (model, larger, crops)
    detector = DetectionPipeline(models, "cpu", RandomBoxes(), box_regression=box_regression, precision="float32")
    assert_same(detector.detect_batch(images(), 0.05), [detector.detect(image, 0.05) for image in images()])


def test_flipped_inputs_of_another_size(model: Model):
    detector = DetectionPipeline(model, "cpu", RandomBoxes(64), precision="float32")
    (scorer,) = detector.scorers
    detector = detector.replace(scorers=(scorer, scorer.with_input(96, flipped=True)))  # type: ignore[union-attr]
    expected = [detector.detect(image, 0.05) for image in images()]
    assert sum(map(len, expected)) > 0
    assert_same(detector.detect_batch(images(), 0.05), expected)


def test_crops_alone(crops: Model):
    detector = DetectionPipeline(crops, "cpu", RandomBoxes(60), precision="float32")
    found = detector.detect_batch(images()[:3], 0.05)
    assert_same(found, [detector.detect(image, 0.05) for image in images()[:3]])
    assert len(found[0]) == 0 < len(found[2])


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


def test_features_of_a_batch_propose_and_score_for_their_image(model: Model):
    detector = DetectionPipeline(model, "cpu", RandomBoxes(), precision="float32")
    (scorer,) = detector.scorers
    photos = images(((90, 60), (96, 64)))
    batch = scorer.encode_batch(photos, [scorer.prepare(photo) for photo in photos])
    boxes = torch.tensor([[3.0, 4.0, 50.0, 40.0], [20.0, 10.0, 80.0, 55.0]])
    for photo, features in zip(photos, batch, strict=True):
        alone = scorer.encode(photo)
        torch.testing.assert_close(features.maps.score_maps, alone.maps.score_maps, rtol=0, atol=0)
        torch.testing.assert_close(features.score(boxes).scores, alone.score(boxes).scores, rtol=0, atol=0)
        np.testing.assert_array_equal(features.propose(9).boxes, alone.propose(9).boxes)  # type: ignore[attr-defined]


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


def test_wrong_arguments(model: Model):
    detector = DetectionPipeline(model, "cpu", RandomBoxes())
    with pytest.raises(InputError, match=r"not a number in 0\.\.1"):
        detector.detect_batch(images(), 1.5)


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


def test_proposals_are_made_beside_the_networks(detector: DetectionPipeline, finish: Finish):
    threads = []
    score_batch = detector.score_batch
    detector.score_batch = lambda group: threads.append(threading.current_thread().name) or score_batch(group)  # type: ignore
    photos = images()
    list(in_batches(detector, range(6), photos.__getitem__, finish, 2, 2))
    assert len(threads) == 3
    assert set(threads) == {threading.current_thread().name}
    assert all(name.startswith("detector_") for name in detector.proposer.threads)  # type: ignore[attr-defined]


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


def test_few_images_are_held(detector: DetectionPipeline, finish: Finish):
    photo, taken, most = noise(), 0, 0

    def items():
        nonlocal taken
        for index in range(60):
            taken += 1
            yield index

    for given, _ in enumerate(in_batches(detector, items(), lambda _: photo, finish, 4, 2), start=1):
        most = max(most, taken - given)
    assert most <= 4 + 4 + 2 + 3 * 2


def test_an_early_end_leaves_no_thread(detector: DetectionPipeline, finish: Finish):
    results = in_batches(detector, range(100), lambda _: noise(), finish, 2, 2)
    next(results)
    results.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("detector_")]

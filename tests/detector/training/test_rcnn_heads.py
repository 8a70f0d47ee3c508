from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.linalg
import torch
from sklearn.linear_model import Ridge
from sklearn.svm import LinearSVC

from detector.config import CropConfig, CropNetworkConfig, RCNNConfig
from detector.data.annotations import Annotations
from detector.inference.rcnn_scorer import RCNNScorer
from detector.models.rcnn import RCNN
from detector.structures.image import Image
from detector.training import rcnn_heads
from detector.training.rcnn_heads import (
    RegionFeatures,
    collect_features,
    describe_regions,
    fit_boxes,
    fit_svms,
    mine_svm,
    ridge_whitened,
)
from detector.training.recipes import HeadsConfig
from proposals import Proposals
from proposals.boxes import decode_boxes

CONFIG = HeadsConfig()
NAMES = ("cat", "dog", "cow")


def region_features(count: int, channels: int = 5, classes: int = 3, **columns: np.ndarray) -> RegionFeatures:
    """Features of regions that are near no object, but for the columns given."""
    plain = {
        "pooled": np.random.default_rng(0).normal(size=(count, channels)).astype(np.float16),
        "parts": np.zeros((0, 4), np.float16),
        "near_index": np.zeros(0, np.int64),
        "overlaps": np.zeros((count, classes), np.float16),
        "object_class": np.full(count, -1, np.int16),
        "box_deltas": np.zeros((count, 4), np.float32),
        "nearest_class": np.full(count, -1, np.int16),
        "nearest_iou": np.zeros(count, np.float32),
    }
    return RegionFeatures(**(plain | columns))


def correlated(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, 8) and targets (N, 4) of different sizes that depend on each other and on the features."""
    rng = np.random.default_rng(0)
    x = rng.normal(1, 2, (count, 8))
    targets = x @ rng.normal(size=(8, 4)) + rng.normal(0, 1, (count, 4)) @ rng.normal(size=(4, 4)) * 3 + (5, -2, 0, 40)
    return x, targets * (1, 0.1, 3, 1)


@pytest.mark.parametrize("penalty", [0.1, 30.0, 1000.0])
def test_ridge_equals_a_fit_to_targets_whitened_otherwise(penalty: float):
    x, targets = correlated(200)
    mean = targets.mean(axis=0)
    root = scipy.linalg.sqrtm((targets - mean).T @ (targets - mean) / len(targets) + 1e-3 * np.eye(4))
    fit = Ridge(alpha=penalty).fit(x, (targets - mean) @ np.linalg.inv(root))
    weights, biases = ridge_whitened(x, targets, penalty)
    assert weights.shape == (4, 8)
    fresh = np.random.default_rng(1).normal(1, 2, (50, 8))
    np.testing.assert_allclose(fresh @ weights.T + biases, fit.predict(fresh) @ root + mean, rtol=1e-4, atol=1e-3)


def test_ridge_with_targets_that_do_not_vary():
    x = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    weights, biases = ridge_whitened(x, np.tile((1.0, 0, -2, 3), (30, 1)), 1.0)
    np.testing.assert_allclose(x @ weights.T + biases, np.tile((1.0, 0, -2, 3), (30, 1)), atol=1e-5)


def toy_classes(hard: int) -> tuple[np.ndarray, np.ndarray]:
    """60 positives and 12,000 negatives of which all but `hard` lie far off."""
    rng = np.random.default_rng(0)
    positive = rng.normal((3, 3, 0, 0, 0, 0), 1.0, (60, 6))
    easy = rng.normal((-4, -4, 0, 0, 0, 0), 1.0, (12_000 - hard, 6))
    near = rng.normal((1, 1.5, 0, 0, 0, 0), 1.0, (hard, 6))
    negative = rng.permutation(np.concatenate((easy, near)))
    return positive.astype(np.float32), negative.astype(np.float32)


@pytest.mark.parametrize("hard", [0, 40, 600])
def test_mined_svm_equals_one_fit_to_all_negatives(hard: int):
    positive, negative = toy_classes(hard)
    weight, bias, passes, used = mine_svm(positive, negative, HeadsConfig(svm_c=0.01))
    whole = LinearSVC(C=0.01, loss="hinge", class_weight={1: 2.0}, intercept_scaling=10.0, max_iter=100_000, tol=1e-6)
    whole.fit(np.concatenate((positive, negative)), np.repeat([1, 0], [60, 12_000]))
    rows = np.concatenate((positive, negative))
    np.testing.assert_allclose(rows @ weight + bias, whole.decision_function(rows), atol=0.01)
    assert 5000 < used < 5100 + hard
    assert 2 <= passes <= 3


def test_mining_takes_in_what_the_first_negatives_lack(monkeypatch: pytest.MonkeyPatch):
    """Of the few hard negatives the first choice has none, and without them the bias would be another."""
    positive, negative = toy_classes(0)
    near = np.random.default_rng(1).normal((1, 1.5, 0, 0, 0, 0), 0.5, (30, 6)).astype(np.float32)
    monkeypatch.setattr(rcnn_heads, "_FIRST_NEGATIVES", 50)
    monkeypatch.setattr(rcnn_heads, "_MAX_PASSES", 1)
    negative = np.concatenate((near, negative))
    first = np.random.default_rng(0).permutation(len(negative))[:50]
    negative[first] = negative[-50:]  # easy ones
    blind = mine_svm(positive, negative, HeadsConfig(svm_c=0.1))
    monkeypatch.setattr(rcnn_heads, "_MAX_PASSES", 10)
    weight, bias, passes, used = mine_svm(positive, negative, HeadsConfig(svm_c=0.1))
    assert passes > 1
    assert 75 <= used < 1000
    assert (near @ weight + bias).mean() < (near @ blind[0] + blind[1]).mean() - 0.5


def test_svms_separate_their_classes_and_take_features_as_they_are(caplog: pytest.LogCaptureFixture):
    rng = np.random.default_rng(0)
    kind = np.repeat([0, 1, -1], 40).astype(np.int16)
    centers = np.array([(6, 0, 0, 0, 0), (0, 6, 0, 0, 0), (0, 0, 6, 0, 0)], np.float32)
    pooled = (centers[kind] + rng.normal(0, 0.5, (120, 5))).astype(np.float16)
    overlaps = np.eye(3, dtype=np.float16)[kind] * (kind >= 0)[:, None]
    features = region_features(120, pooled=pooled, object_class=kind, overlaps=overlaps)
    config = HeadsConfig(svm_c=0.1)
    weights, biases = fit_svms(features, config, NAMES)
    scores = pooled.astype(np.float32) @ weights.T + biases
    for label in (0, 1):
        assert scores[kind == label, label].min() > 0.5 > -0.5 > scores[kind != label, label].max()
    assert (scores[:, 2] == -1).all()
    assert caplog.messages[-1].startswith("class cow has no objects")
    # the same features in other units give the same decisions
    scaled = fit_svms(replace(features, pooled=(pooled * np.float16(8))), config, NAMES)
    np.testing.assert_allclose(pooled.astype(np.float32) * 8 @ scaled[0].T + scaled[1], scores, atol=1e-3)


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5])
def test_negatives_of_a_class_are_clear_of_its_objects(threshold: float, monkeypatch: pytest.MonkeyPatch):
    exact = np.linspace(0, 1, 401)
    exact = np.sort(np.append(exact, [np.nextafter(threshold, 0), threshold, np.nextafter(threshold, 1)]))
    overlaps = np.zeros((len(exact), 2), np.float16)
    overlaps[:, 0] = exact
    objects = np.full(len(exact), -1, np.int16)
    objects[-1], objects[0] = 0, 1
    marks = np.arange(1, len(exact) + 1, dtype=np.float16)[:, None]
    trained = []

    def keep(positive: np.ndarray, negative: np.ndarray, config: HeadsConfig) -> tuple[np.ndarray, float, int, int]:
        trained.append((positive, negative))
        return np.zeros(1, np.float32), 0.0, 1, 1

    monkeypatch.setattr(rcnn_heads, "mine_svm", keep)
    features = region_features(len(exact), pooled=marks, overlaps=overlaps, object_class=objects)
    fit_svms(features, replace(CONFIG, svm_negative_iou=threshold), NAMES[:2])
    scale = trained[0][0][0, 0] / marks[-1, 0]
    assert trained[0][0] == pytest.approx(marks[-1:] * scale)  # the one object
    negatives = (trained[0][1][:, 0] / scale).round().astype(int) - 1
    assert exact[negatives].max() < threshold
    assert len(negatives) >= (exact < threshold).sum() - 1  # the float16 below may stand for the threshold itself
    assert 0 in negatives  # an object of the other class
    assert len(trained[1][1]) == len(exact) - 1  # class 1 is overlapped by its object alone


def test_a_class_without_negatives_is_never_found(caplog: pytest.LogCaptureFixture):
    features = region_features(3, object_class=np.zeros(3, np.int16), overlaps=np.ones((3, 3), np.float16))
    weights, biases = fit_svms(features, CONFIG, NAMES)
    assert (weights.any(), biases.tolist()) == (False, [-1, -1, -1])
    assert "class cat has no negatives" in caplog.messages[0]


def test_boxes_of_each_class_are_regressed_by_its_regions(caplog: pytest.LogCaptureFixture):
    """Two planted maps and rows in disorder: parts belong to the regions that `near_index` names."""
    rng = np.random.default_rng(0)
    maps, shifts = rng.normal(size=(2, 4, 6)), rng.normal(size=(2, 4))
    near_index = rng.permutation(200)[:121]
    parts = rng.normal(size=(121, 6)).astype(np.float16)
    kind = [*[0] * 60, *[1] * 60, 2]
    box_deltas, nearest = rng.normal(size=(200, 4)).astype(np.float32), rng.integers(0, 3, 200).astype(np.int16)
    nearest[near_index] = kind
    for row, label, part in zip(near_index[:-1], kind, parts[:-1].astype(np.float64), strict=False):
        box_deltas[row] = maps[label] @ part + shifts[label]
    features = region_features(200, parts=parts, near_index=near_index, box_deltas=box_deltas, nearest_class=nearest)
    weights, biases = fit_boxes(features, HeadsConfig(box_lambda=1e-6), NAMES)
    assert weights.shape == (12, 6)
    np.testing.assert_allclose(weights[:8].reshape(2, 4, 6), maps, atol=1e-3)
    np.testing.assert_allclose(biases[:8].reshape(2, 4), shifts, atol=1e-3)
    assert not weights[8:].any()
    assert not biases[8:].any()
    assert caplog.messages[-1].startswith("class cow has 1 regions")


@pytest.fixture
def scorer(tiny_backbone: type) -> RCNNScorer:
    config = RCNNConfig(crops=CropConfig(size=32, context=4), network=CropNetworkConfig(box_bins=2))
    return RCNNScorer(RCNN(3, config.network).eval().requires_grad_(False), config, torch.float32)


def picture(seed: int = 0) -> Image:
    return Image(np.random.default_rng(seed).integers(0, 255, (80, 100, 3), dtype=np.uint8), "noise")


OBJECTS = Annotations(
    [(0, 0, 40, 40), (50, 0, 90, 40), (60, 40, 100, 80)], [0, 1, 1], [False, False, True], image_size=(100, 80)
)
"""A cat, a dog, and a dog that is difficult."""

REGIONS = np.array(
    [
        (0, 0, 40, 40),  # the cat itself
        (50, 0, 90, 40),  # the dog itself
        (0, 0, 40, 30),  # IoU 0.75 with the cat
        (50, 0, 90, 80),  # 0.5 with the dog, 1200 / 3600 with the difficult one
        (60, 40, 100, 80),  # the difficult dog, 0 with the others
        (0, 60, 10, 80),  # nothing
    ],
    np.float32,
)


def test_describe_regions(scorer: RCNNScorer):
    features = describe_regions(scorer, picture(), REGIONS, 2, OBJECTS, 3, CONFIG)
    cat, dog = [1, 0, 0.75, 0, 0, 0], [0, 1, 0, 0.5, 1, 0]  # a difficult object is no negative of its class
    np.testing.assert_allclose(features.overlaps, np.stack((cat, dog, np.zeros(6)), axis=1), atol=5e-4)
    assert features.object_class.tolist() == [0, 1, -1, -1, -1, -1]
    np.testing.assert_allclose(features.nearest_iou, [1, 1, 0.75, 0.5, 0, 0], atol=1e-6)
    assert features.nearest_class.tolist()[:4] == [0, 1, 0, 1]
    assert features.near_index.tolist() == [0, 1, 2]
    moved = decode_boxes(torch.from_numpy(REGIONS[:4]), torch.from_numpy(features.box_deltas[:4]))
    np.testing.assert_allclose(moved, OBJECTS.boxes[[0, 1, 0, 1]], atol=1e-3)

    expected = scorer.features(picture(), torch.from_numpy(REGIONS))
    np.testing.assert_allclose(features.pooled, expected.pooled, rtol=2e-3, atol=1e-3)
    np.testing.assert_allclose(features.parts, expected.parts[:3], rtol=2e-3, atol=1e-3)
    assert {features.pooled.dtype, features.parts.dtype, features.overlaps.dtype} == {np.dtype(np.float16)}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_regions_are_described_by_a_network_on_a_gpu(scorer: RCNNScorer):
    expected = describe_regions(scorer, picture(), REGIONS, 2, OBJECTS, 3, CONFIG)
    scorer.network.cuda()
    features = describe_regions(scorer, picture(), REGIONS, 2, OBJECTS, 3, CONFIG)
    for name, values in vars(expected).items():
        np.testing.assert_allclose(getattr(features, name), values, atol=0.02, err_msg=name)


@pytest.mark.parametrize(
    "annotations",
    [
        Annotations([], [], [], image_size=(100, 80)),
        Annotations([(60, 40, 100, 80)], [1], [True], image_size=(100, 80)),
    ],
    ids=["no objects", "a difficult one"],
)
def test_without_clear_objects_all_regions_are_of_no_class(scorer: RCNNScorer, annotations: Annotations):
    features = describe_regions(scorer, picture(), REGIONS, 0, annotations, 3, CONFIG)
    assert features.object_class.tolist() == features.nearest_class.tolist() == [-1] * 6
    assert not features.nearest_iou.any()
    assert not features.box_deltas.any()
    assert features.parts.shape == (0, 24)
    assert features.overlaps.max() == (1 if len(annotations) else 0)


class Pictures:
    """Three images: `REGIONS` and `OBJECTS`, one without objects, one without proposals."""

    dataset = SimpleNamespace(ids=("a", "b", "c"), class_names=NAMES)

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> tuple[Image, Proposals, Annotations]:
        nothing = Annotations([], [], [], image_size=(100, 80))
        boxes = REGIONS if index < 2 else REGIONS[:0]
        ranks, sources = np.arange(len(boxes), 0, -1, dtype=np.float32), np.zeros(len(boxes), np.int16)
        proposals = Proposals(boxes, ranks, sources, ("given",), (100, 80))
        return picture(index), proposals, nothing if index == 1 else OBJECTS


def described(features: RegionFeatures) -> dict[str, int]:
    objects = int((features.object_class >= 0).sum())
    return {"objects": objects, "other regions": len(features.pooled) - objects}


def test_features_of_all_images(scorer: RCNNScorer, tmp_path: Path):
    features = collect_features(scorer, Pictures(), CONFIG, 0, tmp_path / "cache")
    # a: the objects as proposals and the region of IoU 0.75 are near, two are negatives; b: all are negatives
    assert described(features) == {"objects": 4, "other regions": 3 + 2 + 6}
    assert len(features.parts) == len(features.near_index) == 2 + 3 + 2
    assert (features.nearest_iou[features.near_index] > CONFIG.box_iou).all()
    assert (np.delete(features.nearest_iou, features.near_index) <= CONFIG.box_iou).all()
    # parts and pooled features of a row are of the same region
    parts = features.parts.astype(np.float32).reshape(-1, 6, 4).mean(axis=2)
    np.testing.assert_allclose(parts, features.pooled[features.near_index], rtol=0.01, atol=2e-3)


def test_limits_of_images_and_regions(scorer: RCNNScorer, tmp_path: Path):
    """Of images beyond the limit only the objects are used; the seed says which one of the images is used whole."""
    config, counts = replace(CONFIG, images=1), []
    for seed in range(8):
        counts.append(described(collect_features(scorer, Pictures(), config, seed, tmp_path / str(seed))))
    assert {c["objects"] for c in counts} == {4}
    assert {c["other regions"] for c in counts} == {5, 6, 0}
    features = collect_features(scorer, Pictures(), replace(CONFIG, near=1, negatives=2), 0, tmp_path)
    assert described(features) == {"objects": 4, "other regions": (1 + 2) + 2}


def test_what_the_cache_holds_is_not_computed_again(scorer: RCNNScorer, tmp_path: Path):
    whole = collect_features(scorer, Pictures(), CONFIG, 0, tmp_path / "whole")
    compute, calls = scorer.features, []

    def interrupted(image: Image, boxes: torch.Tensor):
        calls.append(len(boxes))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return compute(image, boxes)

    scorer.features = interrupted
    with pytest.raises(KeyboardInterrupt):
        collect_features(scorer, Pictures(), CONFIG, 0, tmp_path / "parts")
    assert len(list((tmp_path / "parts").iterdir())) == 2
    again = collect_features(scorer, Pictures(), CONFIG, 0, tmp_path / "parts")
    assert len(calls) == 4  # two, the interrupted one, and that one again
    for name, values in vars(whole).items():
        np.testing.assert_array_equal(getattr(again, name), values, err_msg=name)
    collect_features(scorer, Pictures(), CONFIG, 0, tmp_path / "parts")
    assert len(calls) == 4

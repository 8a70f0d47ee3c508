"""R-CNN's network and scorers, on a backbone of one convolution."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from detector.config import (
    Calibration,
    ClassifierConfig,
    CropConfig,
    CropNetworkConfig,
    ModelConfig,
    PostprocessConfig,
    RCNNConfig,
)
from detector.errors import InputError
from detector.inference import rcnn_scorer as crop_scorer
from detector.inference.pipeline import DetectionPipeline
from detector.inference.rcnn_scorer import RCNNScorer, batch_size, reduce_large
from detector.inference.rfcn_scorer import make_scorer
from detector.models.rcnn import RCNN, CropFeatures
from detector.models.weights import Model, load_model, save_model
from detector.ops.crops import crop_windows, warp_windows
from detector.structures.image import Image
from proposals import Proposals
from proposals.boxes import decode_boxes

CPU = torch.device("cpu")
CONFIG = RCNNConfig(crops=CropConfig(size=32, context=4), network=CropNetworkConfig(box_bins=2))
BOXES = torch.tensor([[5.0, 4, 40, 30], [0, 0, 60, 45], [20, 10, 33, 44], [-8, 20, 15, 60]])

pytestmark = pytest.mark.usefixtures("tiny_backbone")


def crop_model(seed: int = 0, config: RCNNConfig = CONFIG, classes: tuple[str, ...] = ("cat", "dog")) -> Model:
    """A model with random weights in every head."""
    torch.manual_seed(seed)
    network = RCNN(len(classes), config.network).eval().requires_grad_(False)
    nn.init.normal_(network.classifier.bias)
    for name in ("svm_weight", "svm_bias", "box_weight", "box_bias"):
        getattr(network, name).normal_(0, 0.5)
    return Model(network, config, classes, {})


def noise(width: int = 60, height: int = 45) -> Image:
    return Image(np.random.default_rng(1).integers(0, 255, (height, width, 3), dtype=np.uint8), "noise")


def proposals(boxes: torch.Tensor, size: tuple[int, int]) -> Proposals:
    n = len(boxes)
    ranks = np.arange(n, 0, -1, dtype=np.float32)
    return Proposals(boxes.numpy(), ranks, np.zeros(n, np.int16), ("given",), size)


@pytest.fixture
def scorer() -> RCNNScorer:
    return make_scorer(crop_model(), CPU, torch.float32)


@pytest.fixture
def crop_batches(scorer: RCNNScorer) -> list[int]:
    """The number of crops in each pass of the scorer's network."""
    sizes: list[int] = []
    scorer.network.backbone.register_forward_hook(lambda module, inputs, output: sizes.append(len(inputs[0])))
    return sizes


def assert_same(a: CropFeatures, b: CropFeatures) -> None:
    for name in ("class_logits", "pooled", "parts"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), msg=lambda m, name=name: f"{name}: {m}")


def test_features_and_heads_by_numpy():
    network = crop_model().network
    crops = torch.randn(5, 3, 32, 32)
    result = network.features(crops)
    weight, bias = (p.numpy() for p in (network.backbone.conv.weight, network.backbone.conv.bias))
    patches = crops.numpy().reshape(5, 3, 4, 8, 4, 8)
    maps = np.maximum(np.einsum("ncyaxb,kcab->nkyx", patches, weight) + bias[:, None, None], 0)
    pooled, parts = maps.mean(axis=(2, 3)), maps.reshape(5, 6, 2, 2, 2, 2).mean(axis=(3, 5)).reshape(5, 24)
    logits = pooled @ network.classifier.weight.numpy().T + network.classifier.bias.numpy()
    for name, expected in (("class_logits", logits), ("pooled", pooled), ("parts", parts)):
        np.testing.assert_allclose(getattr(result, name).numpy(), expected, rtol=1e-4, atol=1e-4, err_msg=name)

    exp = np.exp(logits)
    part = exp[:, 1:] / exp.sum(axis=1, keepdims=True)
    softmax, svm = (network.log_odds(result, head).numpy() for head in ("softmax", "svm"))
    np.testing.assert_allclose(softmax, np.log(part / (1 - part)), atol=1e-4)
    np.testing.assert_allclose(svm, pooled @ network.svm_weight.numpy().T + network.svm_bias.numpy(), atol=1e-4)
    box_deltas = parts @ network.box_weight.numpy().T + network.box_bias.numpy()
    np.testing.assert_allclose(network.box_deltas(result).numpy(), box_deltas.reshape(5, 2, 4), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bins", [1, 3, 6])
def test_any_number_of_box_bins(bins: int):
    """Also those that do not divide the 4x4 cells of the features, or exceed them."""
    config = dataclasses.replace(CONFIG, network=CropNetworkConfig(box_bins=bins))
    network = crop_model(config=config).network
    result = network.features(torch.randn(2, 3, 32, 32))
    assert result.parts.shape == (2, 6 * bins**2)
    assert network.box_deltas(result).shape == (2, 2, 4)
    if bins == 1:
        torch.testing.assert_close(result.parts, result.pooled)


def test_training_logits_differ_only_by_dropout():
    network, crops = crop_model().network, torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(network(crops), network.features(crops).class_logits)
    network.train()
    assert not torch.allclose(network(crops), network.features(crops).class_logits)


def test_unfitted_heads_give_zeros():
    network = RCNN(3, CONFIG.network).eval().requires_grad_(False)
    result = network.features(torch.randn(2, 3, 32, 32))
    assert network.log_odds(result, "svm").eq(0).all()
    assert network.box_deltas(result).eq(0).all()


def test_log_odds_are_finite():
    logits = torch.tensor([[-500.0, 500, 0], [500, -500, -500]])
    result = crop_model().network.log_odds(CropFeatures(logits, torch.zeros(2, 6), torch.zeros(2, 24)), "softmax")
    assert torch.isfinite(result).all()


def test_normalize():
    image = torch.tensor([120, 135, 20], dtype=torch.uint8).view(3, 1, 1)
    assert crop_model().network.normalize(image).flatten().tolist() == pytest.approx([0, 0.5, -2])


def test_the_heads_travel_in_the_model_file(tmp_path):
    model = crop_model(config=dataclasses.replace(CONFIG, head="svm", calibration=Calibration(svm=(2.0, -1.0))))
    save_model(model, tmp_path / "m.safetensors")
    again = load_model(tmp_path / "m.safetensors")
    assert again.config == model.config
    assert again.kind == "crops"
    for name, value in model.network.state_dict().items():
        torch.testing.assert_close(again.network.state_dict()[name], value.half().float(), rtol=0, atol=0)
    assert {"svm_weight", "svm_bias", "box_weight", "box_bias"} <= again.network.state_dict().keys()


def test_scorer_features_are_those_of_the_crops(scorer: RCNNScorer):
    image = noise()
    normalized = scorer.network.normalize(torch.from_numpy(image.pixels).permute(2, 0, 1))
    crops = warp_windows(normalized, crop_windows(BOXES, CONFIG.crops), CONFIG.crops.size)
    assert_same(scorer.features(image, BOXES), scorer.network.features(crops))


def test_equal_windows_are_computed_once(scorer: RCNNScorer, crop_batches: list[int]):
    nearly = BOXES[[0, 2]] + 0.01  # the same whole pixels
    result = scorer.features(noise(), torch.cat((BOXES, BOXES[:2], nearly)))
    assert sum(crop_batches) == len(BOXES)
    assert torch.equal(result.pooled[4:6], result.pooled[:2])
    assert torch.equal(result.pooled[6:], result.pooled[[0, 2]])
    assert not torch.allclose(result.pooled[0], result.pooled[1])


@pytest.mark.parametrize("size", [1, 3, 4])
def test_batches_give_the_same(scorer: RCNNScorer, crop_batches: list[int], size: int, monkeypatch: pytest.MonkeyPatch):
    expected = scorer.features(noise(), BOXES)
    crop_batches.clear()
    monkeypatch.setattr(crop_scorer, "batch_size", lambda crops, device: size)
    assert_same(scorer.features(noise(), BOXES), expected)
    assert max(crop_batches) == size
    assert sum(crop_batches) == len(BOXES)


def test_boxes_are_independent(scorer: RCNNScorer):
    together = scorer.encode(noise()).score(BOXES)
    for index in range(len(BOXES)):
        alone = scorer.encode(noise()).score(BOXES[index : index + 1])
        torch.testing.assert_close(alone.scores[0], together.scores[index])
        torch.testing.assert_close(alone.box_deltas[0], together.box_deltas[index])


def test_no_boxes(scorer: RCNNScorer):
    result = scorer.encode(noise()).score(torch.zeros(0, 4))
    assert result.scores.shape == (0, 2)
    assert result.box_deltas.shape == (0, 2, 4)
    model = crop_model()
    assert (
        len(DetectionPipeline(model, "cpu").detect_proposals(noise(), proposals(torch.zeros(0, 4), (60, 45)), 0.0)) == 0
    )


@pytest.mark.parametrize(
    ("size", "longest", "reduced"),
    [
        ((200, 100), 50, (50, 25)),
        ((100, 200), 50, (25, 50)),
        ((201, 99), 50, (50, 25)),
        ((200, 100), 200, (200, 100)),
        ((30, 20), 200, (30, 20)),  # never enlarged
        ((600, 1), 60, (60, 1)),
    ],
)
def test_reduce_large(size: tuple[int, int], longest: int, reduced: tuple[int, int]):
    image = noise(*size)
    pixels, factors = reduce_large(image.pixels, longest)
    assert pixels.shape == (reduced[1], reduced[0], 3)
    assert factors.tolist() == pytest.approx([reduced[0] / size[0], reduced[1] / size[1]] * 2)
    assert abs(pixels.mean() - image.pixels.mean()) < 3
    if size == reduced:
        assert np.array_equal(pixels, image.pixels)


def test_boxes_follow_a_reduced_image(scorer: RCNNScorer):
    image = noise(120, 90)
    small = Image(cv2.resize(image.pixels, (60, 45), interpolation=cv2.INTER_AREA), "small")
    expected = scorer.features(small, BOXES)
    scorer.config = dataclasses.replace(CONFIG, crops=dataclasses.replace(CONFIG.crops, longest_side=60))
    assert_same(scorer.features(image, BOXES * 2), expected)


@pytest.mark.parametrize("head", ["softmax", "svm"])
def test_score_is_the_calibrated_head(head: str):
    config = dataclasses.replace(CONFIG, head=head, calibration=Calibration(softmax=(0.5, 1.0), svm=(2.0, -0.3)))
    scorer = make_scorer(crop_model(config=config), CPU, torch.float32)
    log_odds = scorer.network.log_odds(scorer.features(noise(), BOXES), head)
    slope, shift = {"softmax": (0.5, 1.0), "svm": (2.0, -0.3)}[head]
    result = scorer.encode(noise()).score(BOXES)
    torch.testing.assert_close(result.scores, 1 / (1 + (-(slope * log_odds + shift)).exp()))


def test_both_heads_are_the_mean_of_their_calibrated_scores():
    calibration = Calibration(softmax=(0.5, 1.0), svm=(2.0, -0.3))
    scores = {
        head: make_scorer(
            crop_model(config=dataclasses.replace(CONFIG, head=head, calibration=calibration)), CPU, torch.float32
        )
        .encode(noise())
        .score(BOXES)
        .scores
        for head in ("softmax", "svm", "both")
    }
    torch.testing.assert_close(scores["both"], (scores["softmax"] + scores["svm"]) / 2)


@pytest.mark.parametrize("regression", [False, True])
def test_box_regression_is_optional(regression: bool):
    scorer = make_scorer(crop_model(config=dataclasses.replace(CONFIG, box_regression=regression)), CPU, torch.float32)
    result = scorer.encode(noise()).score(BOXES)
    if regression:
        torch.testing.assert_close(result.box_deltas, scorer.network.box_deltas(scorer.features(noise(), BOXES)))
    else:
        assert result.box_deltas is None


def test_the_given_model_does_not_change():
    model = crop_model()
    scorer = make_scorer(model, CPU, torch.bfloat16)
    assert scorer.network.backbone.conv.weight.dtype == torch.bfloat16
    assert model.network.backbone.conv.weight.dtype == torch.float32
    scorer.network.svm_bias.fill_(9)
    assert not model.network.svm_bias.eq(9).any()


def test_number_format_changes_scores_only_a_little():
    formats = (torch.float32, torch.bfloat16)
    exact, coarse = (make_scorer(crop_model(), CPU, dtype).encode(noise()).score(BOXES) for dtype in formats)
    assert coarse.scores.dtype == torch.float32
    torch.testing.assert_close(coarse.scores, exact.scores, rtol=0, atol=0.02)


@pytest.mark.parametrize(("crops_that_fit", "expected"), [(0, 1), (0.9, 1), (1.1, 1), (5.5, 5), (16, 16), (1000, 16)])
def test_batch_on_a_cpu(crops_that_fit: float, expected: int, monkeypatch: pytest.MonkeyPatch):
    one = 224 * 224 * crop_scorer._BYTES_PER_PIXEL
    monkeypatch.setattr(crop_scorer, "_free_memory", lambda: int(8 * one * crops_that_fit))
    assert batch_size(CropConfig(), CPU) == expected


@pytest.mark.parametrize(("crops_that_fit", "expected"), [(0, 1), (100.5, 100), (5000, 256)])
def test_batch_on_a_gpu(crops_that_fit: float, expected: int, monkeypatch: pytest.MonkeyPatch):
    one = 224 * 224 * crop_scorer._BYTES_PER_PIXEL
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (int(8 * one * crops_that_fit), 1 << 50))
    assert batch_size(CropConfig(), torch.device("cuda")) == expected


def test_free_memory_is_measured_or_guessed(monkeypatch: pytest.MonkeyPatch):
    assert crop_scorer._free_memory() > 1 << 20

    def absent(path: Path, **options: str) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", absent)
    assert crop_scorer._free_memory() == 1 << 30


@pytest.mark.parametrize("make", [lambda m: make_scorer(m, CPU, torch.float32), lambda m: DetectionPipeline(m, "cpu")])
def test_a_model_for_classification_is_refused(make: Callable[[Model], object]):
    with pytest.raises(InputError, match="a model for classification cannot detect"):
        make(Model(nn.Linear(1, 1), ClassifierConfig(), ("cat", "dog"), {}))


def test_a_configuration_of_the_other_kind_is_refused():
    with pytest.raises(InputError, match="a model for regions cannot detect"):
        make_scorer(dataclasses.replace(crop_model(), config=ModelConfig()), CPU, torch.float32)


@pytest.mark.parametrize("classes", [("cat", "horse"), ("dog", "cat"), ("cat", "dog", "horse")])
def test_an_ensemble_of_different_classes_is_refused(classes: tuple[str, ...]):
    with pytest.raises(InputError, match=f"cat, dog and {', '.join(classes)}"):
        DetectionPipeline([crop_model(), crop_model(classes=classes)], "cpu")


def test_an_ensemble_of_none_is_refused():
    with pytest.raises(InputError, match="at least one model"):
        DetectionPipeline([], "cpu")


@pytest.mark.parametrize("moved", [False, True])
def test_an_ensemble_is_the_mean_of_its_models(moved: bool):
    """Of different crops and heads: each model goes by its own configuration."""
    second = RCNNConfig(CropConfig(size=40, context=0), network=CropNetworkConfig(box_bins=1), head="svm")
    models = [crop_model(0), crop_model(1, second)]
    image, boxes = noise(), BOXES[:3]
    detector = DetectionPipeline(models, "cpu", postprocess=PostprocessConfig(nms_iou=1.0), box_regression=moved)
    detector.scorers = tuple(make_scorer(model, CPU, torch.float32) for model in models)
    result = detector.detect_proposals(image, proposals(boxes, (60, 45)), 0.0)

    members = [scorer.encode(image).score(boxes) for scorer in detector.scorers]
    assert not torch.allclose(members[0].scores, members[1].scores, atol=0.01)
    scores = (members[0].scores + members[1].scores) / 2
    box_deltas = (members[0].box_deltas + members[1].box_deltas) / 2
    expected = []
    for label in range(2):
        placed = decode_boxes(boxes, box_deltas[:, label]) if moved else boxes
        low, high = placed[:, :2].clamp(min=0), torch.minimum(placed[:, 2:], torch.tensor([60.0, 45]))
        for score, box in zip(scores[:, label].tolist(), torch.cat((low, high), dim=1).tolist(), strict=True):
            if box[2] - box[0] >= 1 and box[3] - box[1] >= 1:
                expected.append((score, label, box))
    expected.sort(key=lambda one: -one[0])
    assert result.labels.tolist() == [label for _, label, _ in expected]
    assert result.scores.tolist() == pytest.approx([score for score, _, _ in expected])
    np.testing.assert_allclose(result.boxes, [box for _, _, box in expected], rtol=1e-4, atol=1e-3)

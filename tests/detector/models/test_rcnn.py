"""R-CNN's network and scorers, on a backbone of one convolution."""

import dataclasses

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from detector.config import Calibration, ClassifierConfig, CropConfig, CropNetworkConfig, RCNNConfig
from detector.errors import InputError
from detector.inference import rcnn_scorer as crop_scorer
from detector.inference.pipeline import DetectionPipeline
from detector.inference.rcnn_scorer import RCNNScorer, batch_size, reduce_large
from detector.inference.rfcn_scorer import make_scorer
from detector.models.rcnn import CropFeatures
from detector.models.weights import Model, load_model, save_model
from detector.ops.crops import crop_windows, warp_windows
from detector.structures.image import Image
from tests.detector.inference.random_models import RCNN_CONFIG, noise, proposals_of, rcnn_model

CPU = torch.device("cpu")
BOXES = torch.tensor([[5.0, 4, 40, 30], [0, 0, 60, 45], [20, 10, 33, 44], [-8, 20, 15, 60]])

pytestmark = pytest.mark.usefixtures("tiny_backbone")


@pytest.fixture
def scorer() -> RCNNScorer:
    return make_scorer(rcnn_model(), CPU, torch.float32)


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
    network = rcnn_model().network
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


def test_training_logits_differ_only_by_dropout():
    network, crops = rcnn_model().network, torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(network(crops), network.features(crops).class_logits)
    network.train()
    assert not torch.allclose(network(crops), network.features(crops).class_logits)


def test_the_heads_travel_in_the_model_file(tmp_path):
    model = rcnn_model(config=dataclasses.replace(RCNN_CONFIG, head="svm", calibration=Calibration(svm=(2.0, -1.0))))
    save_model(model, tmp_path / "m.safetensors")
    again = load_model(tmp_path / "m.safetensors")
    assert again.config == model.config
    assert again.kind == "crops"
    for name, value in model.network.state_dict().items():
        torch.testing.assert_close(again.network.state_dict()[name], value.half().float(), rtol=0, atol=0)
    assert {"svm_weight", "svm_bias", "box_weight", "box_bias"} <= again.network.state_dict().keys()


def test_scorer_features_are_those_of_the_crops(scorer: RCNNScorer):
    image = noise((60, 45), 1)
    normalized = scorer.network.normalize(torch.from_numpy(image.pixels).permute(2, 0, 1))
    crops = warp_windows(normalized, crop_windows(BOXES, RCNN_CONFIG.crops), RCNN_CONFIG.crops.size)
    assert_same(scorer.features(image, BOXES), scorer.network.features(crops))


def test_equal_windows_are_computed_once(scorer: RCNNScorer, crop_batches: list[int]):
    nearly = BOXES[[0, 2]] + 0.01  # the same whole pixels
    result = scorer.features(noise((60, 45), 1), torch.cat((BOXES, BOXES[:2], nearly)))
    assert sum(crop_batches) == len(BOXES)
    assert torch.equal(result.pooled[4:6], result.pooled[:2])
    assert torch.equal(result.pooled[6:], result.pooled[[0, 2]])
    assert not torch.allclose(result.pooled[0], result.pooled[1])


@pytest.mark.parametrize("size", [1, 3, 4])
def test_batches_give_the_same(scorer: RCNNScorer, crop_batches: list[int], size: int, monkeypatch: pytest.MonkeyPatch):
    expected = scorer.features(noise((60, 45), 1), BOXES)
    crop_batches.clear()
    monkeypatch.setattr(crop_scorer, "batch_size", lambda crops, device: size)
    assert_same(scorer.features(noise((60, 45), 1), BOXES), expected)
    assert max(crop_batches) == size
    assert sum(crop_batches) == len(BOXES)


@pytest.mark.parametrize(
    ("size", "longest", "reduced"),
    [((201, 99), 50, (50, 25)), ((30, 20), 200, (30, 20)), ((600, 1), 60, (60, 1))],  # never enlarged
)
def test_reduce_large(size: tuple[int, int], longest: int, reduced: tuple[int, int]):
    pixels, factors = reduce_large(noise(size).pixels, longest)
    assert pixels.shape == (reduced[1], reduced[0], 3)
    assert factors.tolist() == pytest.approx([reduced[0] / size[0], reduced[1] / size[1]] * 2)


def test_boxes_follow_a_reduced_image(scorer: RCNNScorer):
    image = noise((120, 90), 1)
    small = Image(cv2.resize(image.pixels, (60, 45), interpolation=cv2.INTER_AREA), "small")
    expected = scorer.features(small, BOXES)
    scorer.config = dataclasses.replace(RCNN_CONFIG, crops=dataclasses.replace(RCNN_CONFIG.crops, longest_side=60))
    assert_same(scorer.features(image, BOXES * 2), expected)


@pytest.mark.parametrize(("crops_that_fit", "cpu", "gpu"), [(0, 1, 1), (5.5, 5, 5), (100.5, 16, 100), (5000, 16, 256)])
def test_crops_at_once(crops_that_fit: float, cpu: int, gpu: int, monkeypatch: pytest.MonkeyPatch):
    assert crop_scorer._free_memory() > 1 << 20
    free = int(8 * 224 * 224 * crop_scorer._BYTES_PER_PIXEL * crops_that_fit)
    monkeypatch.setattr(crop_scorer, "_free_memory", lambda: free)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 1 << 50))
    assert (batch_size(224, CPU), batch_size(224, torch.device("cuda"))) == (cpu, gpu)


def test_a_model_for_classification_is_refused():
    with pytest.raises(InputError, match="a model for classification cannot detect"):
        DetectionPipeline(Model(nn.Linear(1, 1), ClassifierConfig(), ("cat", "dog"), {}), "cpu")


def test_an_ensemble_of_different_classes_is_refused():
    with pytest.raises(InputError, match="cat, dog and dog, cat"):
        DetectionPipeline([rcnn_model(), rcnn_model(classes=("dog", "cat"))], "cpu")


def test_both_heads_are_the_mean_of_their_calibrated_scores():
    def scores(head: str) -> torch.Tensor:
        calibration = Calibration(softmax=(0.5, 1.0), svm=(2.0, -0.3))
        model = rcnn_model(config=dataclasses.replace(RCNN_CONFIG, head=head, calibration=calibration))
        return make_scorer(model, CPU, torch.float32).encode(noise((60, 45), 1)).score(BOXES).scores

    scorer = make_scorer(rcnn_model(), CPU, torch.float32)
    log_odds = scorer.network.log_odds(scorer.features(noise((60, 45), 1), BOXES), "svm")
    torch.testing.assert_close(scores("svm"), (2.0 * log_odds - 0.3).sigmoid())
    torch.testing.assert_close(scores("both"), (scores("softmax") + scores("svm")) / 2)


@pytest.mark.parametrize("count", [0, 3])
@pytest.mark.parametrize("moved", [False, True])
def test_an_ensemble_is_the_mean_of_its_models(moved: bool, count: int):
    """Of different crops and heads: each model goes by its own configuration."""
    second = RCNNConfig(CropConfig(size=40, context=0), network=CropNetworkConfig(box_bins=1), head="svm")
    models, image = [rcnn_model(0), rcnn_model(1, second)], noise((60, 45), 1)
    detector = DetectionPipeline(models, "cpu", box_regression=moved, precision="float32")
    features = detector.encode(image)
    found = detector.score(features, proposals_of(BOXES[:count].numpy(), image.pixels))
    first, second = (one.score(BOXES[:count]) for one in features)
    torch.testing.assert_close(found.scores, (first.scores + second.scores) / 2)
    if moved:
        torch.testing.assert_close(found.box_deltas, (first.box_deltas + second.box_deltas) / 2)
    else:
        assert found.box_deltas is None

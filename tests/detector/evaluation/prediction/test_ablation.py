"""Ablations of an R-CNN whose heads are set by hand, on two halves of a drawn image."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from detector.config import CropConfig, CropNetworkConfig, ModelConfig, NetworkConfig, RCNNConfig
from detector.data.voc import VOCDataset
from detector.errors import InputError
from detector.evaluation.prediction.ablation import ablate_dataset
from detector.inference.pipeline import DetectionPipeline
from detector.inference.proposers import SharedMultiBox, first_with_multibox
from detector.inference.rcnn_scorer import RCNNScorer
from detector.models.rcnn import RCNN
from detector.models.rfcn import RFCN
from detector.models.weights import Model
from detector.structures.image import read_image
from proposals import Proposals
from proposals.multibox.config import MultiBoxConfig

CLASSES = ("cat", "dog")

pytestmark = pytest.mark.usefixtures("tiny_backbone")


class Halves:
    """Proposes the left and the right half."""

    fingerprint = "halves"

    def __call__(self, image: np.ndarray) -> Proposals:
        height, width = image.shape[:2]
        boxes = np.array([[0, 0, width // 2, height], [width // 2, 0, width, height]], np.float32)
        return Proposals(boxes, np.float32([2, 1]), np.int16([0, 0]), ("halves",), (width, height))


@pytest.fixture
def dataset(make_voc: Callable[..., Path]) -> VOCDataset:
    """Two images: a cat fills the left half, which is red; the right one is blue."""
    root = make_voc({name: [("cat", (1, 1, 50, 80), 0)] for name in ("a", "b")})
    pixels = np.zeros((80, 100, 3), np.uint8)
    pixels[:, :50], pixels[:, 50:] = (220, 30, 30), (30, 30, 220)
    for name in ("a", "b"):
        Image.fromarray(pixels).save(root / f"JPEGImages/{name}.jpg", quality=95)
    return VOCDataset(root, "val", CLASSES)


def model(**changes: object) -> Model:
    """SVMs that take red for a cat, a softmax that scores blue higher, boxes that move by half their width."""
    config = RCNNConfig(CropConfig(size=32, context=0), network=CropNetworkConfig(box_bins=1), **changes)
    network = RCNN(2, config.network).eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.zero_()
    network.backbone.conv.weight[0, 0] = network.backbone.conv.weight[1, 2] = 1 / 64  # redness, blueness
    network.svm_weight[0, 0], network.svm_bias[:] = 4, torch.tensor([-2.0, -5])
    network.classifier.weight[1, 1], network.classifier.bias[2] = 2, -10
    network.box_bias[0] = 5  # of a tenth of the width
    return Model(network, config, CLASSES, {})


@pytest.mark.parametrize("settings", [{}, {"head": "svm", "box_regression": False}])
def test_every_combination_of_heads(dataset: VOCDataset, settings: dict):
    """What the model is set to makes no difference."""
    detector = DetectionPipeline(model(**settings), "cpu", Halves())
    results = ablate_dataset(detector, dataset)
    assert {name: result.mean_ap for name, result in results.items()} == pytest.approx(
        {
            **{"softmax": 0.5, "softmax + box regression": 0, "svm": 1, "svm + box regression": 0},
            **{"both": 1, "both + box regression": 0},
        }
    )
    assert detector.scorers[0].config == model(**settings).config  # unchanged
    assert {result.metric for result in results.values()} == {"voc07"}


def test_an_ensemble_is_evaluated_part_by_part(dataset: VOCDataset):
    """The second model, whose boxes stay, scores the cat higher than the first of the other half."""
    detector = DetectionPipeline([model(), model(head="svm", box_regression=False)], "cpu", Halves())
    results = {name: result.mean_ap for name, result in ablate_dataset(detector, dataset).items()}
    assert len(results) == 6 + 3
    assert results["model 2"] == results["average"] == 1
    assert results["average + box regression"] == 0  # the box_deltas of those that have any


def test_boxes_of_a_models_multibox_are_evaluated(dataset: VOCDataset):
    """An ensemble may take its boxes from the backbone of its second model."""
    head = MultiBoxConfig(grids=(2,), shapes=1, channels=8)
    network = RFCN(2, NetworkConfig(bins=1, multibox=head)).eval()
    assert network.multibox is not None
    network.multibox.set_priors(torch.tensor([[0, 0, 0.5, 1], [0.5, 0, 1, 1], [0, 0, 1, 0.5], [0, 0.5, 1, 1]]))
    detector, seen = DetectionPipeline([model(), Model(network, ModelConfig(), CLASSES, {})], "cpu", Halves()), []
    detector.proposer = SharedMultiBox(first_with_multibox(detector.scorers), 4)
    crops = detector.scorers[0]
    assert isinstance(crops, RCNNScorer)
    crops.network.backbone.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    assert len(ablate_dataset(detector, dataset)) == 6 + 3
    # Each crop passes the network once.
    images = [read_image(dataset.image_path(index)) for index in range(2)]
    assert sum(seen) == sum(len(detector.propose(image, detector.encode(image))) for image in images) > 0


def test_a_model_without_crops_is_refused(dataset: VOCDataset):
    network = RFCN(2, NetworkConfig(bins=1)).eval()
    detector = DetectionPipeline(Model(network, ModelConfig(), CLASSES, {}), "cpu", Halves())
    with pytest.raises(InputError, match="R-CNN"):
        ablate_dataset(detector, dataset)


def test_an_image_of_another_size_than_annotated_is_refused(dataset: VOCDataset):
    Image.new("RGB", (90, 80)).save(dataset.root / "JPEGImages/b.jpg")
    with pytest.raises(InputError, match="90x80 pixels, but its annotation says 100x80"):
        ablate_dataset(DetectionPipeline(model(), "cpu", Halves()), dataset)

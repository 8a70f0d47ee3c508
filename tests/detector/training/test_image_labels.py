"""The losses of image labels, and a network that finds objects by them."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from detector.config import NetworkConfig
from detector.models.rfcn import RFCN
from detector.structures.rois import RoIs
from detector.training.image_labels import REFINEMENTS, ImageLabelRFCN, image_label_losses, plain
from tests.detector.export.small_models import SmallBackbone

BOXES = torch.tensor([[0.0, 0, 32, 32], [2, 0, 32, 32], [32, 32, 64, 64], [0, 32, 32, 64]])


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> ImageLabelRFCN:
    torch.manual_seed(0)
    monkeypatch.setattr("detector.models.rfcn.make_backbone", lambda name, dense: SmallBackbone())
    network = ImageLabelRFCN(2, NetworkConfig(bins=3)).eval()
    for layer in (network.streams, network.score_conv):
        torch.nn.init.normal_(layer.weight, std=0.5)
    return network


def losses(network: ImageLabelRFCN, labels: list[list[int]], counts: tuple[int, ...]) -> dict[str, float]:
    torch.manual_seed(1)
    features = torch.randn(len(counts), 12, 4, 4)
    regions = RoIs.of_images(list(BOXES.split(list(counts))))
    with torch.no_grad():
        maps = network.score_maps(features)
        found = image_label_losses(network, features, maps, regions, counts, torch.tensor(labels))
    return {name: float(value) for name, value in found.items()}


def test_losses_by_hand(network: ImageLabelRFCN):
    """One photo of four regions, of which the first two overlap, that shows the second class."""
    torch.manual_seed(1)
    features = torch.randn(1, 12, 4, 4)
    rois = RoIs.of_images([BOXES])
    pooled = network.pool(network.streams, features, rois).detach()
    logits = [pooled[:, 4:7], pooled[:, 7:10], network.classify(network.score_maps(features), rois).class_logits]
    scores = pooled[:, :2].softmax(dim=1) * pooled[:, 2:4].softmax(dim=0)
    photo = scores.sum(dim=0)
    image = -(1 - photo[0]).log() - photo[1].log()
    classes, trust = 0.0, photo[1]
    for refinement in logits:
        best = int(scores[:, 1].argmax())
        inside = torch.tensor([i == best or {i, best} == {0, 1} for i in range(4)])
        errors = trust * F.cross_entropy(refinement, torch.where(inside, 2, 0), reduction="none")
        classes += errors[inside].mean() + errors[~inside].mean()
        scores = refinement.softmax(dim=1)[:, 1:]
        trust = scores[:, 1].max()
    assert len(logits) == REFINEMENTS
    found = losses(network, [[0, 1]], (4,))
    assert found["image"] == pytest.approx(float(image.detach()), rel=1e-5)
    assert found["classes"] == pytest.approx(float(classes.detach()), rel=1e-5)
    assert found["box_deltas"] > 0


def test_photos_are_averaged_and_unknown_classes_do_not_count(network: ImageLabelRFCN):
    both = losses(network, [[0, 1], [1, 0]], (3, 1))
    assert np.isfinite(list(both.values())).all()
    nothing = losses(network, [[-1, -1]], (4,))
    assert nothing["image"] == nothing["box_deltas"] == 0 < nothing["classes"]  # all regions count as background
    assert losses(network, [[0, 1]], (4,))["image"] > losses(network, [[-1, 1]], (4,))["image"] > 0


def test_objectness_draws_the_streams_to_objects(network: ImageLabelRFCN):
    before = losses(network, [[0, 1]], (4,))
    network.remember_objectness()
    assert losses(network, [[0, 1]], (4,)) != before
    features = torch.randn(1, 12, 4, 4)
    rois = RoIs.of_images([BOXES])
    background = network.classify(network.score_maps(features), rois).class_logits.softmax(dim=1)[:, :1]
    torch.testing.assert_close(network.log_objectness(features, rois).exp(), 1 - background)


def test_the_result_is_a_plain_network(network: ImageLabelRFCN):
    result = plain(network)
    assert type(result) is RFCN
    images = torch.rand(1, 3, 64, 64)
    rois = RoIs.of_images([BOXES])
    torch.testing.assert_close(result.eval()(images, rois).class_logits, network(images, rois).class_logits)
    assert plain(result) is result

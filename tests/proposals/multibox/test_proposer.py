import numpy as np
import pytest
import torch

from proposals.multibox.config import MultiBoxConfig
from proposals.multibox.network import MultiBox
from proposals.multibox.proposer import MultiBoxProposer, to_proposals
from tests.proposals.multibox.test_network import Tiny


@pytest.fixture
def proposer() -> MultiBoxProposer:
    torch.manual_seed(0)
    network = MultiBox(Tiny(), MultiBoxConfig(grids=(4, 2, 1), shapes=3, channels=4)).eval()
    corners = torch.rand(61, 2) * 0.5
    network.head.set_priors(torch.cat((corners, corners + 0.05 + 0.4 * torch.rand(61, 2)), dim=1))
    for layer in network.head.predict:
        torch.nn.init.normal_(layer.weight, std=0.5)  # type: ignore[arg-type]
    return MultiBoxProposer(network, 64, 20)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


def test_boxes_are_in_pixels_best_first():
    boxes = torch.tensor([[0.1, 0.1, 0.5, 0.5], [-0.2, 0.5, 0.3, 1.4], [0.7, 0.1, 0.9, 0.3]])
    proposals = to_proposals(boxes, torch.tensor([0.0, 2.0, -1.0]), (200, 100), 0.7, 10)
    np.testing.assert_allclose(proposals.boxes, [[0, 50, 60, 100], [20, 10, 100, 50], [140, 10, 180, 30]], atol=1e-4)
    np.testing.assert_allclose(proposals.scores, torch.tensor([2.0, 0.0, -1.0]).sigmoid())
    assert proposals.source_names == ("multibox",)
    assert proposals.image_size == (200, 100)


@pytest.mark.parametrize(("nms_iou", "limit", "count"), [(0.7, 10, 1), (0.99, 10, 2), (0.99, 1, 1)])
def test_overlapping_and_tiny_boxes_are_dropped(nms_iou: float, limit: int, count: int):
    boxes = torch.tensor([[0.1, 0.1, 0.5, 0.5], [0.1, 0.1, 0.5, 0.51], [1.1, 0.1, 1.3, 0.5], [0.2, 0.2, 0.202, 0.9]])
    proposals = to_proposals(boxes, torch.tensor([0.0, 1.0, 5.0, 5.0]), (100, 100), nms_iou, limit)
    assert proposals.boxes[0].tolist() == pytest.approx([10, 10, 50, 51])
    assert len(proposals) == count


@pytest.mark.parametrize("size", [(30, 50), (1, 1), (200, 3), (64, 64)])
def test_images_of_any_size(proposer: MultiBoxProposer, size: tuple[int, int]):
    proposals = proposer(noise(*size))
    assert proposals.image_size == size[::-1]
    assert len(proposals) <= 20


def test_batches_equal_single_images(proposer: MultiBoxProposer):
    images = [noise(60, 90, 1), noise(64, 64, 2), noise(33, 20, 3)]
    for batched, image in zip(proposer.propose(images), images, strict=True):
        single = proposer(image)
        np.testing.assert_allclose(batched.boxes, single.boxes, atol=1e-3)
        np.testing.assert_allclose(batched.scores, single.scores, atol=1e-5)
    assert proposer.propose([]) == []


def test_fingerprint_depends_on_weights_and_settings(proposer: MultiBoxProposer):
    before = proposer.fingerprint
    assert MultiBoxProposer(proposer.network, 64, 20).fingerprint == before
    assert MultiBoxProposer(proposer.network, 96, 20).fingerprint != before
    assert MultiBoxProposer(proposer.network, 64, 21).fingerprint != before
    proposer.network.head.reduce.weight.data[0, 0] += 0.1
    assert proposer.fingerprint != before

import pytest
import torch
from torch import nn

from detector.config import NetworkConfig
from detector.models.rfcn import RFCN
from detector.structures.rois import RoIs


@pytest.fixture(scope="module")
def network() -> RFCN:
    torch.manual_seed(0)
    return RFCN(3, NetworkConfig(bins=3)).eval()


def rois(*boxes: tuple[float, float, float, float], image: int = 0) -> RoIs:
    return RoIs(torch.tensor(boxes), torch.full((len(boxes),), image))


@torch.inference_mode()
def test_shapes(network: RFCN):
    predictions = network(torch.rand(2, 3, 96, 128) * 255, rois((0, 0, 50, 60), (10, 5, 90, 90), image=1))
    assert predictions.class_logits.shape == (2, 4)
    assert predictions.box_deltas.shape == (2, 4)
    assert predictions.class_logits.dtype == torch.float32


@torch.inference_mode()
def test_regions_are_independent(network: RFCN):
    images = torch.rand(2, 3, 128, 128) * 255
    boxes = [(0.0, 0.0, 50.0, 60.0), (10.0, 5.0, 90.0, 90.0)]
    together = network(images, RoIs.of_images([torch.tensor(boxes), torch.tensor(boxes[:1])]))
    alone = network(images[1:], rois(boxes[0]))
    torch.testing.assert_close(together.class_logits[2:], alone.class_logits)
    assert not torch.allclose(together.class_logits[0], together.class_logits[1])


@torch.inference_mode()
def test_the_mean_color_is_normalized_to_zero(network: RFCN):
    """An image of the mean color gives the same features as zeros passed to the backbone."""
    mean = network.mean.expand(1, 3, 64, 64)
    torch.testing.assert_close(network.features(mean), network.backbone(torch.zeros(1, 3, 64, 64)))


def test_only_the_frozen_stem_has_no_gradient(network: RFCN):
    network.backbone.freeze_stem()
    predictions = network(torch.rand(1, 3, 96, 96) * 255, rois((0, 0, 50, 60)))
    (predictions.class_logits.square().sum() + predictions.box_deltas.square().sum()).backward()
    frozen = {name for name, p in network.named_parameters() if p.grad is None}
    convs = ("conv1", "conv2_reduce", "conv2")
    assert frozen == {f"backbone.{conv}.{kind}" for conv in convs for kind in ("weight", "bias")}
    network.zero_grad()


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (32, 1000)])
@torch.inference_mode()
def test_any_size_from_32_pixels(network: RFCN, size: tuple[int, int]):
    predictions = network(torch.zeros(1, 3, *size), rois((0, 0, size[1], size[0])))
    assert torch.isfinite(predictions.class_logits).all()


def test_every_convolution_has_a_bias(network: RFCN):
    convs = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert len(convs) == 3 + 9 * 6 + 1
    assert all(conv.bias is not None for conv in convs)


@pytest.mark.parametrize("delta_bins", [None, 4])
@torch.inference_mode()
def test_scores_and_box_deltas_are_means_over_their_own_bins(delta_bins: int | None):
    """Maps that are constant in space give the mean of a channel over its bins."""
    network = RFCN(3, NetworkConfig(bins=3, delta_bins=delta_bins)).eval()
    values = torch.randn(network.score_conv.out_channels)
    predictions = network.classify(values.expand(1, 9, 8, -1), rois((20, 15, 100, 90)))
    scores, box_deltas = network.split_maps(values, dim=0)
    assert scores.shape == (9, 4)
    assert box_deltas.shape == ((delta_bins or 3) ** 2, 4)
    torch.testing.assert_close(predictions.class_logits[0], scores.mean(dim=0))
    torch.testing.assert_close(predictions.box_deltas[0], box_deltas.mean(dim=0))
    assert torch.equal(network.join_maps(scores, box_deltas, dim=0), values)

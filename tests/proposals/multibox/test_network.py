import math
import re

import pytest
import torch
from torch import Tensor, nn

from proposals.multibox.config import MultiBoxConfig
from proposals.multibox.network import MultiBox, MultiBoxHead

FORMS = (
    MultiBoxConfig(form="global", priors=7, channels=4),
    MultiBoxConfig(grids=(4, 2, 1), shapes=3, channels=4),
    MultiBoxConfig(grids=(1,), channels=4, coordinates="corners"),
)


def make_head(config: MultiBoxConfig) -> MultiBoxHead:
    torch.manual_seed(0)
    head = MultiBoxHead(5, config)
    corners = torch.rand(config.boxes, 2) * 0.5
    head.set_priors(torch.cat((corners, corners + 0.1 + 0.4 * torch.rand(config.boxes, 2)), dim=1))
    return head


@pytest.mark.parametrize("config", FORMS)
@pytest.mark.parametrize("size", [(7, 7), (25, 34), (1, 1)])
def test_outputs_for_features_of_any_size(config: MultiBoxConfig, size: tuple[int, int]):
    outputs = make_head(config)(torch.randn(2, 5, *size))
    assert outputs.box_deltas.shape == (2, config.boxes, 4)
    assert outputs.logits.shape == (2, config.boxes)
    assert outputs.box_deltas.isfinite().all()
    assert outputs.logits.isfinite().all()


@pytest.mark.parametrize("config", FORMS)
def test_new_head_predicts_its_priors_with_low_confidence(config: MultiBoxConfig):
    head = make_head(config)
    outputs = head(torch.zeros(1, 5, 8, 8))  # all biases of hidden layers are zero
    torch.testing.assert_close(head.boxes(outputs.box_deltas)[0], head.priors, atol=1e-5, rtol=0)
    assert outputs.logits.sigmoid().allclose(torch.tensor(0.01), atol=1e-6)


def test_grid_cells_see_their_part_of_the_image():
    """A change in a corner of the features changes only the outputs of the cells there, in the order of the priors."""
    head = make_head(MultiBoxConfig(grids=(4, 2), shapes=3, channels=4))
    for layer in head.predict:
        nn.init.normal_(layer.weight)  # type: ignore[arg-type]
    base = torch.rand(1, 5, 24, 24)
    changed = base.clone()
    changed[:, :, :3, -3:] += 5  # top right
    moved = (head(changed).logits - head(base).logits)[0].abs() > 1e-4
    fine, coarse = moved[: 16 * 3].view(4, 4, 3), moved[16 * 3 :].view(2, 2, 3)
    assert fine[0, 3].all()
    assert coarse[0, 1].all()
    assert fine.sum() == coarse.sum() == 3


HALF = 0.2 * math.exp(0.04), 0.1 * math.exp(-0.02)


@pytest.mark.parametrize(
    ("coordinates", "expected"),
    [
        ("corners", (0.3, 0.2, 0.8, 0.3)),
        # The center (0.4, 0.3) moves by 0.1 * 0.1 of the width; the sides 0.4 and 0.2 change by exp(0.2 * delta).
        ("center_size", (0.404 - HALF[0], 0.3 - HALF[1], 0.404 + HALF[0], 0.3 + HALF[1])),
    ],
)
def test_boxes_by_hand(coordinates: str, expected: tuple[float, ...]):
    head = MultiBoxHead(5, MultiBoxConfig(form="global", priors=1, coordinates=coordinates))  # type: ignore
    head.set_priors(torch.tensor([[0.2, 0.2, 0.6, 0.4]]))
    assert head.boxes(torch.tensor([[[0.1, 0.0, 0.2, -0.1]]]))[0, 0].tolist() == pytest.approx(expected, abs=1e-6)


def test_priors_stay_float32_in_bfloat16():
    head = make_head(FORMS[1])
    before = head.priors.clone()
    head.to(torch.bfloat16)
    assert head.reduce.weight.dtype == torch.bfloat16
    assert torch.equal(head.priors, before)
    outputs = head(torch.randn(1, 5, 6, 6).bfloat16())
    assert outputs.box_deltas.dtype == outputs.logits.dtype == torch.float32


@pytest.mark.parametrize(
    ("priors", "message"),
    [(torch.rand(6, 4), r"\(7, 4\), not \(6, 4\)"), (torch.zeros(7, 4), "no area")],
)
def test_invalid_priors(priors: Tensor, message: str):
    with pytest.raises(ValueError, match=message):
        make_head(FORMS[0]).set_priors(priors)


@pytest.mark.parametrize(
    ("field", "value"),
    [("priors", 0), ("channels", 4097), ("grids", ()), ("grids", (4, 4)), ("grids", (0,)), ("nms_iou", 0.0)],
)
def test_invalid_configuration_names_the_field(field: str, value: object):
    with pytest.raises(ValueError, match=rf"^{field} must be .*, not {re.escape(str(value))}"):
        MultiBoxConfig(**{field: value})  # type: ignore[arg-type]


class Tiny(nn.Module):
    out_channels, mean, std = 5, (120.0, 110.0, 100.0), (60.0, 50.0, 40.0)

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 8, stride=8)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).relu()


def test_network_normalizes_images_and_runs_backbone_and_head():
    torch.manual_seed(0)
    network = MultiBox(Tiny(), FORMS[0])
    images = torch.randint(0, 255, (2, 3, 64, 48), dtype=torch.uint8)
    mean, std = (torch.tensor(color).view(3, 1, 1) for color in (Tiny.mean, Tiny.std))
    expected = network.head(network.backbone((images.float() - mean) / std))
    outputs = network(images)
    torch.testing.assert_close(outputs.box_deltas, expected.box_deltas)
    torch.testing.assert_close(outputs.logits, expected.logits)

import math

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


def head(config: MultiBoxConfig, seed: int = 0) -> MultiBoxHead:
    torch.manual_seed(seed)
    made = MultiBoxHead(5, config)
    corners = torch.rand(config.boxes, 2) * 0.5
    made.set_priors(torch.cat((corners, corners + 0.1 + 0.4 * torch.rand(config.boxes, 2)), dim=1))
    return made


@pytest.mark.parametrize("config", FORMS)
@pytest.mark.parametrize("size", [(7, 7), (13, 9), (25, 34), (2, 3), (1, 1)])
def test_as_many_boxes_as_priors_from_features_of_any_size(config: MultiBoxConfig, size: tuple[int, int]):
    found = head(config)(torch.randn(2, 5, *size))
    assert found.box_deltas.shape == (2, config.boxes, 4)
    assert found.logits.shape == (2, config.boxes)
    assert found.box_deltas.isfinite().all()
    assert found.logits.isfinite().all()


def test_a_new_head_gives_its_priors_with_little_confidence():
    for config in FORMS:
        made = head(config)
        found = made(torch.zeros(1, 5, 8, 8))  # all biases of hidden layers are zero
        torch.testing.assert_close(made.boxes(found.box_deltas)[0], made.priors, atol=1e-5, rtol=0)
        assert found.logits.sigmoid().allclose(torch.tensor(0.01), atol=1e-6)


def test_a_cell_of_a_grid_sees_its_own_part_of_the_image():
    """What changes in a corner of the features moves the boxes of the cells there, in the order of the priors."""
    config = MultiBoxConfig(grids=(4, 2), shapes=3, channels=4)
    made = head(config)
    for layer in made.predict:
        nn.init.normal_(layer.weight)  # type: ignore[arg-type]
    base = torch.rand(1, 5, 24, 24)
    changed = base.clone()
    changed[:, :, :3, -3:] += 5  # top right
    moved = (made(changed).logits - made(base).logits)[0].abs() > 1e-4
    fine, coarse = moved[: 16 * 3].view(4, 4, 3), moved[16 * 3 :].view(2, 2, 3)
    assert fine[0, 3].all()
    assert coarse[0, 1].all()
    assert fine.sum() == coarse.sum() == 3


def test_offsets_of_both_coordinates_by_hand():
    prior, offset = torch.tensor([[0.2, 0.2, 0.6, 0.4]]), torch.tensor([[[0.1, 0.0, 0.2, -0.1]]])
    for coordinates, expected in (
        ("corners", [0.3, 0.2, 0.8, 0.3]),
        # center (0.4, 0.3), sides 0.4 and 0.2: moved by 0.1 * 0.1 of the width, log sizes by 0.2 * 0.2 and 0.2 * -0.1
        (
            "center_size",
            [
                0.404 - 0.2 * math.exp(0.04),
                0.3 - 0.1 * math.exp(-0.02),
                0.404 + 0.2 * math.exp(0.04),
                0.3 + 0.1 * math.exp(-0.02),
            ],
        ),
    ):
        made = MultiBoxHead(5, MultiBoxConfig(form="global", priors=1, coordinates=coordinates))  # type: ignore
        made.set_priors(prior)
        assert made.boxes(offset)[0, 0].tolist() == pytest.approx(expected, abs=1e-6)


def test_priors_stay_exact_in_other_number_formats():
    made = head(FORMS[1])
    before = made.priors.clone()
    made.to(torch.bfloat16)
    assert torch.equal(made.priors, before)
    assert made.reduce.weight.dtype == torch.bfloat16
    found = made(torch.randn(1, 5, 6, 6).bfloat16())
    assert found.box_deltas.dtype == found.logits.dtype == torch.float32


@pytest.mark.parametrize(
    ("priors", "message"),
    [
        (torch.rand(6, 4), r"priors are \(6, 4\); this head needs \(7, 4\)"),
        (torch.zeros(7, 4), "a box has no area"),
    ],
)
def test_priors_of_another_head(priors: Tensor, message: str):
    with pytest.raises(ValueError, match=message):
        head(FORMS[0]).set_priors(priors)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"priors": 0}, "priors must be at least 1, not 0"),
        ({"shapes": 0}, "shapes must be at least 1"),
        ({"channels": -1}, "channels must be at least 1"),
        ({"grids": ()}, "grids must be different whole numbers"),
        ({"grids": (4, 4)}, "grids must be different"),
        ({"grids": (0,)}, "grids must be"),
        ({"nms_iou": 0.0}, "nms_iou must be above 0"),
    ],
)
def test_a_wrong_configuration(values: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        MultiBoxConfig(**values)  # type: ignore[arg-type]


class Tiny(nn.Module):
    out_channels, mean, std = 5, (120.0, 110.0, 100.0), (60.0, 50.0, 40.0)

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 8, stride=8)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).relu()


def test_a_network_of_its_own_is_its_head_on_its_backbone():
    torch.manual_seed(0)
    network = MultiBox(Tiny(), FORMS[0])
    images = torch.randint(0, 255, (2, 3, 64, 48), dtype=torch.uint8)
    colors = [torch.tensor(c).view(3, 1, 1) for c in (Tiny.mean, Tiny.std)]
    expected = network.head(network.backbone((images.float() - colors[0]) / colors[1]))
    found = network(images)
    torch.testing.assert_close(found.box_deltas, expected.box_deltas)
    torch.testing.assert_close(found.logits, expected.logits)

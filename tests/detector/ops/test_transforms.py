import numpy as np
import pytest
import torch

from detector.ops.transforms import SIDE_MULTIPLE, box_scale, input_size, normalize, to_input


@pytest.mark.parametrize(
    ("width", "height"), [(500, 400), (400, 500), (1000, 800), (200, 200), (2000, 500), (1, 4000), (1, 1)]
)
def test_short_side_400_unless_the_long_side_passes_1000(width: int, height: int):
    size = input_size(width, height, 400, 1000)
    exact = min(400 / min(width, height), 1000 / max(width, height))
    assert all(side % SIDE_MULTIPLE == 0 for side in size)
    for side, original in zip(size, (width, height), strict=True):
        assert abs(side - original * exact) <= SIDE_MULTIPLE / 2 or side == SIDE_MULTIPLE


def test_boxes_follow_the_image():
    pixels = np.zeros((100, 200, 3), dtype=np.uint8)
    pixels[20:60, 50:150] = 255
    tensor = to_input(pixels, (96, 64))
    box = np.array([50, 20, 150, 60]) * box_scale((200, 100), (96, 64))
    inside = tensor[0, round(box[1]) + 1 : round(box[3]) - 1, round(box[0]) + 1 : round(box[2]) - 1]
    assert (inside == 255).all()
    assert abs(float((tensor[0] > 127).sum()) - (box[2] - box[0]) * (box[3] - box[1])) < 100


def test_channels_come_first_also_of_a_flipped_view():
    pixels = np.arange(40 * 50 * 3, dtype=np.uint32).reshape(40, 50, 3).astype(np.uint8)
    tensor = to_input(pixels[:, ::-1], (50, 40))
    assert tensor.shape == (3, 40, 50)
    assert np.array_equal(tensor.permute(1, 2, 0).numpy(), pixels[:, ::-1])


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_normalize(layout: torch.memory_format) -> None:
    images = torch.rand(2, 3, 5, 7).contiguous(memory_format=layout) * 255
    mean, std = torch.tensor([1.0, 20.0, 100.0]).view(1, 3, 1, 1), torch.tensor([2.0, 3.0, 4.0]).view(1, 3, 1, 1)
    result = normalize(images, mean, std)
    torch.testing.assert_close(result, (images - mean) / std)
    assert result.is_contiguous(memory_format=torch.channels_last)

import numpy as np
import pytest

from detector.transforms import MIN_SIDE, resize_factor, to_input


@pytest.mark.parametrize(
    ("width", "height", "factor"),
    [(500, 400, 1.0), (400, 500, 1.0), (200, 200, 2.0), (2000, 500, 0.5), (1, 4000, 0.25)],
)
def test_short_side_400_unless_the_long_side_passes_1000(width: int, height: int, factor: float):
    assert resize_factor(width, height, 400, 1000) == pytest.approx(factor)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 4000), (4000, 1), (60, 40)])
def test_small_sides_are_padded_with_the_edge(width: int, height: int):
    pixels = np.full((height, width, 3), 77, dtype=np.uint8)
    tensor = to_input(pixels, resize_factor(width, height, 400, 1000))
    assert tensor.shape[0] == 3
    assert min(tensor.shape[1:]) >= MIN_SIDE
    assert (tensor == 77).all()


def test_channels_come_first_and_a_mirrored_view_is_taken():
    pixels = np.arange(40 * 50 * 3, dtype=np.uint32).reshape(40, 50, 3).astype(np.uint8)
    tensor = to_input(pixels[:, ::-1], 1.0)
    assert tensor.shape == (3, 40, 50)
    assert np.array_equal(tensor.permute(1, 2, 0).numpy(), pixels[:, ::-1])

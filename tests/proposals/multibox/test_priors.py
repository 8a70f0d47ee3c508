import numpy as np
import pytest

from proposals.multibox.config import MultiBoxConfig
from proposals.multibox.priors import make_priors


def scattered(centers: np.ndarray, each: int = 40) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.clip(np.repeat(centers, each, axis=0) + rng.normal(0, 0.005, (len(centers) * each, 4)), 0, 1)


PLANTED = np.array([[0.1, 0.1, 0.2, 0.25], [0.6, 0.2, 0.9, 0.5], [0.05, 0.1, 0.9, 0.95]])


def test_planted_clusters_are_found():
    found = make_priors(scattered(PLANTED), MultiBoxConfig(form="global", priors=3))
    np.testing.assert_allclose(found, PLANTED, atol=0.01)  # by growing area
    assert found.dtype == np.float32


def test_shapes_of_a_grid_are_planted_sizes_around_every_cell():
    sizes = np.array([[0.1, 0.15], [0.2, 0.12], [0.25, 0.3]])
    corners = np.random.default_rng(1).uniform(0, 0.6, (300, 2))
    boxes = np.concatenate((corners, corners + np.repeat(sizes, 100, axis=0)), axis=1)
    found = make_priors(boxes, MultiBoxConfig(grids=(5,), shapes=3)).reshape(5, 5, 3, 4)
    for row in range(5):
        for column in range(5):
            cell = found[row, column]
            np.testing.assert_allclose(cell[:, 2:] - cell[:, :2], sizes, atol=1e-6)
            middle = ((column + 0.5) / 5, (row + 0.5) / 5)
            np.testing.assert_allclose((cell[:, :2] + cell[:, 2:]) / 2, np.tile(middle, (3, 1)), atol=1e-6)


def test_a_fine_grid_has_small_shapes():
    sizes = np.random.default_rng(2).uniform(0.03, 0.9, (2000, 2))
    boxes = np.concatenate(((1 - sizes) / 2, (1 + sizes) / 2), axis=1)
    areas = []
    for grid in (8, 4, 2):
        found = make_priors(boxes, MultiBoxConfig(grids=(grid,)))
        areas.append((found[:, 2:] - found[:, :2]).prod(axis=1).mean())
    assert areas[0] * 2 < areas[1] < areas[2] / 2


def test_the_grid_of_one_cell_has_the_mean_box():
    found = make_priors(PLANTED, MultiBoxConfig(grids=(1,)))
    np.testing.assert_allclose(found, PLANTED.mean(axis=0, keepdims=True), atol=1e-6)


def test_the_papers_numbers():
    boxes = np.sort(np.random.default_rng(3).uniform(0, 1, (2000, 2, 2)), axis=1).reshape(-1, 4)
    paper = MultiBoxConfig(grids=(8, 6, 4, 3, 2, 1), shapes=11)
    assert paper.boxes == len(make_priors(boxes, paper)) == 1420
    assert MultiBoxConfig(form="global", priors=200).boxes == 200


def test_the_same_every_time():
    boxes = scattered(PLANTED, 100)
    config = MultiBoxConfig(form="global", priors=20)
    assert np.array_equal(make_priors(boxes, config), make_priors(boxes.copy(), config))
    assert not np.array_equal(make_priors(boxes, config), make_priors(boxes, config, seed=1))


def test_more_priors_than_boxes():
    with pytest.raises(ValueError, match="4 priors need as many different boxes, and there are 3; ask for fewer"):
        make_priors(np.repeat(PLANTED, 9, axis=0), MultiBoxConfig(form="global", priors=4))
    with pytest.raises(ValueError, match="11 priors need as many different sizes for the grid of 8"):
        make_priors(PLANTED, MultiBoxConfig())


@pytest.mark.parametrize("wrong", [[0.5, 0.1, 0.5, 0.2], [0.1, 0.1, 1.2, 0.2], [0.1, 0.1, np.nan, 0.2]])
def test_a_wrong_box_is_named(wrong: list[float]):
    boxes = np.array([*PLANTED.tolist(), wrong])
    with pytest.raises(ValueError, match=r"box 3 .* has no area or leaves the image"):
        make_priors(boxes, MultiBoxConfig(form="global", priors=2))

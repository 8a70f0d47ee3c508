import numpy as np
import pytest

from proposals.multibox.config import MultiBoxConfig
from proposals.multibox.priors import make_priors

CLUSTERS = np.array([[0.1, 0.1, 0.2, 0.25], [0.6, 0.2, 0.9, 0.5], [0.05, 0.1, 0.9, 0.95]])


def scattered(each: int = 40) -> np.ndarray:
    """Boxes scattered around the clusters."""
    noise = np.random.default_rng(0).normal(0, 0.005, (len(CLUSTERS) * each, 4))
    return np.clip(np.repeat(CLUSTERS, each, axis=0) + noise, 0, 1)


def test_global_priors_are_the_cluster_centers_sorted_by_area():
    priors = make_priors(scattered(), MultiBoxConfig(form="global", priors=3))
    np.testing.assert_allclose(priors, CLUSTERS, atol=0.01)
    assert priors.dtype == np.float32


def test_grid_priors_are_the_cluster_sizes_around_every_cell():
    sizes = np.array([[0.1, 0.15], [0.2, 0.12], [0.25, 0.3]])
    corners = np.random.default_rng(1).uniform(0, 0.6, (300, 2))
    boxes = np.concatenate((corners, corners + np.repeat(sizes, 100, axis=0)), axis=1)
    priors = make_priors(boxes, MultiBoxConfig(grids=(5,), shapes=3)).reshape(5, 5, 3, 4)
    np.testing.assert_allclose(priors[..., 2:] - priors[..., :2], np.broadcast_to(sizes, (5, 5, 3, 2)), atol=1e-6)
    y, x = (np.indices((5, 5)) + 0.5) / 5
    centers = np.broadcast_to(np.stack((x, y), axis=-1)[:, :, None], (5, 5, 3, 2))
    np.testing.assert_allclose((priors[..., :2] + priors[..., 2:]) / 2, centers, atol=1e-6)


def test_grid_of_one_cell_has_the_mean_box():
    priors = make_priors(CLUSTERS, MultiBoxConfig(grids=(1,)))
    np.testing.assert_allclose(priors, CLUSTERS.mean(axis=0, keepdims=True), atol=1e-6)


def test_number_of_priors_in_the_papers():
    boxes = np.sort(np.random.default_rng(3).uniform(0, 1, (2000, 2, 2)), axis=1).reshape(-1, 4)
    paper = MultiBoxConfig(grids=(8, 6, 4, 3, 2, 1), shapes=11)
    assert paper.boxes == len(make_priors(boxes, paper)) == 1420
    assert MultiBoxConfig(form="global", priors=200).boxes == 200


def test_priors_depend_only_on_boxes_and_seed():
    boxes, config = scattered(100), MultiBoxConfig(form="global", priors=20)
    assert np.array_equal(make_priors(boxes, config), make_priors(boxes.copy(), config))
    assert not np.array_equal(make_priors(boxes, config), make_priors(boxes, config, seed=1))


@pytest.mark.parametrize(
    ("boxes", "config", "message"),
    [
        (np.repeat(CLUSTERS, 9, axis=0), MultiBoxConfig(form="global", priors=4), "4 priors .* boxes, .* 3"),
        (CLUSTERS, MultiBoxConfig(), "11 priors .* sizes for the grid of 8"),
        *(
            (np.array([*CLUSTERS, box]), MultiBoxConfig(form="global", priors=2), r"box 3 \[")
            for box in ([0.5, 0.1, 0.5, 0.2], [0.1, 0.1, 1.2, 0.2], [0.1, 0.1, np.nan, 0.2])
        ),
    ],
)
def test_invalid_boxes(boxes: np.ndarray, config: MultiBoxConfig, message: str):
    with pytest.raises(ValueError, match=message):
        make_priors(boxes, config)

"""The report on a region of the cat against the network's outputs."""

import numpy as np
import pytest
import torch

from detector.errors import InputError
from detector.explorer import Explanation, explain
from detector.explorer.panels import show_region
from detector.explorer.regions import notable_regions, region_at, report_region, rfcn_features, score_maps
from detector.inference.pipeline import DetectionPipeline
from detector.models.weights import load_model
from detector.structures.image import Image
from detector.structures.rois import RoIs


@pytest.fixture(scope="module")
def best(explanation: Explanation) -> int:
    return notable_regions(explanation)[0]


def test_the_mean_bin_score_is_the_difference_of_the_logits(explanation: Explanation, best: int):
    features = rfcn_features(explanation)
    assert features is not None
    network = features.scorer.network
    with torch.inference_mode():
        regions = RoIs.of_images([explanation.boxes[[best]] * features.scale])
        logits = network.classify(features.maps.score_maps, regions).class_logits[0]
    for label in (best % 20, 7):
        report = report_region(explanation, best, label)
        assert report.bin_scores is not None
        assert report.bin_scores.shape == (network.bins, network.bins)
        assert report.bin_scores.mean() == pytest.approx(float(logits[label + 1] - logits[0]), abs=1e-3)


def test_each_bin_score_is_read_from_its_map_at_its_position(explanation: Explanation, best: int):
    features, maps = rfcn_features(explanation), score_maps(explanation, 7)
    bin_scores = report_region(explanation, best, 7).bin_scores
    assert features is not None
    assert maps is not None
    assert bin_scores is not None
    backbone = features.scorer.network.backbone
    x1, y1, x2, y2 = ((explanation.boxes[best] * features.scale - backbone.offset) / backbone.stride).tolist()
    fractions = (np.arange(7) + 0.5) / 7
    rows, columns = (
        np.clip(np.rint(low + (high - low) * fractions), 0, size - 1).astype(int)
        for low, high, size in ((y1, y2, maps.shape[2]), (x1, x2, maps.shape[3]))
    )
    at_centers = np.array([[maps[i, j, rows[i], columns[j]] for j in range(7)] for i in range(7)])
    assert np.abs(bin_scores - at_centers).mean() < 0.25 * np.abs(bin_scores - at_centers.T).mean()


def test_the_score_is_the_calibrated_probability(explanation: Explanation, best: int):
    for label in (7, 14):
        calibrated = report_region(explanation, best, label).calibrated
        assert calibrated is not None
        assert (calibrated.slope, calibrated.offset) == explanation.detector.postprocess.calibration
        p = calibrated.probability
        log_odds = calibrated.slope * np.log(p / (1 - p)) + calibrated.offset
        assert calibrated.score == pytest.approx(1 / (1 + np.exp(-log_odds)), abs=1e-3)
        assert calibrated.score == pytest.approx(float(explanation.scored.scores[best, label]), abs=1e-3)
        assert f"a score of {calibrated.score:.2f}." in show_region(explanation, best, label).text


def test_the_best_region_is_the_cat(explanation: Explanation, best: int):
    report = report_region(explanation, best)
    assert explanation.class_names[report.label] == "cat"
    assert report.scores[report.label] == explanation.scored.scores.max()
    np.testing.assert_array_equal(report.proposed, explanation.proposals.boxes[best])
    found = explanation.candidates(float(report.scores[report.label]))
    np.testing.assert_array_equal(report.moved, found.moved[0])
    assert report.crop is None


def test_the_region_at_a_point_contains_it_and_has_the_highest_score_there(explanation: Explanation):
    scores = explanation.scored.scores.numpy()
    for x, y in ((10.5, 10.5), (200, 150), (440, 290)):
        for label in (None, 7, 14):
            region = region_at(explanation, x, y, label)
            assert region is not None
            x1, y1, x2, y2 = explanation.proposals.boxes.T
            inside = (x1 <= x) & (x < x2) & (y1 <= y) & (y < y2)
            assert inside[region]
            values = scores.max(axis=1) if label is None else scores[:, label]
            assert values[region] == values[inside].max()
    assert region_at(explanation, 1000, 1000) is None


def test_a_score_map_for_each_bin(explanation: Explanation):
    maps = score_maps(explanation, 7)
    features = rfcn_features(explanation)
    assert maps is not None
    assert features is not None
    assert maps.shape == (7, 7, *features.maps.features.shape[2:])
    assert not np.allclose(maps, score_maps(explanation, 8))


@pytest.mark.parametrize(("region", "label"), [(-1, None), (10_000, None), (0, 20), (0, -2)])
def test_no_such_region_or_class(explanation: Explanation, region: int, label: int | None):
    with pytest.raises(InputError, match=r"give a (region|class) from 0 to"):
        report_region(explanation, region, label)


def test_an_rcnn_report_has_the_crop():
    crops = DetectionPipeline(load_model("voc07_crops"), "cpu", proposer=Halves())
    pixels = np.full((60, 90, 3), (40, 90, 160), np.uint8)
    pixels[:, 45:] = (200, 30, 30)
    found = explain(crops, Image(pixels, "halves"))
    assert found.groupings == ()
    assert score_maps(found, 0) is None
    left, right = (report_region(found, region) for region in (0, 1))
    assert left.bin_scores is None
    assert left.calibrated is None
    assert left.crop is not None
    assert right.crop is not None
    assert left.crop.shape == (224, 224, 3)
    np.testing.assert_allclose(left.crop[112, 112], (40, 90, 160), atol=2)
    np.testing.assert_allclose(right.crop[112, 112], (200, 30, 30), atol=2)


class Halves:
    """Proposes the left and the right half."""

    fingerprint = "halves"

    def __call__(self, image: np.ndarray):
        from proposals import Proposals

        height, width = image.shape[:2]
        boxes = np.array([[0, 0, width // 2, height], [width // 2, 0, width, height]], dtype=np.float32)
        return Proposals(boxes, np.float32([2, 1]), np.int16([0, 0]), ("halves",), (width, height))

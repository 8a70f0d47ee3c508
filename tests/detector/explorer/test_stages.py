"""The stages of the installed detector on the cat: they add up to its detections."""

from dataclasses import replace

import numpy as np
import pytest

from detector.errors import InputError
from detector.explorer import Explanation, explain
from detector.explorer.stages import STAGES
from detector.inference.pipeline import DetectionPipeline
from detector.structures.image import read_image
from proposals.config import COLOR_SPACES


@pytest.mark.parametrize("score", [0.05, 0.5, 0.999])
def test_detections_are_those_of_the_detector(
    explanation: Explanation, detector: DetectionPipeline, photos, score: float
):
    found = explanation.detections(score)
    expected = detector.detect(read_image(photos / "cat.jpg"), score)
    for name in ("boxes", "scores", "labels"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_thresholds_override_those_of_the_detector(explanation: Explanation, detector: DetectionPipeline):
    found = explanation.detections(0.05, nms_iou=0.95, voting=False)
    config = replace(detector.postprocess, nms_iou=0.95, voting_iou=None)
    expected = detector.replace(postprocess=config).suppress(explanation.proposals, explanation.scored, 0.05)
    np.testing.assert_array_equal(found.boxes, expected.boxes)
    assert len(found) > len(explanation.detections(0.05))
    assert detector.postprocess != config


def test_candidates_without_suppression_are_the_detections(explanation: Explanation):
    """With a threshold of 1 nothing is suppressed, so that what is left are the candidates themselves."""
    found = explanation.candidates(0.2)
    kept = explanation.detections(0.2, nms_iou=1.0, voting=False)
    assert len(found) == len(kept) > 10
    np.testing.assert_allclose(found.scores, kept.scores)
    np.testing.assert_allclose(np.sort(found.moved, axis=0), np.sort(kept.boxes, axis=0))
    np.testing.assert_array_equal(found.proposed, explanation.proposals.boxes[found.regions])
    assert (np.diff(found.scores) <= 0).all()
    assert np.abs(found.moved - found.proposed).max() > 1
    best = found.first(3)
    assert len(best) == 3
    np.testing.assert_array_equal(best.scores, found.scores[:3])


def test_every_stage_and_color_space_has_a_time(explanation: Explanation):
    assert tuple(explanation.seconds) == STAGES
    assert set(explanation.space_seconds) == set(COLOR_SPACES)
    assert all(value > 0 for value in (*explanation.seconds.values(), *explanation.space_seconds.values()))


def test_the_boxes_come_from_the_groupings_that_are_used(explanation: Explanation):
    used = [one for one in explanation.groupings if one.used]
    assert {one.space for one in explanation.groupings} == set(COLOR_SPACES)
    names = tuple(f"selective_search/{one.space}/{one.similarity}/{one.k:g}" for one in used)
    assert sorted(("multibox", *names)) == sorted(explanation.proposals.source_names)
    # The cat is narrower than the working width, so that hierarchies are in pixels of the photo.
    for source, name in enumerate(explanation.proposals.source_names):
        if name == "multibox":
            continue
        _, space, similarity, k = name.split("/")
        regions = set(map(tuple, explanation.grouping(space, similarity, float(k)).hierarchy.boxes.tolist()))
        boxes = explanation.proposals.boxes[explanation.proposals.sources == source]
        assert len(boxes) > 10
        assert set(map(tuple, boxes.astype(int).tolist())) <= regions


def test_an_unknown_grouping_lists_the_known(explanation: Explanation):
    with pytest.raises(InputError, match="HSV/CTSF/50"):
        explanation.grouping("CMYK", "CTSF", 50)


def test_a_detector_without_box_regression(detector: DetectionPipeline, explanation: Explanation):
    still = detector.replace(box_regression=False)
    found = explain(still, explanation.image).candidates(0.5)
    np.testing.assert_array_equal(found.moved, found.proposed)

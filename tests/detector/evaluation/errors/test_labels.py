"""Suspected label faults of drawn-up detections."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.evaluation.errors.labels import draw_label_faults, find_label_faults

CAT, DOG, BUS = range(3)
NAMES = ("cat", "dog", "bus")


def truth_of(*objects: tuple[int, int, tuple[float, ...]], difficult: bool = False) -> GroundTruth:
    images, labels, boxes = zip(*objects, strict=True)
    return GroundTruth(
        image_ids=("1.jpg", "2.jpg"), class_names=NAMES, images=images, labels=labels, boxes=boxes,
        difficult=[difficult] * len(objects),
    )  # fmt: skip


def detected(*rows: tuple[int, int, tuple[float, ...], float]) -> DetectionTable:
    images, labels, boxes, scores = zip(*rows, strict=True) if rows else ((), (), np.zeros((0, 4)), ())
    return DetectionTable(
        image_ids=("1.jpg", "2.jpg"), class_names=NAMES, images=images, labels=labels, boxes=boxes, scores=scores
    )


TRUTH = truth_of((0, CAT, (0, 0, 100, 100)), (1, DOG, (50, 50, 150, 150)))
RIGHT = [(0, CAT, (2, 0, 100, 98), 0.9), (1, DOG, (50, 52, 149, 150), 0.8)]


def faults_of(truth: GroundTruth, *rows: tuple[int, int, tuple[float, ...], float]) -> list[tuple]:
    faults = find_label_faults(truth, detected(*rows))
    return [(f.kind, f.image, f.label, f.detection, round(f.suspicion, 3)) for f in faults]


def test_labels_that_detections_confirm_are_not_doubted():
    assert faults_of(TRUTH, *RIGHT) == []
    assert faults_of(TRUTH) == []


def test_a_missing_box_counts_once_whatever_its_class():
    """Of two classes at one place the surer one; a detection half on an object of another class is none."""
    rows = [(1, CAT, (200, 0, 260, 60), 0.6), (1, DOG, (201, 0, 260, 60), 0.7), (0, BUS, (0, 0, 100, 80), 0.05)]
    assert faults_of(TRUTH, *RIGHT, *rows) == [("missing box", 1, None, 3, 0.7)]


def test_a_wrong_class_is_doubted_unless_its_own_class_is_found_too():
    assert faults_of(TRUTH, RIGHT[0], (1, BUS, (50, 50, 150, 140), 0.8)) == [("wrong class", 1, 1, 1, 0.8)]
    assert faults_of(TRUTH, *RIGHT, (1, BUS, (50, 50, 150, 140), 0.8)) == [("wrong class", 1, 1, 2, 0.16)]


def test_a_loose_box_is_doubted_unless_a_tight_detection_confirms_it():
    loose = (0, CAT, (0, 0, 50, 100), 0.7)  # IoU 0.5
    assert faults_of(TRUTH, loose) == [("loose box", 0, 0, 0, 0.35)]
    assert faults_of(TRUTH, *RIGHT, loose) == []
    assert faults_of(TRUTH, (0, CAT, (0, 0, 25, 100), 0.7)) == []  # IoU 0.25: another object, or a part


def test_no_box_is_missing_on_an_object_of_a_class_that_the_model_does_not_know():
    bird = (1, CAT, (200, 0, 260, 60), 0.6)
    everything = truth_of((1, BUS, (200, 0, 260, 70)))
    assert find_label_faults(TRUTH, detected(*RIGHT, bird), everything) == []
    assert len(find_label_faults(TRUTH, detected(*RIGHT, bird))) == 1


def test_difficult_objects_are_not_judged():
    difficult = truth_of((0, CAT, (0, 0, 100, 100)), difficult=True)
    assert faults_of(difficult, (0, DOG, (0, 0, 100, 100), 0.9), (0, CAT, (0, 0, 50, 100), 0.9)) == []


def test_the_most_suspicious_come_first():
    rows = [(0, DOG, (0, 0, 100, 100), 0.5), (1, DOG, (0, 200, 90, 290), 0.9), (1, DOG, (50, 50, 150, 100), 0.8)]
    faults = faults_of(TRUTH, *rows)
    assert [fault[0] for fault in faults] == ["missing box", "wrong class", "loose box"]
    assert [fault[-1] for fault in faults] == pytest.approx([0.9, 0.5, 0.4])


def test_pictures_and_values(tmp_path: Path):
    for name in TRUTH.image_ids:
        Image.new("RGB", (300, 300), "gray").save(tmp_path / str(name))
    table = detected((0, DOG, (0, 0, 100, 100), 0.5), (1, CAT, (0, 200, 90, 290), 0.9))
    faults = find_label_faults(TRUTH, table)
    assert faults[0].to_dict(TRUTH, table) == {
        "file": "2.jpg", "kind": "missing box", "suspicion": 0.9, "label": None, "label_box": None,
        "detected": "cat", "detected_box": [0, 200, 90, 290], "score": 0.9,
    }  # fmt: skip
    assert faults[1].to_dict(TRUTH, table)["label_box"] == [0, 0, 100, 100]
    assert "cat, rather dog" in faults[1].describe(TRUTH, table)
    draw_label_faults(tmp_path / "sheet.png", faults, TRUTH, table, tmp_path)
    assert len(np.unique(np.array(Image.open(tmp_path / "sheet.png")).reshape(-1, 3), axis=0)) > 4

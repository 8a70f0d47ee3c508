"""Kinds of errors by hand, against TIDE's own numbers, and what must hold of all data."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.evaluation.errors import ErrorKind, diagnose
from detector.evaluation.errors.tide import ErrorAnalysis, error_kinds
from detector.evaluation.metrics.voc import VOC_METRICS, VOCMetric, match_voc, voc_average_precision
from tests.detector.evaluation.tables import table_of, truth_of

K = ErrorKind
NAMES = ("cat", "dog")
BOX, FAR = (0, 0, 100, 100), (500, 0, 600, 100)
Row = tuple[int, tuple[float, ...]]


def data(
    objects: list[Row], detected: list[Row], difficult: list[int] | None = None
) -> tuple[GroundTruth, DetectionTable]:
    """One image; detections with scores that fall from 0.9."""
    truth = truth_of(*((0, label, box) for label, box in objects), images=["a"], difficult=difficult)
    scores = (0.9 - 0.1 * np.arange(len(detected))).tolist()
    return truth, table_of(
        truth, *((0, label, score, box) for (label, box), score in zip(detected, scores, strict=True))
    )


def analyzed(truth: GroundTruth, detections: DetectionTable, metric: VOCMetric = "voc10") -> ErrorAnalysis:
    return error_kinds(match_voc(truth, detections)[0.5], metric)


@pytest.mark.parametrize(
    ("label", "box", "kind"),
    [
        (0, (0, 0, 100, 45), K.LOCALIZATION),  # IoU 0.45
        (0, (0, 0, 100, 10), K.LOCALIZATION),  # 0.1, the lower end
        (0, (0, 0, 100, 9), K.BACKGROUND),
        (0, (300, 0, 400, 100), K.BACKGROUND),
        (1, (0, 0, 100, 50), K.CLASSIFICATION),  # 0.5 with the cat
        (1, (0, 0, 100, 49), K.BOTH),
        (1, (0, 0, 100, 10), K.BACKGROUND),  # 0.1 with another class
    ],
)
def test_the_kind_of_a_single_detection(label: int, box: tuple[float, ...], kind: ErrorKind) -> None:
    result = analyzed(*data([(0, BOX)], [(label, box)]))
    assert result.kinds.tolist() == [kind]
    assert result.missed.tolist() == [kind not in (K.LOCALIZATION, K.CLASSIFICATION)]
    assert result.ap.tolist() == pytest.approx([0, np.nan], nan_ok=True)


def test_what_each_kind_gives_back_by_hand() -> None:
    # Cat at BOX: shifted too far at 0.9, found at 0.8, found again at 0.7. Dog at FAR: taken for a cat at 0.6.
    # A cat seen in the background at 0.5.
    found = [(0, (0, 0, 100, 40)), (0, BOX), (0, BOX), (0, FAR), (0, (800, 0, 900, 100))]
    result = analyzed(*data([(0, BOX), (1, FAR)], found))
    assert result.kinds.tolist() == [K.LOCALIZATION, -1, K.DUPLICATE, K.CLASSIFICATION, K.BACKGROUND]
    assert result.repaired.tolist() == [False, False, False, True, False]
    assert result.targets.tolist() == [0, -1, 0, 1, -1]
    assert not result.missed.any()
    assert result.ap.tolist() == [0.5, 0]
    # Without the shifted one the cat is found first: AP 1. The dog is found once its class is fixed.
    assert result.class_gains[K.LOCALIZATION].tolist() == [0.5, 0]
    assert result.class_gains[K.CLASSIFICATION].tolist() == [0, 1]
    assert result.gains.tolist() == pytest.approx([0.25, 0.5, 0, 0, 0, 0])
    assert result.counts.sum(axis=1).tolist() == [1, 1, 1, 1, 0, 0]
    assert result.counts[K.CLASSIFICATION].tolist() == [1, 0]
    assert result.false_positive_gain == pytest.approx(0.25)
    assert result.false_negative_gain == pytest.approx(0.5)  # without the dog nothing is wrong about dogs


def test_missed_objects_leave_the_denominator() -> None:
    result = analyzed(*data([(0, BOX), (0, FAR), (1, FAR)], [(0, BOX)]))
    # FAR, a cat and a dog, is missed. The one dog gone leaves a class without errors.
    assert result.missed.tolist() == [False, True, True]
    assert result.class_gains[K.MISSED].tolist() == [0.5, 1]
    assert result.false_negative_gain == pytest.approx(0.75)


def test_difficult_objects() -> None:
    # The first finds the difficult cat and counts neither way; the second is badly placed on it.
    found = [(0, BOX), (0, (0, 0, 100, 40)), (0, FAR)]
    result = analyzed(*data([(0, BOX), (0, FAR)], found, difficult=[1, 0]))
    assert result.kinds.tolist() == [-1, K.LOCALIZATION, -1]
    assert not result.repaired.any()
    assert not result.missed.any()
    assert result.ap[0] == 0.5
    assert result.class_gains[K.LOCALIZATION, 0] == 0.5


@pytest.mark.parametrize(
    ("objects", "detected", "gains"),
    [([], [], [np.nan] * 6), ([], [(0, BOX)], [np.nan] * 6), ([(0, BOX)], [], [0, 0, 0, 0, 0, 1])],
)
def test_without_objects_or_detections(objects: list, detected: list, gains: list[float]) -> None:
    assert analyzed(*data(objects, detected)).gains.tolist() == pytest.approx(gains, nan_ok=True)


# What tidecv 1.0.1 gives for `random_data(seed)` where its AP is replaced by `voc.average_precision`, in points:
# localization, classification, duplicate, background, both, missed; then without false positives, without misses.
TIDE = {
    0: {
        "counts": [40, 30, 23, 75, 13, 37],
        "voc07": [9.77821, 5.736496, 0.884819, 6.614379, 1.87759, 10.021477, 27.516574, 18.519992],
        "voc10": [10.22242, 6.438516, 0.991128, 7.112345, 1.530943, 10.679188, 30.800193, 19.082934],
    },
    1: {
        "counts": [41, 20, 24, 62, 12, 39],
        "voc07": [10.14107, 5.565077, 1.249911, 7.803434, 0.650402, 8.416649, 25.406308, 21.582424],
        "voc10": [11.188617, 6.723377, 1.473689, 7.471396, 0.707836, 10.87111, 26.420162, 22.429554],
    },
}


@pytest.mark.parametrize("metric", VOC_METRICS)
@pytest.mark.parametrize("seed", TIDE)
def test_it_is_tide(random_data: Callable, seed: int, metric: VOCMetric) -> None:
    result = analyzed(*random_data(seed), metric)
    assert result.counts.sum(axis=1).tolist() == TIDE[seed]["counts"]
    gains = [*result.gains, result.false_positive_gain, result.false_negative_gain]
    assert np.multiply(100, gains).tolist() == pytest.approx(TIDE[seed][metric], abs=1e-6)


def test_it_is_hotcoco_up_to_the_101_points(random_data: Callable) -> None:
    hotcoco = pytest.importorskip("hotcoco", reason="hotcoco is not installed")
    truth, detections = random_data(2)
    evaluation = hotcoco.COCOeval(*coco_pair(hotcoco, truth, detections), "bbox")
    evaluation.evaluate()
    expected = evaluation.tide_errors()
    result = analyzed(truth, detections)
    names = {K.LOCALIZATION: "Loc", K.CLASSIFICATION: "Cls", K.DUPLICATE: "Dupe", K.BACKGROUND: "Bkg",
             K.BOTH: "Both", K.MISSED: "Miss"}  # fmt: skip
    for kind, name in names.items():
        assert result.counts[kind].sum() == expected["counts"][name]
        assert result.gains[kind] == pytest.approx(expected["delta_ap"][name], abs=0.003)
    # The calibration error equals hotcoco's too.
    reliability = diagnose(truth, detections).reliability
    assert reliability.expected_error == pytest.approx(evaluation.calibration()["ece"])


def coco_pair(hotcoco: object, truth: GroundTruth, detections: DetectionTable) -> tuple:
    images = [{"id": i + 1} for i in truth.image_ids]
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(truth.class_names)]
    boxes = np.hstack([truth.boxes[:, :2], truth.sides])
    coco = hotcoco.COCO.from_arrays(images, categories, truth.images + 1, truth.labels + 1, boxes, area=truth.areas)
    columns = (detections.images + 1, detections.boxes[:, :2], detections.sides, detections.scores)
    return coco, coco.load_res(np.column_stack([*columns, detections.labels + 1]))


side = st.integers(0, 4)
row = st.tuples(st.integers(0, 1), side, side, st.integers(1, 4), st.integers(1, 4))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(row, st.booleans()), max_size=6), st.lists(row, max_size=10), st.sampled_from(VOC_METRICS))
def test_properties(objects: list, detected: list, metric: VOCMetric) -> None:
    def boxed(label: int, x: int, y: int, width: int, height: int) -> Row:
        return label, (x, y, x + width, y + height)

    truth, detections = data(
        [boxed(*item) for item, _ in objects], [boxed(*item) for item in detected], [int(hard) for _, hard in objects]
    )
    matches = match_voc(truth, detections)[0.5]
    result = error_kinds(matches, metric)
    # The kinds part the false positives, and the AP is the headline's.
    assert ((result.kinds >= 0) == matches.false_positive).all()
    assert result.counts[:-1].sum() == matches.false_positive.sum()
    assert result.ap.tolist() == pytest.approx(
        list(voc_average_precision(truth, detections, metric).ap.values()), nan_ok=True
    )
    # Every object is found, missed, repaired once, or does not count.
    taken = set(result.targets[result.repaired].tolist())
    assert len(taken) == result.repaired.sum()
    found = matches.found()
    for index in range(len(truth)):
        states = [bool(found[index]), bool(result.missed[index]), index in taken, bool(truth.difficult[index])]
        assert sum(states) == 1
    # Fixing never costs.
    assert (np.nan_to_num(result.class_gains) >= -1e-12).all()

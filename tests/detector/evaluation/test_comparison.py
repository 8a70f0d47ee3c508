import dataclasses
import json
import math
from collections.abc import Callable

import numpy as np
import pytest

from detector.errors import InputError
from detector.evaluation.comparison import compare
from detector.evaluation.evaluation import OBJECT_METRICS, Metric, evaluate
from tests.detector.evaluation.tables import table_of, truth_of

BOX, FAR = (0, 0, 100, 100), (500, 0, 600, 100)
TRUTH = truth_of((0, 0, BOX), (0, 1, FAR), (1, 0, BOX), images=["one", "two", "three"], names=("cat", "dog", "hen"))
A = table_of(TRUTH, (0, 0, 0.9, BOX), (2, 0, 0.6, BOX), (2, 1, 0.8, FAR), (1, 0, 0.2, BOX))
B = table_of(TRUTH, (0, 1, 0.9, FAR), (1, 0, 0.7, BOX), (2, 0, 0.95, BOX))


def test_by_hand() -> None:
    """A finds the cat of "one" at once and that of "two" third; B finds that of "two" second, and the dog."""
    result = compare(TRUTH, A, B, "voc10", names=("a.json", "b.json"))
    nan = math.nan
    assert result.a.ap.tolist() == pytest.approx([5 / 6, 0, nan, 5 / 12], nan_ok=True)
    assert result.b.ap.tolist() == pytest.approx([0.25, 1, nan, 5 / 8], nan_ok=True)
    assert result.difference.ap.tolist() == pytest.approx([-7 / 12, 1, nan, 5 / 24], nan_ok=True)
    low, high = np.array([-0.9, -0.2, nan, -0.5]), np.array([-0.1, 1, nan, 0.4])
    difference = dataclasses.replace(result.difference, low=low, high=high, resamples=100)
    result = dataclasses.replace(result, difference=difference)
    assert result.table().splitlines() == [
        "A is a.json, B is b.json",
        "",
        "class  objects   A %    B %    B - A   95 % interval",
        "cat          2   83.3   25.0   -58.3   -90.0   -10.0 *",
        "dog          1    0.0  100.0  +100.0   -20.0  +100.0",
        "hen          0      -      -       -",
        "mAP          3   41.7   62.5   +20.8   -50.0   +40.0",
        "",
        "metric voc10 at IoU 0.5; 3 images",
        "paired bootstrap over images, 100 resamples; * the interval excludes 0",
        "",
        "largest of 3 differences between images (detections of score 0.5 or more, at IoU 0.5):",
        "one    objects found by A only 1, by B only 1; false positives 0 and 0",
        "two    objects found by A only 0, by B only 1; false positives 0 and 0",
        "three  objects found by A only 0, by B only 0; false positives 2 and 1",
    ]
    content = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert content["AP"]["hen"] == {"a": None, "b": None, "difference": None, "interval": None}
    assert content["AP"]["cat"]["interval"] == [-0.9, -0.1]
    assert content["mAP"]["difference"] == pytest.approx(5 / 24)
    assert [image["difference"] for image in content["images"]] == [2, 1, 1]
    assert content["images"][0] == {
        "image": "one", "difference": 2, "found_by_a_alone": 1, "found_by_b_alone": 1,
        "false_positives_a": 0, "false_positives_b": 0, "errors_a": 1, "errors_b": 1,
    }  # fmt: skip


@pytest.mark.parametrize("metric", OBJECT_METRICS)
def test_the_metrics_are_those_of_an_evaluation(random_data: Callable, metric: Metric) -> None:
    truth, a = random_data(5)
    b = a[np.random.default_rng(1).random(len(a)) < 0.7]
    result = compare(truth, a, b, metric, resamples=20)
    for detections, side in ((a, result.a), (b, result.b)):
        expected = evaluate(truth, detections, metric).result
        assert side.ap.tolist() == pytest.approx([*expected.ap.values(), expected.mean_ap], abs=1e-12, nan_ok=True)
    assert result.to_dict()["metric"] == metric


def test_equal_detectors() -> None:
    result = compare(TRUTH, A, A)
    assert result.images == ()
    assert [array[-1] for array in (result.difference.ap, result.difference.low, result.difference.high)] == [0, 0, 0]
    assert result.table().endswith("(detections of score 0.5 or more, at IoU 0.5)")
    assert "*" not in result.table().split("paired")[0]


def test_swapped_it_is_the_opposite(random_data: Callable) -> None:
    truth, a = random_data(3)
    b = a[np.random.default_rng(0).random(len(a)) < 0.8]
    forth, back = compare(truth, a, b), compare(truth, b, a)
    assert forth.difference.ap[-1] == pytest.approx(-back.difference.ap[-1])
    assert [image[:2] for image in forth.images] == [image[:2] for image in back.images]
    assert sum(image.found_by_b_alone for image in forth.images) == 0  # b finds nothing that a does not


def test_detections_in_other_images_are_refused() -> None:
    with pytest.raises(InputError, match="other images or classes"):
        compare(TRUTH, A, table_of(truth_of(images=["x"])))

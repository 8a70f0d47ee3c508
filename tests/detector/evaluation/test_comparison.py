import dataclasses
import json
import math
from collections.abc import Callable

import numpy as np
import pytest

from detector.errors import InputError
from detector.evaluation.comparison import compare
from detector.evaluation.evaluation import METRICS, Metric, evaluate
from tests.detector.evaluation.tables import table_of, truth_of

BOX, FAR = (0, 0, 100, 100), (500, 0, 600, 100)
TRUTH = truth_of((0, 0, BOX), (0, 1, FAR), (1, 0, BOX), images=["one", "two", "three"], names=("cat", "dog", "hen"))
A = table_of(TRUTH, (0, 0, 0.9, BOX), (2, 0, 0.6, BOX), (2, 1, 0.8, FAR), (1, 0, 0.2, BOX))
B = table_of(TRUTH, (0, 1, 0.9, FAR), (1, 0, 0.7, BOX), (2, 0, 0.95, BOX))


def test_by_hand() -> None:
    result = compare(TRUTH, A, B, names=("a.json", "b.json"), metric="voc10")
    # A finds the cat of "one" at once and that of "two" third; B finds that of "two" second.
    assert result.a.ap.tolist() == pytest.approx([0.5 + 0.5 * 2 / 3, 0, math.nan], nan_ok=True)
    assert result.b.ap.tolist() == pytest.approx([0.25, 1, math.nan], nan_ok=True)
    assert result.difference.mean_ap == pytest.approx((0.25 + 1) / 2 - (0.5 + 1 / 3) / 2)
    assert result.difference.ap[1] == 1
    # "one": each finds an object that the other misses. "two": B alone finds one. "three": 2 and 1 false positives.
    assert [(image.image_id, image.size) for image in result.images] == [("one", 2), ("two", 1), ("three", 1)]
    first = result.images[0]
    assert (first.found_by_a, first.found_by_b, first.errors_a, first.errors_b) == (1, 1, 1, 1)
    assert (result.images[2].false_a, result.images[2].false_b) == (2, 1)


def test_table_and_dict() -> None:
    result = compare(TRUTH, A, B, "voc10", names=("a.json", "b.json"))
    nan = math.nan
    low, high = np.array([-0.9, -0.2, nan]), np.array([-0.1, 1, nan])
    result = dataclasses.replace(
        result,
        difference=dataclasses.replace(
            result.difference, low=low, high=high, mean_low=-0.5, mean_high=0.4, confidence=0.9, resamples=100
        ),
    )
    assert result.table().splitlines() == [
        "A is a.json, B is b.json",
        "",
        "class  objects   A %    B %    B - A   90 % interval",
        "cat          2   83.3   25.0   -58.3   -90.0   -10.0 *",
        "dog          1    0.0  100.0  +100.0   -20.0  +100.0",
        "hen          0      -      -       -",
        "mAP          3   41.7   62.5   +20.8   -50.0   +40.0",
        "",
        "metric voc10 at IoU 0.5; 3 images",
        "paired bootstrap over images, 100 resamples; * the interval excludes 0",
        "",
        "largest of 3 differences between images at score 0.5:",
        "one    objects found by A only 1, by B only 1; false positives 0 and 0",
        "two    objects found by A only 0, by B only 1; false positives 0 and 0",
        "three  objects found by A only 0, by B only 0; false positives 2 and 1",
    ]
    content = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert content["AP"]["hen"] == {"a": None, "b": None, "difference": None, "interval": None}
    assert content["AP"]["cat"]["interval"] == [-0.9, -0.1]
    assert content["mAP"]["difference"] == pytest.approx(result.difference.mean_ap)
    assert content["images"][0] == {
        "image": "one", "difference": 2, "found_by_a_alone": 1, "found_by_b_alone": 1,
        "false_positives_a": 0, "false_positives_b": 0, "errors_a": 1, "errors_b": 1,
    }  # fmt: skip


@pytest.mark.parametrize("metric", METRICS)
def test_the_metrics_are_those_of_an_evaluation(random_data: Callable, metric: Metric) -> None:
    truth, a = random_data(5)
    b = a[np.random.default_rng(1).random(len(a)) < 0.7]
    result = compare(truth, a, b, metric, resamples=20)
    for detections, side in ((a, result.a), (b, result.b)):
        expected = evaluate(truth, detections, metric).result
        assert side.ap.tolist() == pytest.approx(list(expected.ap.values()), abs=1e-12, nan_ok=True)
        assert side.mean_ap == pytest.approx(expected.mean_ap)
    assert result.difference.mean.low <= result.difference.mean_ap <= result.difference.mean.high


def test_without_difference() -> None:
    result = compare(TRUTH, A, A)
    assert result.images == ()
    assert (result.difference.mean_ap, result.difference.mean.low, result.difference.mean.high) == (0, 0, 0)
    assert result.table().endswith("no image differs at score 0.5")
    assert "*" not in result.table().split("paired")[0]


def test_swapped_it_is_the_opposite(random_data: Callable) -> None:
    truth, a = random_data(3)
    b = a[np.random.default_rng(0).random(len(a)) < 0.8]
    forth, back = compare(truth, a, b), compare(truth, b, a)
    assert forth.difference.mean_ap == pytest.approx(-back.difference.mean_ap)
    assert [(image.image_id, image.size) for image in forth.images] == [
        (image.image_id, image.size) for image in back.images
    ]
    assert sum(image.found_by_b for image in forth.images) == 0  # b finds nothing that a does not


def test_detections_in_other_images_are_refused() -> None:
    other = table_of(truth_of(images=["x"]))
    with pytest.raises(InputError, match="other images or classes"):
        compare(TRUTH, A, other)

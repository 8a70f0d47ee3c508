"""The text of what a training gave."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from detector.evaluation.metrics.voc import APResult, ClassResult
from detector.training.custom_dataset import FitResult


def fit_result(folder: Path, **changes: object) -> FitResult:
    nothing = np.zeros(0), np.zeros(0, bool)
    classes = {"bus": ClassResult(0.125, 1, *nothing), "cup": ClassResult(0.5, 10, *nothing)}
    result = APResult("voc07", 0.5, classes)
    fitted = FitResult(folder / "m", folder / "s", result, (4, 4), None, "", folder / "p", (), 1.0, {}, "")
    return dataclasses.replace(fitted, **changes)  # type: ignore[arg-type]


def test_an_ap_of_few_objects_is_noted(tmp_path: Path):
    text = str(fit_result(tmp_path))
    assert "  bus  AP  12.5, 1 object\n  cup  AP  50.0, 10 objects\n" in text
    assert [line.split(": ")[-1] for line in text.splitlines() if line.startswith("note ")] == ["bus"]


def test_without_detections_there_is_no_precision(tmp_path: Path):
    result = fit_result(tmp_path, evaluated=(3, 4))
    assert math.isnan(result.result.best_score())
    text = str(result)
    assert "3 of 4" in text
    assert "at score 0.5 no detections" in text
    assert "nan" not in text


@pytest.mark.parametrize(
    ("history", "course", "more"),
    [
        ({1: 0.1, 2: 0.2, 3: 0.3, 4: 0.305, 5: 0.309}, "10.0, 20.0, 30.0, 30.5, 30.9", "hardly"),
        ({5: 0.35, 1: 0.1, 2: 0.2, 3: 0.3, 4: 0.34}, "10.0, 20.0, 30.0, 34.0, 35.0", "will find more"),
        ({9: 0.2, 10: 0.3}, "20.0, 30.0", "will find more"),
    ],
)
def test_whether_the_map_still_rose_at_the_end(tmp_path: Path, history: dict[int, float], course: str, more: str):
    line = next(line for line in str(fit_result(tmp_path, history=history)).splitlines() if line.startswith("progress"))
    assert course in line
    assert more in line


def test_one_evaluation_shows_no_progress(tmp_path: Path):
    assert "progress" not in str(fit_result(tmp_path, history={7: 0.5}))

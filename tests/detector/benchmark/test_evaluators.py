"""The benchmark of the evaluators, on little data."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from detector.benchmark import evaluators
from detector.benchmark.evaluation_data import made_up_data
from detector.benchmark.evaluators import EVALUATORS, INTERVALS, benchmark_evaluators
from detector.errors import InputError
from detector.evaluation.metrics.coco import coco_average_precision

ROOT = Path(__file__).parents[3]


def test_the_data_are_like_cocos() -> None:
    truth, table = made_up_data(7923, seed=3)
    assert (len(truth.image_ids), len(truth), len(table)) == (1000, 7342, 7923)
    assert truth.crowd.any()
    assert len(np.unique(table.scores)) < len(table)
    # Neither hopeless nor perfect, so that every rule has something to do.
    assert 0.1 < coco_average_precision(truth, table).mean_ap < 0.9
    again = made_up_data(7923, seed=3)[1]
    assert np.array_equal(again.boxes, table.boxes)
    assert not np.array_equal(made_up_data(7923, seed=4)[1].boxes, table.boxes)


def test_a_run() -> None:
    pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    report = benchmark_evaluators(repeats=1, detections=400, growth=(100, 200))
    names = [timing.name for timing in report.timings]
    assert names[:4] == [*EVALUATORS, INTERVALS]
    assert "pycocotools" in names
    assert report.differences["pycocotools"] < 1e-12
    assert [one.rival.name for one in report.comparisons] == list(report.differences)
    assert list(report.growth) == [100, 200]
    assert all(set(seconds) == set(EVALUATORS) for seconds in report.growth.values())
    content = json.loads(json.dumps(report.to_dict()))
    assert content["data"] == {"images": 50, "objects": 371, "detections": 400}
    assert [(one["detections"], one["images"]) for one in content["growth"]] == [(100, 13), (200, 25)]
    assert content["versions"]["hotcoco"]
    text = report.table()
    assert "50 images, 371 objects, 400 detections, made up" in text
    assert "times as fast as pycocotools" in text
    if sys.platform == "linux":
        assert len(content["peak_memory"]) == 9
        assert all(one["after"] >= one["before"] > 10 for one in content["peak_memory"])


def test_what_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluators, "_peak_memory", lambda counts: {})
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    report = benchmark_evaluators(repeats=1, detections=100, growth=())
    assert set(report.skipped) == {"pycocotools", "faster-coco-eval"}
    assert report.comparisons == ()
    assert "not timed: pycocotools (import of pycocotools.coco halted" in report.table()
    assert benchmark_evaluators(repeats=1, detections=100, growth=(), rivals=False).skipped == {}


@pytest.mark.parametrize("wrong", [{"repeats": 0}, {"detections": 0}, {"growth": (10, 0)}])
def test_wrong_arguments(wrong: dict) -> None:
    with pytest.raises(InputError, match="give at least 1"):
        benchmark_evaluators(**wrong)


def test_evaluators_need_no_torch() -> None:
    program = "import sys, detector.evaluation, detector.benchmark.evaluators; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"

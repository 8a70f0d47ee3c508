"""The benchmark of crops: what it measures and reports, with few crops and no rivals."""

import numpy as np
import pytest
import torch

from detector.benchmark import crops
from detector.benchmark.crops import benchmark_crops, random_boxes, random_scorer
from detector.errors import InputError
from detector.structures.image import Image


@pytest.fixture
def image() -> Image:
    return Image(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8), "noise")


def test_random_boxes_are_inside_and_always_the_same(image: Image):
    boxes = random_boxes(image, 500)
    assert torch.equal(boxes, random_boxes(image, 500))
    assert (boxes >= 0).all()
    assert (boxes[:, 2] <= 80).all()
    assert (boxes[:, 3] <= 60).all()
    assert (boxes[:, 2:] - boxes[:, :2] >= torch.tensor([80, 60]) * 0.049).all()


def test_report(image: Image, monkeypatch: pytest.MonkeyPatch):
    def missing(threads: int) -> None:
        raise ImportError("not there")

    batches = torch.rand(2, 3, 224, 224)
    monkeypatch.setattr(crops, "CROPS", 2)
    monkeypatch.setattr(crops, "_peak_memory", lambda image, threads: 1234.5)
    monkeypatch.setattr(crops, "RIVALS", {"rival": lambda threads: lambda: batches.sum(), "absent": missing})
    before = torch.get_num_threads()
    report = benchmark_crops(image, repeats=1, threads=1)
    assert torch.get_num_threads() == before
    assert [t.name for t in report.timings] == ["crops", "crops, float32", "crops: cutting out", "rival"]
    assert report.skipped == {"absent": "not there"}
    plain = report.to_dict()
    first = plain["timings"][0]
    assert first["crops_per_second"] == pytest.approx(2 / first["median"])
    assert [(c["ours"], c["rival"]) for c in plain["comparisons"]] == [("crops", "rival"), ("crops, float32", "rival")]
    table = report.table()
    assert "peak memory, 2000 regions of 12 megapixels: 1234 MiB" in table or "1235 MiB" in table
    assert "not timed: absent (not there)" in table


def test_the_scorer_of_the_benchmark_gives_the_same_numbers_every_time(image: Image):
    boxes = random_boxes(image, 1)
    first, second = (random_scorer(torch.float32).encode(image).score(boxes) for _ in range(2))
    assert torch.equal(first.scores, second.scores)


@pytest.mark.parametrize(("repeats", "threads", "name"), [(0, 1, "repeats"), (1, 0, "threads")])
def test_counts_below_one_are_refused(image: Image, repeats: int, threads: int, name: str):
    with pytest.raises(InputError, match=f"{name} is 0; give at least 1"):
        benchmark_crops(image, repeats=repeats, threads=threads)

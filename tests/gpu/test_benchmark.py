"""The benchmark on a GPU, in small."""

from pathlib import Path

import pytest
import torch

from detector.benchmark.photo import default_photo
from detector.benchmark.throughput import benchmark_throughput

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


def test_images_a_second(tmp_path: Path):
    report = benchmark_throughput(default_photo(), "cuda", batches=(1, 2), repeats=1, threads=4)
    assert len(report.rates) == 8
    assert all(rate.memory is not None and rate.memory > 0 for rate in report.rates)
    assert torch.cuda.get_device_name() in report.device
    assert report.to_dict()["workers"] == 4
    assert "4 CPU threads beside it" in report.table()

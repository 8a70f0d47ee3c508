"""The benchmark on a GPU, in small."""

import pytest
import torch
from benchmarks.throughput import benchmark_throughput

from detector.cli.benchmark import _module

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")]


def test_images_a_second():
    report = benchmark_throughput(_module.default_photo(), "cuda", None, batches=(1, 2), repeats=1, threads=4)
    assert len(report.timings) == 8
    assert len(report.peak_memory) == 8
    assert min(report.peak_memory.values()) > 0
    assert torch.cuda.get_device_name() in str(report.subject["device"])

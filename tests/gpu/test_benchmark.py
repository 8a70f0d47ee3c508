"""The benchmark on a GPU, in small."""

import pytest
import torch
from benchmarks.detection import benchmark_throughput
from benchmarks.measuring import default_photo

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")]


def test_images_a_second():
    report = benchmark_throughput(default_photo(), "cuda", None, 1, 4, True, batches=(1, 2))
    assert len(report.tasks) == 8
    assert len(report.peak_memory) == 8
    assert min(report.peak_memory.values()) > 0
    assert torch.cuda.get_device_name() in str(report.subject["device"])

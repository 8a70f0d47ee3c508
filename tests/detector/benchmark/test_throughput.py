"""Images a second in batches; here on the CPU, in small."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from detector.benchmark import throughput
from detector.benchmark.throughput import RIVAL, ThroughputReport, benchmark_throughput
from detector.benchmark.timing import Timing
from detector.cli import main
from detector.errors import InputError
from detector.structures.image import Image

NAMES = ["network", "network and regions", "detections, Selective Search beside", RIVAL]


@pytest.fixture(scope="module")
def image() -> Image:
    return Image(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8), "noise")


@pytest.fixture(scope="module")
def report(image: Image) -> ThroughputReport:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(throughput, "_faster_rcnn", lambda image, device: lambda batch: [image] * batch)
        return benchmark_throughput(image, "cpu", batches=(1, 2), repeats=2, threads=1)


def test_every_batch_of_everything_is_timed(report: ThroughputReport):
    assert [(rate.name, rate.batch) for rate in report.rates] == [(name, batch) for name in NAMES for batch in (1, 2)]
    assert all(len(rate.timing.seconds) == 2 and min(rate.timing.seconds) > 0 for rate in report.rates)
    assert [rate.memory for rate in report.rates] == [None] * 8, "a CPU has no memory of its own"
    assert [one.ours.name for one in report.comparisons] == [f"{NAMES[2]}, batch {batch}" for batch in (1, 2)]


def test_it_is_told_as_text_and_as_json(report: ThroughputReport):
    content = json.loads(json.dumps(report.to_dict()))
    assert (content["device"], content["workers"], content["image_size"]) == ("the CPU", 1, [64, 48])
    first = content["rates"][0]
    assert first["images_per_second"] == pytest.approx(1 / np.median(first["seconds_per_image"]))
    lines = report.table().splitlines()
    assert "device    the CPU, 1 CPU thread beside it" in lines
    assert [line.split("  ")[0] for line in lines[-11:-3]] == [name for name in NAMES for _ in range(2)]
    assert lines[-1].startswith(f"{NAMES[2]}, batch 2: ")


def test_seconds_are_those_of_one_image(image: Image, monkeypatch: pytest.MonkeyPatch):
    """A pass of ten images that takes a second has done ten images a second."""
    times = iter([5.0, 6.0])
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: next(times))
    meter = throughput._Meter("ten", throughput._Run(lambda: None, 10), throughput.resolve_device("cpu"))
    assert meter.measure() == {"ten": 0.1}
    assert throughput.Rate("ten", 10, Timing("ten", (0.1,)), 3.0).to_dict()["images_per_second"] == pytest.approx(10)


def test_the_rival_gets_a_batch_of_photos(image: Image, monkeypatch: pytest.MonkeyPatch):
    class Network(nn.Module):
        def forward(self, photos: list[torch.Tensor]) -> list[torch.Tensor]:
            assert not self.training
            return photos

    def make(weights: None, weights_backbone: None) -> Network:
        return Network()

    monkeypatch.setattr("torchvision.models.detection.fasterrcnn_resnet50_fpn", make)
    first, second = throughput._faster_rcnn(image, throughput.resolve_device("cpu"))(2)  # type: ignore[misc]
    torch.testing.assert_close(first, torch.from_numpy(image.pixels).permute(2, 0, 1) / 255)
    assert torch.equal(first, second)


@pytest.mark.parametrize(("wrong", "message"), [
    ({"repeats": 0}, "repeats is 0; give at least 1"),
    ({"threads": 0}, "threads is 0; give at least 1"),
    ({"device": "tpu"}, "device 'tpu' is not known"),
    ({"model": "voc07_crops"}, "for a model that sees crops give --crops"),
])  # fmt: skip
def test_what_cannot_be_measured(image: Image, wrong: dict, message: str):
    with pytest.raises(InputError, match=message):
        benchmark_throughput(image, **{"device": "cpu", **wrong})


def test_the_command(image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    asked = []

    def measure(photo: Image, device: str, model: object, **options: object) -> ThroughputReport:
        asked.append((device, options["repeats"], options["threads"], options["rivals"]))
        return benchmark_throughput(image, device, batches=(1,), repeats=1, threads=1, rivals=False)

    monkeypatch.setattr(throughput, "benchmark_throughput", measure)
    for options, code in ((("--repeats", "1", "--json", str(tmp_path / "r.json")), 0), (("--profile",), 2)):
        with pytest.raises(SystemExit) as caught:
            main(["benchmark", "--device", "cpu", *options])
        assert int(caught.value.code or 0) == code
    captured = capsys.readouterr()
    assert asked == [("cpu", 1, 2, True)]
    assert captured.out.count("network") == 2
    assert "--profile and --device are measurements by themselves" in captured.err
    assert len(json.loads((tmp_path / "r.json").read_text())["rates"]) == 3

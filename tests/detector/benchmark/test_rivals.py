"""Rivals of the benchmark. Times come from a clock that the fakes move."""

import sys
import types
from collections.abc import Callable

import numpy as np
import pytest
import torch

from detector.benchmark.rivals import RIVALS, Rival
from detector.structures.image import Image


class FakeClock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_a_rival_is_timed_without_its_loading(clock: FakeClock, image: Image) -> None:
    seen: list[np.ndarray] = []

    def load(pixels: np.ndarray) -> Callable[[], object]:
        clock.wait(100)
        return lambda: (seen.append(pixels), clock.wait(5))

    task = Rival("rival", "detect", load).task(image.pixels, 10, clock)
    assert task.repeats == 10
    assert task.measure() == {"rival": 5}
    assert seen[0] is image.pixels
    assert Rival("rival", "detect", load, slow=True).task(image.pixels, 10, clock).repeats == 3
    assert Rival("rival", "detect", load, slow=True).task(image.pixels, 2, clock).repeats == 2


FASTER_RCNN = next(rival for rival in RIVALS if rival.name.endswith("320_fpn"))


def test_the_rivals() -> None:
    against = [(rival.against, rival.slow) for rival in RIVALS]
    assert against[:3] == [("detect: proposals", True), ("detect: proposals", True), ("detect: backbone", False)]
    assert against[3:] == [("detect", True)] * 2 + [("detect", False)] * 3
    assert len({rival.name for rival in RIVALS}) == len(RIVALS)


def test_what_is_not_installed_says_so(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for rival in RIVALS:
        if "yolo" in rival.name or "ONNX" in rival.name:
            with pytest.raises(ImportError, match="pip install"):
                rival.load(image.pixels)


def test_selectivesearch_gets_the_photo(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple] = []
    module = types.ModuleType("selectivesearch")
    module.selective_search = lambda pixels, **settings: calls.append((pixels, settings)) or (pixels, [])
    monkeypatch.setitem(sys.modules, "selectivesearch", module)
    RIVALS[0].load(image.pixels)()
    ((pixels, settings),) = calls
    np.testing.assert_array_equal(pixels, image.pixels)
    assert settings == {"scale": 500, "sigma": 0.9, "min_size": 10}


def test_faster_rcnn_gets_the_photo(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs: list[torch.Tensor] = []

    class Network(torch.nn.Module):
        def __init__(self, weights: None, weights_backbone: None) -> None:
            super().__init__()
            assert weights is weights_backbone is None

        def forward(self, images: list[torch.Tensor]) -> None:
            assert not self.training
            assert torch.is_inference_mode_enabled()
            inputs.extend(images)

    # The real one takes seconds to make; that torchvision has it, with these arguments, is checked below.
    monkeypatch.setattr("torchvision.models.detection.fasterrcnn_mobilenet_v3_large_320_fpn", Network)
    state = torch.get_rng_state()
    FASTER_RCNN.load(image.pixels)()
    assert torch.equal(torch.get_rng_state(), state)
    expected = torch.from_numpy(image.pixels.transpose(2, 0, 1) / np.float32(255))
    torch.testing.assert_close(inputs, [expected])


def test_the_real_faster_rcnn_runs(image: Image) -> None:
    (result,) = FASTER_RCNN.load(image.pixels)()
    assert {"boxes", "scores"} <= result.keys()

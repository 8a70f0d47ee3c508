from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from detector.config import InputConfig, ModelConfig
from detector.models.caffe import BACKBONE_LAYERS
from detector.models.googlenet import GoogLeNetBackbone
from detector.models.rfcn import RFCN
from detector.models.weights import Model, save_model

if TYPE_CHECKING:  # it needs the extra "train", without which the tests are skipped
    from detector.training.loop import TrainingLoop

COLORS = {"bus": (220, 30, 30), "sofa": (30, 60, 220)}
IMAGES = {
    "a": [("bus", (11, 11, 70, 60), 0)],
    "b": [("sofa", (31, 21, 90, 70), 0)],
    "c": [("bus", (1, 1, 45, 50), 0), ("sofa", (55, 25, 99, 79), 1)],
    "d": [],
}


@pytest.fixture
def draw(make_voc: Callable[..., Path]) -> Callable[..., Path]:
    """Makes a data set of gray images with a red rectangle for each bus and a blue one for each sofa."""

    def make(images: Mapping[str, Sequence[Any]] = IMAGES) -> Path:
        root = make_voc(images)
        for image_id, objects in images.items():
            path = root / f"JPEGImages/{image_id}.jpg"
            pixels = np.array(Image.open(path))
            for name, (x1, y1, x2, y2), _ in objects:
                pixels[y1 - 1 : y2, x1 - 1 : x2] = COLORS[name]
            Image.fromarray(pixels).save(path, quality=95)
        return root

    return make


@pytest.fixture
def interrupt_and_resume(monkeypatch: pytest.MonkeyPatch) -> Callable[..., TrainingLoop[Any]]:
    """Runs a training uninterrupted, and again with Ctrl-C during a step and a second start; both must end with the
    same weights and averages, to the bit. Returns the uninterrupted loop.

    It takes what makes the training for a folder's name, which it calls with "whole" and twice with "parts".
    """

    def run(make: Callable[[str], TrainingLoop[Any]], at: int) -> TrainingLoop[Any]:
        whole = make("whole")
        whole.run()
        first = make("parts")
        step = first.train_step

        def interrupted(example: Any) -> dict[str, float]:
            if first.step == at:
                signal.raise_signal(signal.SIGINT)
            return step(example)

        monkeypatch.setattr(first, "train_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            first.run()
        second = make("parts")
        assert second.step == at + 1  # the step during which Ctrl-C came was finished
        second.run()
        for kind in ("network", "ema"):
            expected, resumed = (getattr(loop, kind).state_dict() for loop in (whole, second))
            assert expected.keys() == resumed.keys()
            for name in expected:
                torch.testing.assert_close(resumed[name], expected[name], rtol=0, atol=0, msg=f"{kind} {name}")
        return whole

    return run


class Clock:
    """A replacement of the module `time`, whose time passes on request."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def init(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backbone of random weights in place of the trained one, as a Caffe-named .npz."""
    torch.manual_seed(0)
    backbone, arrays = GoogLeNetBackbone(), {}
    for caffe, name in BACKBONE_LAYERS.items():
        conv = backbone.get_submodule(name)
        torch.nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        if name == "conv1":
            conv.weight.data *= 0.01  # for pixels in 0..255
        arrays[f"{caffe}.weight"], arrays[f"{caffe}.bias"] = conv.weight.detach().numpy(), np.zeros(len(conv.weight))
    path = tmp_path_factory.mktemp("init") / "random.npz"
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="session")
def start() -> Model:
    """A model of random weights that knows a bus and a sofa."""
    torch.manual_seed(0)
    config = ModelConfig(input=InputConfig(short_side=96))
    network = RFCN(2, config.network)
    for module in network.backbone.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    torch.nn.init.normal_(network.score_conv.bias)
    return Model(network.eval(), config, ("bus", "sofa"), {})


@pytest.fixture(scope="session")
def start_file(start: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("start") / "start.safetensors"
    save_model(start, path)
    return path

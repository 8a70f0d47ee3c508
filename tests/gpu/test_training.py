"""Training by regions on a GPU."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from detector.config import parse
from detector.models.files import find_model
from detector.models.weights import load_model
from detector.training.assembly import make_loop
from detector.training.recipes import RFCNRecipe

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]

IMAGES = {
    "a": [("bus", (11, 11, 70, 60), 0)],
    "b": [("sofa", (31, 21, 90, 70), 0)],
    "c": [("bus", (1, 1, 45, 50), 0), ("sofa", (55, 25, 99, 79), 1)],
    "d": [],
}
RECIPE = parse(
    RFCNRecipe,
    {
        "data": {"train_split": "val", "eval_split": "val"},
        "model": {"input": {"short_side": 160}, "network": {"multibox": {"grids": [3, 1], "shapes": 2, "channels": 8}}},
        "augmentation": {"scale": [1.0, 1.0], "mosaic": 0.3, "color_jitter": 0.2},
        "multibox": {"weight": 0.2},
        "batch": 4,
        "optimizer": {"steps": 6, "warmup_steps": 2, "lr": 0.002},
        "eval_every": 6,
        "checkpoint_every": 3,
    },
    "test",
)


@pytest.fixture
def root(make_voc: Callable[..., Path]) -> Path:
    return make_voc(IMAGES)


def test_a_step_waits_for_nothing(root: Path, tmp_path: Path):
    loop = make_loop(RECIPE, root, tmp_path / "run", find_model("voc07"), root / "proposals", "cuda")
    loop.task.prepare()
    examples = [loop.task.example(step).pin_memory() for step in range(4)]
    loop.train_step(examples[0])  # state is made at the first step
    torch.cuda.set_sync_debug_mode("error")
    try:
        numbers = [loop.train_step(example) for example in examples[1:]]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(np.isfinite(float(n["loss"])) for n in numbers)


def test_losses_are_those_of_the_cpu(root: Path, tmp_path: Path):
    losses = {}
    for device in ("cpu", "cuda"):
        loop = make_loop(RECIPE, root, tmp_path / device, find_model("voc07"), root / "proposals", device)
        loop.dtype = torch.float32
        loop.task.prepare()
        losses[device] = [{k: float(v) for k, v in loop.train_step(loop.task.example(s)).items()} for s in range(3)]
    for on_cpu, on_gpu in zip(losses["cpu"], losses["cuda"], strict=True):
        assert on_gpu == pytest.approx(on_cpu, rel=0.02)


def test_a_run_ends_with_a_model_and_resumes(root: Path, tmp_path: Path):
    loop = make_loop(RECIPE, root, tmp_path / "run", find_model("voc07"), root / "proposals", "cuda", workers=2)
    loop.run()
    model = load_model(tmp_path / "run/model.safetensors")
    assert model.metadata["steps"] == 6
    again = make_loop(RECIPE, root, tmp_path / "run", None, root / "proposals", "cuda")
    assert again.step == 6
    for name, tensor in again.network.state_dict().items():
        assert torch.equal(tensor, loop.network.state_dict()[name]), name

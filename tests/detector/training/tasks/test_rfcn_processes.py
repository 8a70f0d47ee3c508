"""Training of an R-FCN in several processes: what each of them sees, and the weights that they reach together."""

import dataclasses
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from detector.config import parse, to_plain
from detector.errors import InputError
from detector.training.assembly import make_loop
from detector.training.data import read_sample
from detector.training.loop import TrainingLoop
from detector.training.recipes import RFCNRecipe
from detector.training.tasks.rfcn import RFCNTask

ROOT = Path(__file__).parents[4]
RECIPE = {
    "data": {"train_split": "val", "eval_split": "val"},
    "model": {"input": {"short_side": 96}, "network": {"multibox": {"grids": [3, 1], "shapes": 2, "channels": 8}}},
    "augmentation": {"scale": [0.8, 1.3], "color_jitter": 0.2, "random_crop": {"probability": 0.7}},
    "multibox": {"weight": 0.5, "backbone": True, "loss": {"negatives": 5}},
    "optimizer": {"steps": 5, "warmup_steps": 0, "lr": 0.002, "ema_decay": 0.5},
    "batch": 4,
    "ohem_rois": 32,
    "eval_every": 5,
    "checkpoint_every": 2,
}
SCRIPT = """
import json, os, signal, sys, time
from pathlib import Path
import torch
from detector.config import parse
from detector.training import loop as training_loop
from detector.ops.distributed import process_group, rank
from detector.training.recipes import RFCNRecipe
from detector.training.assembly import make_loop

torch.set_num_threads(1)
training_loop.fast_dtype = lambda device: torch.float32
root, out, init = map(Path, sys.argv[1:4])
recipe = parse(RFCNRecipe, json.loads(sys.argv[4]), "script")
dies_at = int(sys.argv[5])
if os.environ["TORCHELASTIC_RESTART_COUNT"] == "1" and os.environ["RANK"] == "1":
    time.sleep(3)  # the first process looks for it, and must not find where the one that died could be reached
with process_group("cpu"):
    loop = make_loop(recipe, root, out, init, root / "proposals", "cpu")
    begun, step = loop.step, loop.train_step

    def train_step(example):
        if loop.step == dies_at and rank() == 1 and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
            os.kill(os.getpid(), signal.SIGKILL)
        return step(example)

    loop.train_step = train_step
    loop.run()
    if rank() == 0:
        print("begun at", begun, flush=True)
        torch.save({"network": loop.network.state_dict(), "ema": loop.ema.state_dict()}, out / "weights.pt")
"""


def recipe(**changes: Any) -> RFCNRecipe:
    return parse(RFCNRecipe, RECIPE | changes, "test")


@pytest.fixture
def root(draw: Callable[..., Path]) -> Path:
    return draw()


def trainer(root: Path, out: Path, init: Path, recipe: RFCNRecipe) -> TrainingLoop:
    return make_loop(recipe, root, out, init, cache=root / "proposals", device="cpu")


def shared(monkeypatch: pytest.MonkeyPatch, rank: int, world: int) -> None:
    monkeypatch.setattr("detector.training.tasks.rfcn.rank", lambda: rank)
    monkeypatch.setattr("detector.training.tasks.rfcn.world_size", lambda: world)


@pytest.mark.parametrize("mixtures", [{}, {"mosaic": 0.5}, {"mixup": 0.5}])
@pytest.mark.parametrize("world", [2, 4])
def test_processes_see_together_what_one_sees(root, tmp_path, init, monkeypatch, world, mixtures):
    """Image i of the batch belongs to process i modulo their number; all images of a step have one size."""
    plain = recipe()
    scaled = dataclasses.replace(plain.augmentation, scale=(0.5, 4.0))  # so that other scales are other sizes
    varied = dataclasses.replace(plain, augmentation=dataclasses.replace(scaled, **mixtures))
    whole = [trainer(root, tmp_path, init, varied).task.examples(step) for step in range(4)]
    assert len({example.size for examples in whole for example in examples}) > 1
    if mixtures:
        unmixed = trainer(root, tmp_path, init, dataclasses.replace(plain, augmentation=scaled)).task
        most = max(len(example.objects) for step in range(4) for example in unmixed.examples(step))
        assert max(len(example.objects) for examples in whole for example in examples) > most
    for rank in range(world):
        shared(monkeypatch, rank, world)
        task = trainer(root, tmp_path, init, varied).task
        for step, examples in enumerate(whole):
            for part, whole_part in zip(task.examples(step), examples[rank::world], strict=True):
                for field in ("image", "regions", "objects", "labels", "difficult"):
                    assert torch.equal(getattr(part, field), getattr(whole_part, field)), field


def test_images_of_other_processes_are_not_read(root, tmp_path, init, monkeypatch):
    read = []

    def noting(dataset: Any, index: int) -> Any:
        read.append(index)
        return read_sample(dataset, index)

    monkeypatch.setattr("detector.training.data.read_sample", noting)
    seen = []
    for rank in range(2):
        shared(monkeypatch, rank, 2)
        task = trainer(root, tmp_path, init, recipe()).task
        task.examples(0)
        assert len(read) == 2
        seen += read
        read.clear()
    assert sorted(seen) == [0, 1, 2, 3], "an epoch of four images is a step"


def test_each_process_fills_in_its_part_of_the_proposals(root, tmp_path, init, monkeypatch):
    filled = []
    monkeypatch.setattr(
        "detector.training.data.ProposedImages.propose", lambda self, which: filled.append(list(which)) or iter(())
    )
    for rank in range(2):
        shared(monkeypatch, rank, 2)
        trainer(root, tmp_path, init, recipe()).task.prepare()
    assert filled == [[0, 2], [1, 3]]


def test_processes_that_start_differently_are_refused(root, tmp_path, init, monkeypatch):
    """As on machines that do not share the folder of the checkpoints."""
    monkeypatch.setattr("detector.training.loop.world_size", lambda: 2)
    asked = []
    monkeypatch.setattr("detector.training.loop.any_process", lambda flag, device: flag)
    monkeypatch.setattr("detector.training.loop.same_in_all", lambda numbers, device: asked.append(numbers))
    for changed in (recipe(), recipe(), recipe(seed=1)):
        with pytest.raises(InputError, match=r"checkpoint\.pt: the processes"):
            trainer(root, tmp_path / "out", init, changed)
    assert asked[0] == asked[1] != asked[2]
    assert max(map(max, asked)) < 2**63


@pytest.mark.slow
def test_whether_all_processes_have_the_same_numbers():
    script = """
import os, torch
from detector.ops.distributed import process_group, same_in_all
rank, cpu = int(os.environ["RANK"]), torch.device("cpu")
with process_group("cpu"):
    print([same_in_all(numbers, cpu) for numbers in ((7, 2**62), (7, rank), (rank - 1, -rank), (0,))])
"""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)
    }  # fmt: skip
    command = [sys.executable, "-c", script]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**environment, "RANK": rank}) for rank in "01"
    ]
    assert [process.communicate(timeout=240)[0] for process in both] == ["[True, False, False, True]\n"] * 2


def test_batches_that_cannot_be_shared(root, tmp_path, init, monkeypatch):
    monkeypatch.setattr("detector.ops.distributed.world_size", lambda: 3)
    with pytest.raises(InputError, match=r"batch: 4 .* 3 processes"):
        trainer(root, tmp_path, init, recipe())


def torchrun(root: Path, out: Path, init: Path, recipe: RFCNRecipe, dies_at: int = -1) -> str:
    out.mkdir()
    (out / "script.py").write_text(SCRIPT)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    arguments = ["--max-restarts", "1", out / "script.py", root, out, init, json.dumps(to_plain(recipe)), dies_at]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launch, *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_two_processes_give_the_weights_of_one_also_when_one_is_killed(root, tmp_path, init, monkeypatch):
    """Within rounding; images without objects and MultiBox's loss, which is a part of an object's, included."""
    monkeypatch.setattr("detector.training.loop.fast_dtype", lambda device: torch.float32)
    alone = trainer(root, tmp_path / "alone", init, recipe())
    assert isinstance(alone.task, RFCNTask)
    start = {name: tensor.clone() for name, tensor in alone.network.state_dict().items()}
    alone.run()

    assert torchrun(root, tmp_path / "together", init, recipe()).strip() == "begun at 0"
    killed = torchrun(root, tmp_path / "killed", init, recipe(), dies_at=3)
    assert killed.strip() == "begun at 2", "the step of the last checkpoint"
    together, again = (torch.load(tmp_path / name / "weights.pt", weights_only=True) for name in ("together", "killed"))
    for kind in ("network", "ema"):
        expected = getattr(alone, kind).state_dict()
        assert together[kind].keys() == expected.keys()
        for name, tensor in together[kind].items():
            torch.testing.assert_close(tensor, expected[name], rtol=0, atol=1e-5, msg=f"{kind} {name}")
            torch.testing.assert_close(again[kind][name], tensor, rtol=0, atol=0, msg=f"{kind} {name}")
    for name, after in alone.network.state_dict().items():
        moved, apart = (after - start[name]).norm(), (after - together["network"][name]).norm()
        assert apart <= 0.01 * moved, name
    steps = [torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)["step"] for name in ("alone", "killed")]
    assert steps == [5, 5]

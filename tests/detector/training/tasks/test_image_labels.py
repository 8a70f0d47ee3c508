"""Training of an R-FCN on image labels by a recipe: it learns, resumes exactly, and its model is an ordinary one."""

import csv
import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from detector.config import parse
from detector.errors import InputError
from detector.inference.assembly import load_pipeline
from detector.models.weights import load_model
from detector.structures.image import read_image
from detector.training.assembly import make_loop
from detector.training.data import sample_index
from detector.training.loop import TrainingLoop
from detector.training.recipes import RFCNRecipe

VALUES = {
    "data": {"train_split": "val", "eval_split": "val", "labels": "image"},
    "model": {"input": {"short_side": 96}},
    "augmentation": {"scale": [1.0, 1.0], "color_jitter": 0.2},
    "optimizer": {"steps": 4, "warmup_steps": 2, "lr": 0.002},
    "eval_every": 4,
    "checkpoint_every": 2,
}
RECIPE = parse(RFCNRecipe, VALUES, "test")


def trainer(root: Path, out: Path, init: Path, recipe: RFCNRecipe = RECIPE) -> TrainingLoop:
    return make_loop(recipe, root, out, init, cache=root / "proposals", device="cpu")


def test_the_training_sees_no_box_and_its_model_detects(draw: Callable[..., Path], tmp_path: Path, init: Path):
    """Photo c shows a bus and a difficult sofa, which counts as unknown; the evaluation compares with boxes."""
    root = draw()
    run = trainer(root, tmp_path / "run", init)
    dataset = run.task.data.dataset
    bus, sofa = (dataset.class_names.index(name) for name in ("bus", "sofa"))
    for sample in dataset.samples:
        assert (sample.annotations.boxes == (0, 0, *sample.annotations.image_size)).all()
    expected = {"a": (1, 0), "b": (0, 1), "c": (1, -1), "d": (0, 0)}
    for step in range(4):
        labels = run.task.example(step).image_labels[0]
        assert (labels[bus], labels[sofa]) == expected[dataset.ids[sample_index(0, step, 4)]]
        assert labels.abs().sum() == labels[[bus, sofa]].abs().sum()
    run.run()
    model = load_model(tmp_path / "run/model.safetensors")
    assert not any(name.startswith(("streams", "objectness")) for name in model.network.state_dict())
    assert model.metadata["metric"] == "voc07"
    detector = load_pipeline(tmp_path / "run/model.safetensors", "cpu")
    assert len(detector.detect(read_image(root / "JPEGImages/a.jpg"), 0.0)) > 0


@pytest.mark.slow
def test_loss_falls_on_the_same_examples(draw: Callable[..., Path], tmp_path: Path, init: Path):
    longer = dataclasses.replace(RECIPE, optimizer=dataclasses.replace(RECIPE.optimizer, steps=60))
    run = trainer(draw(), tmp_path / "run", init, longer)
    examples = [run.task.example(step) for step in range(4)]
    losses = []
    for step in range(40):
        run.step = step
        losses.append(run.train_step(examples[step % 4])["image"])
    assert np.mean(losses[-4:]) < 0.5 * np.mean(losses[:4])


@pytest.mark.slow
def test_interrupted_and_resumed_equals_uninterrupted(
    draw: Callable[..., Path], tmp_path: Path, init: Path, interrupt_and_resume: Callable[..., TrainingLoop]
):
    root = draw()
    interrupt_and_resume(lambda name: trainer(root, tmp_path / name, init), at=2)


def test_a_recipe_takes_a_csv_file(draw: Callable[..., Path], tmp_path: Path, init: Path):
    root = draw()
    with (root / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [["image", "class"], ["JPEGImages/a.jpg", "bus"], ["JPEGImages/b.jpg", "sofa"], ["JPEGImages/d.jpg", ""]]
        )
    data = {"train": [{"path": "labels.csv"}], "val": ".", "labels": "image"}
    run = trainer(root, tmp_path / "run", init, parse(RFCNRecipe, {**VALUES, "data": data}, "test"))
    assert run.task.data.dataset.class_names == ("bus", "sofa")
    assert [s.annotations.labels.tolist() for s in run.task.data.dataset.samples] == [[0], [1], []]
    assert len(run.task.val) == 4
    assert run.task.example(0).image_labels.shape == (1, 2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"iou_targets": True},
        {"data": {**VALUES["data"], "unlabeled": "photos"}},
        {"model": {"network": {"multibox": {}}}},
    ],
)
def test_what_needs_boxes_is_refused(wrong: dict, tmp_path: Path):
    with pytest.raises(InputError, match="labels"):
        make_loop(parse(RFCNRecipe, {**VALUES, **wrong}, "test"), tmp_path, tmp_path, None, tmp_path)

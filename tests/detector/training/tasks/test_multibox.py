"""Training of MultiBox on small drawn images: as a network of its own, and as a head of an R-FCN."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from detector.config import parse
from detector.data.voc import VOCDataset
from detector.errors import InputError
from detector.evaluation.prediction.proposals import evaluate_proposals
from detector.inference.proposers import load_multibox
from detector.models.backbone import Backbone
from detector.models.weights import load_model
from detector.training.assembly import make_loop
from detector.training.loop import TrainingLoop
from detector.training.recipes import MultiBoxRecipe
from detector.training.tasks import multibox as multibox_training
from detector.training.tasks.multibox import MultiBoxBatch, MultiBoxTask, relative_boxes, relative_objects
from proposals.multibox.loss import multibox_targets
from proposals.multibox.priors import make_priors

VALUES = {
    "task": "multibox",
    "data": {"train_split": "val", "eval_split": "val"},
    "model": {"size": 64, "head": {"grids": [4, 2], "shapes": 2, "channels": 16}},
    "loss": {"negatives": 10},
    "batch": 4,
    "optimizer": {"steps": 5, "warmup_steps": 2, "lr": 0.002},
    "eval_every": 5,
    "checkpoint_every": 2,
}
RECIPE = parse(MultiBoxRecipe, VALUES, "test")
BY_PREDICTIONS = dataclasses.replace(RECIPE.loss, matching="predictions")
EIGHT = {
    f"image{i}": [
        ("bus", (1 + 9 * i, 5, 30 + 9 * i, 40), 0),
        *([("sofa", (41, 41 + i, 90, 70 + i), 0)] if i % 2 else []),
    ]
    for i in range(8)
}


class SmallBackbone(Backbone):
    """Three convolutions to stride 8."""

    out_channels, stride, offset = 32, 8, 4.0
    mean, std = (120.0, 110.0, 100.0), (60.0, 50.0, 40.0)

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 16, 32, 32)
        self.body = nn.Sequential(
            *(
                part
                for i in range(3)
                for part in (nn.Conv2d(widths[i], widths[i + 1], 3, stride=2, padding=1), nn.ReLU())
            )
        )
        for module in self.body:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small backbone of random weights in place of GoogLeNet's."""
    monkeypatch.setattr("detector.models.weights.make_backbone", lambda name: SmallBackbone())
    monkeypatch.setattr(multibox_training, "load_initial_weights", lambda network, init: None)


def trainer(root: Path, out: Path, recipe: MultiBoxRecipe = RECIPE) -> TrainingLoop[MultiBoxBatch]:
    return make_loop(recipe, root, out, None, cache=root / "proposals", device="cpu")


def with_steps(steps: int, **changes: object) -> MultiBoxRecipe:
    optimizer = {"steps": steps, "warmup_steps": 10, "lr": 0.01, "weight_decay": 0.0, "ema_decay": 0.9}
    return parse(MultiBoxRecipe, {**VALUES, "optimizer": optimizer, "eval_every": steps, **changes}, "test")


@pytest.mark.slow
@pytest.mark.parametrize("form", ["grid", "global"])
def test_it_overfits_eight_images(draw: Callable[..., Path], tmp_path: Path, form: str):
    """Every object is covered, by as many boxes as there are objects."""
    root = draw(EIGHT)
    head = {"form": form, "priors": 8, "grids": [4, 2], "shapes": 2, "channels": 16}
    recipe = with_steps(
        150, batch=8, model={"size": 64, "head": head}, random_crop={"probability": 0.0}, color_jitter=0.0
    )
    trainer(root, tmp_path / "run", recipe).run()
    proposer = load_multibox(tmp_path / "run/model.safetensors", 2, torch.device("cpu"))
    coverage = evaluate_proposals(proposer, VOCDataset(root, "val")).evaluation.coverage()
    assert coverage.recall50 == 1.0
    assert load_model(tmp_path / "run/model.safetensors", ("multibox",)).metadata["recall50 at 100"] == 1.0


def test_interrupted_and_resumed_equals_uninterrupted(draw: Callable[..., Path], tmp_path: Path, interrupt_and_resume):
    root = draw()
    loop = interrupt_and_resume(lambda name: trainer(root, tmp_path / name), 2)
    priors = make_priors(relative_boxes(VOCDataset(root, "val")), RECIPE.model.head)
    torch.testing.assert_close(loop.network.head.priors, torch.from_numpy(priors))


def test_images_without_objects(draw: Callable[..., Path], tmp_path: Path):
    """They are trained on, as long as some image gives the priors."""
    objects = [("bus", (1 + 4 * i, 5, 30 + 5 * i, 40 + 2 * i), 0) for i in range(8)]
    loop = trainer(draw({"a": objects, "b": [], "c": [], "d": []}), tmp_path / "run")
    loop.run()
    assert load_model(tmp_path / "run/model.safetensors", ("multibox",)).metadata["steps"] == 5


def test_one_image_with_a_hundred_objects(draw: Callable[..., Path], tmp_path: Path):
    """More objects than the head has boxes."""
    places = [(x, y) for x in range(10) for y in range(10)]
    objects = [("bus", (1 + x * 9, 1 + y * 7, 7 + x * 9 + y % 2, 6 + y * 7 + x % 2), 0) for x, y in places]
    recipe = with_steps(4, model={"size": 64, "head": {"form": "global", "priors": 5, "channels": 4}})
    trainer(draw({"a": objects}), tmp_path / "run", recipe).run()
    assert (tmp_path / "run/model.safetensors").exists()


def test_too_few_objects_for_the_priors(draw: Callable[..., Path], tmp_path: Path):
    recipe = with_steps(4, model={"size": 64, "head": {"form": "global", "priors": 50}})
    with pytest.raises(InputError, match=r"50 priors .* 3"):
        trainer(draw(), tmp_path / "run", recipe)


def test_a_wrong_annotation_names_file_and_box(draw: Callable[..., Path], tmp_path: Path):
    root = draw()
    path = root / "Annotations/b.xml"
    path.write_text(path.read_text().replace("<xmin>31</xmin>", "<xmin>95</xmin>"))
    with pytest.raises(InputError, match=r"b\.xml: object 1: bndbox \(95, 21, 90, 70\) has no area"):
        trainer(root, tmp_path / "run")


def test_half_of_the_images_are_mirrored(draw: Callable[..., Path]):
    """A bus in the left half of the image is red where its box says."""
    recipe = with_steps(5, random_crop={"probability": 0.0}, color_jitter=0.0, loss={"matching": "predictions"})
    task = MultiBoxTask(recipe, draw({"a": [("bus", (1, 1, 50, 80), 0)]}))
    batches = [task.example(step) for step in range(25)]
    sides = [objects.boxes[0, 0].item() for batch in batches for objects in batch.objects]
    assert 30 < sides.count(0.5) < 70
    for batch in batches:
        for image, objects in zip(batch.images, batch.objects, strict=True):
            red = image[0, 32, 16 if objects.boxes[0, 0] == 0 else 48]
            assert red > 200


def test_a_batch_is_drawn_from_its_step_alone(draw: Callable[..., Path]):
    task = MultiBoxTask(with_steps(5, seed=3, loss={"matching": "predictions"}), draw(EIGHT))
    first, again, other = task.example(2), task.example(2), task.example(3)
    assert first.images.shape == (4, 3, 64, 64)
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)
    for objects in first.objects:
        assert ((objects.boxes >= 0) & (objects.boxes <= 1)).all()


def test_objects_are_matched_while_a_batch_is_prepared(draw: Callable[..., Path], tmp_path: Path):
    """With the priors that the training starts from, to the targets that the objects have."""
    root = draw(EIGHT)
    task = trainer(root, tmp_path / "run").task
    other = trainer(root, tmp_path / "other", dataclasses.replace(RECIPE, loss=BY_PREDICTIONS)).task
    assert isinstance(task, MultiBoxTask)
    assert isinstance(other, MultiBoxTask)
    for step in range(3):
        batch, unmatched = task.example(step), other.example(step)
        assert batch.objects == ()
        assert unmatched.targets is None
        assert torch.equal(batch.images, unmatched.images)
        expected = multibox_targets(task.network.head, unmatched.objects, RECIPE.loss)
        assert batch.targets is not None
        assert batch.targets.counts == expected.counts
        for name in ("image", "prior", "box_deltas", "difficult"):
            assert torch.equal(getattr(batch.targets, name), getattr(expected, name))


@pytest.mark.parametrize("matching", ["priors", "predictions"])
def test_processes_that_prepare_change_nothing(draw: Callable[..., Path], tmp_path: Path, matching: str):
    root, recipe = draw(EIGHT), with_steps(4, loss={"negatives": 10, "matching": matching})
    weights = []
    for workers in (0, 2):
        loop = make_loop(recipe, root, tmp_path / str(workers), None, root / "cache", "cpu", workers)
        loop.run()
        weights.append(loop.network.state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_objects_in_parts_of_the_image():
    objects = relative_objects(torch.tensor([[10.0, 20.0, 50.0, 80.0]]), torch.tensor([True]), 100, 80)
    torch.testing.assert_close(objects.boxes, torch.tensor([[0.1, 0.25, 0.5, 1.0]]))
    assert objects.difficult.tolist() == [True]


def test_boxes_of_a_data_set_leave_out_what_is_difficult(draw: Callable[..., Path]):
    boxes = relative_boxes(VOCDataset(draw(), "val"))
    np.testing.assert_allclose(
        boxes * (100, 80, 100, 80), [[10, 10, 70, 60], [30, 20, 90, 70], [0, 0, 45, 50]], rtol=1e-6
    )

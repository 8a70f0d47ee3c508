"""Photos without labels: which are used, what the teacher's detections become, and the training with them."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from detector.config import parse
from detector.errors import InputError
from detector.structures.detections import Detections
from detector.training.assembly import make_loop
from detector.training.loop import TrainingLoop
from detector.training.pseudo_labels import PseudoLabeler, find_unlabeled, pseudo_labels
from detector.training.recipes import RCNNRecipe, RFCNRecipe
from detector.training.targets import match_regions
from tests.detector.training.conftest import IMAGES

RECIPE: dict[str, Any] = {
    "data": {"train_split": "val", "eval_split": "val", "unlabeled": "more"},
    "model": {"input": {"short_side": 96}},
    "optimizer": {"steps": 4, "warmup_steps": 0, "lr": 0.002, "ema_decay": 0.5},
    "pseudo_labels": {"burn_in": 0.5, "sure": 0.03, "unsure": 0.03},
    "ohem_rois": 32,
    "eval_every": 4,
    "checkpoint_every": 2,
}
MORE = {"e": [("bus", (21, 11, 80, 60), 0)], "f": [("sofa", (11, 31, 70, 70), 0)]}


@pytest.fixture
def root(draw: Callable[..., Path]) -> Path:
    """Photos with labels, and in the folder more two others and a copy of one with labels."""
    root = draw({**IMAGES, **MORE})
    (root / "ImageSets/Main/val.txt").write_text("\n".join(IMAGES))
    (root / "more").mkdir()
    for name in MORE:
        (root / f"JPEGImages/{name}.jpg").rename(root / f"more/{name}.jpg")
    shutil.copy(root / "JPEGImages/a.jpg", root / "more/copy of a.jpg")
    return root


@pytest.fixture
def loop(root: Path, tmp_path: Path, init: Path) -> Callable[..., TrainingLoop]:
    def make(out: str = "run", workers: int = 0, **changes: Any) -> TrainingLoop:
        recipe = parse(RFCNRecipe, {**RECIPE, **changes}, "test")
        return make_loop(recipe, root, tmp_path / out, init, tmp_path / "proposals", "cpu", workers)

    return make


def found(*rows: tuple[int, float, tuple[int, int, int, int]]) -> Detections:
    labels, scores, boxes = zip(*rows, strict=True) if rows else ((), (), np.zeros((0, 4)))
    return Detections(
        np.array(boxes, np.float32),
        np.array(scores, np.float32),
        np.array(labels, np.int64),
        class_names=("bus", "sofa", "robot"),
        image_size=(100, 80),
    )


def test_sure_detections_are_objects_and_unsure_ones_are_difficult():
    detections = found((1, 0.9, (10, 10, 50, 50)), (0, 0.5, (60, 10, 90, 40)), (2, 0.89, (10, 60, 40, 75)))
    objects = pseudo_labels(detections, sure=0.9)
    assert objects.boxes.tolist() == detections.boxes.tolist()
    assert objects.labels.tolist() == [1, 0, 2]
    assert objects.difficult.tolist() == [False, True, True]
    assert (objects.image_size, objects.unlabeled) == ((100, 80), frozenset())


def test_regions_of_unsure_detections_are_neither_objects_nor_background():
    objects = pseudo_labels(found((1, 0.95, (10, 10, 50, 50)), (0, 0.5, (60, 10, 90, 40))), sure=0.9)
    regions = torch.tensor([[12, 10, 50, 50], [61, 10, 90, 40], [10, 60, 30, 75.0]])
    arrays = (torch.tensor(array) for array in (objects.boxes, objects.labels, objects.difficult))
    assert match_regions(regions, *arrays).labels.tolist() == [2, -1, 0]


def test_an_unsure_detection_in_the_place_of_a_sure_one_does_not_count():
    detections = found((1, 0.95, (10, 10, 50, 50)), (0, 0.5, (10, 10, 50, 52)), (0, 0.5, (10, 10, 50, 20)))
    assert pseudo_labels(detections, sure=0.9).labels.tolist() == [1, 0]
    assert pseudo_labels(detections, sure=0.99).labels.tolist() == [1, 0, 0]


def test_no_detections_and_classes_without_labels():
    assert len(pseudo_labels(found(), sure=0.9)) == 0
    objects = pseudo_labels(found((1, 0.95, (10, 10, 50, 50)), (0, 0.5, (60, 10, 90, 40))), 0.9, frozenset({1}))
    assert (objects.labels.tolist(), objects.unlabeled) == ([0], frozenset({1}))


def test_photos_of_the_data_and_of_test_folders_are_left_out(root: Path):
    (root / "more/Test").mkdir()
    shutil.copy(root / "more/e.jpg", root / "more/Test/e.jpg")
    (root / "more/broken.jpg").write_bytes(b"no photo")
    data = find_unlabeled(root / "more", (root / "JPEGImages").iterdir())
    assert [sample.id for sample in data.samples] == ["e.jpg", "f.jpg"]
    assert [fault.file for fault in data.faults] == [str(root / "more/broken.jpg")]
    assert all(note.startswith("1 of the 5 photos") for note in data.notes)
    assert len(data.notes) == 2


def test_folders_without_photos_to_use(root: Path):
    for folder in (root / "none", root / "Annotations", root / "JPEGImages"):
        with pytest.raises(InputError, match=f"^{folder}: "):
            find_unlabeled(folder, (root / "JPEGImages").iterdir())


def test_a_recipe_names_a_damaged_photo(root: Path, loop: Callable[..., TrainingLoop]):
    (root / "more/broken.jpg").write_bytes(b"no photo")
    with pytest.raises(InputError, match=r"^[^\n]*more/broken\.jpg: [^\n]*$"):
        loop()


def test_only_an_rfcn_takes_photos_without_labels():
    with pytest.raises(InputError, match=r"^test: data: key 'unlabeled'"):
        parse(RCNNRecipe, {"task": "rcnn", "data": RECIPE["data"]}, "test")
    with pytest.raises(InputError, match="unsure"):
        parse(RFCNRecipe, {**RECIPE, "pseudo_labels": {"sure": 0.5, "unsure": 0.6}}, "test")


def test_labels_begin_after_the_burn_in_and_are_counted(root: Path, loop: Callable[..., TrainingLoop]):
    """Half of four steps; the untrained network finds something everywhere."""
    run = loop()
    steps = []
    for step in range(4):
        steps.append(run.train_step(run.task.example(step)))
        run.step += 1
    assert [step["unlabeled"] > 0 for step in steps] == [False, False, True, True]
    assert [step["sure"] > 0 for step in steps[:3]] == [False, False, True]
    assert all(step["unsure"] == 0 for step in steps)


def test_without_weight_the_training_is_that_of_the_labels(root: Path, loop: Callable[..., TrainingLoop]):
    data = {**RECIPE["data"], "unlabeled": None}
    runs = [
        loop("a", data=data, pseudo_labels={}),
        loop("b", pseudo_labels={"weight": 0, "burn_in": 0}),
        loop("c", pseudo_labels={"burn_in": 0}),
    ]
    for run in runs[1:]:
        run.network.load_state_dict(runs[0].network.state_dict())
        run.ema.load_state_dict(runs[0].ema.state_dict())
    for run in runs:
        run.dtype = torch.float32
        run.train_step(run.task.example(0))
    without, no_weight, weight = (run.network.score_conv.weight for run in runs)
    torch.testing.assert_close(no_weight, without, rtol=0, atol=0)
    assert not torch.equal(weight, without)


def test_labels_and_pixels_move_together(
    root: Path, loop: Callable[..., TrainingLoop], monkeypatch: pytest.MonkeyPatch
):
    """Whatever the scale and the mirroring, the bus of photo e is where the student's box says."""
    run = loop(augmentation={"scale": [0.7, 1.5]})
    monkeypatch.setattr("detector.training.pseudo_labels.erase", lambda pixels, count, rng: pixels)
    monkeypatch.setattr(
        PseudoLabeler,
        "detect",
        lambda self, teacher, batch, autocast: [found((0, 1.0, (20, 10, 80, 60)))] * len(batch.photos),
    )
    seen = []
    for step in range(12):
        batch = run.task.example(step).unlabeled
        again = run.task.example(step).unlabeled
        assert torch.equal(batch.strong, again.strong)
        (example,) = run.task.labeler.label(None, batch, None)
        if run.task.labeler.order[step] != [0]:
            continue
        assert example.labels.tolist() == [0]
        (box,) = example.objects.round().int().tolist()
        inside = example.image[:, box[1] + 5 : box[3] - 5, box[0] + 5 : box[2] - 5].float().mean(dim=(1, 2))
        assert inside[0] > 2 * inside[2]
        assert (example.regions == example.objects).all(dim=1).any()
        seen.append(batch.photos[0].flipped)
    assert len(seen) >= 4


@pytest.mark.slow
@pytest.mark.parametrize(("batch", "workers"), [(1, 0), (2, 2)])
def test_a_resumed_training_makes_the_same_labels(
    loop: Callable[..., TrainingLoop], interrupt_and_resume, batch: int, workers: int
):
    run = interrupt_and_resume(lambda name: loop(name, workers, batch=batch), at=2)
    assert run.step == 4


def test_photos_vary_with_the_seed_alone(root: Path, loop: Callable[..., TrainingLoop]):
    runs = [loop("a"), loop("b"), loop("c", seed=1)]
    batches = [torch.stack([run.task.example(s).unlabeled.weak.float().mean() for s in range(6)]) for run in runs]
    assert torch.equal(batches[0], batches[1])
    assert not torch.equal(batches[0], batches[2])

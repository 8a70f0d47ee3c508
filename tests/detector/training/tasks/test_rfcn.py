"""Training of an R-FCN on small drawn images: it learns, it resumes exactly, its model detects."""

import dataclasses
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from detector.config import ModelConfig, parse
from detector.errors import InputError
from detector.inference.assembly import load_pipeline
from detector.models.weights import load_model
from detector.structures.image import read_image
from detector.training.assembly import make_loop
from detector.training.data import BatchOrder, sample_index
from detector.training.loop import TrainingLoop
from detector.training.optimizer import learning_rate
from detector.training.prefetch import prefetch
from detector.training.recipes import AugmentationConfig, OptimizerConfig, RFCNRecipe, SharedMultiBoxConfig
from detector.training.tasks.multibox import relative_objects
from detector.training.tasks.rfcn import RFCNBatch
from proposals.multibox.config import MultiBoxLossConfig
from proposals.multibox.loss import multibox_targets

RECIPE = parse(
    RFCNRecipe,
    {
        "data": {"train_split": "val", "eval_split": "val"},
        "model": {"input": {"short_side": 96}},
        "augmentation": {"scale": [1.0, 1.0], "color_jitter": 0.2},
        "optimizer": {"steps": 5, "warmup_steps": 2, "lr": 0.002},
        "ohem_rois": 32,
        "eval_every": 5,
        "checkpoint_every": 2,
    },
    "test",
)


@pytest.fixture
def root(draw: Callable[..., Path]) -> Path:
    return draw()


def trainer(root: Path, out: Path, init: Path | None, recipe: RFCNRecipe = RECIPE) -> TrainingLoop:
    return make_loop(recipe, root, out, init, cache=root / "proposals", device="cpu")


def test_learning_rate_by_hand():
    config = OptimizerConfig(steps=100, lr=1.0, warmup_steps=10)
    assert learning_rate(config, 0) == pytest.approx(0.1)
    assert learning_rate(config, 50) == pytest.approx(0.5)
    assert learning_rate(config, 100) == pytest.approx(0.0)


@pytest.mark.slow
def test_loss_falls_on_the_same_examples(root: Path, tmp_path: Path, init: Path):
    longer = dataclasses.replace(RECIPE, optimizer=dataclasses.replace(RECIPE.optimizer, steps=40))
    run = trainer(root, tmp_path / "run", init, longer)
    examples = [run.task.example(step) for step in range(4)]
    losses = []
    for step in range(16):
        run.step = step
        losses.append(run.train_step(examples[step % 4])["loss"])
    assert np.mean(losses[-4:]) < 0.7 * np.mean(losses[:4])


@pytest.mark.slow
def test_interrupted_and_resumed_equals_uninterrupted(root: Path, tmp_path: Path, init: Path, interrupt_and_resume):
    interrupt_and_resume(lambda name: trainer(root, tmp_path / name, init), at=2)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_resumed_too(root: Path, tmp_path: Path, init: Path, interrupt_and_resume, workers: int):
    """An epoch is two steps here."""
    interrupt_and_resume(
        lambda name: make_loop(BATCH, root, tmp_path / name, init, root / "proposals", "cpu", workers), at=3
    )


def test_a_process_that_ends_is_one_line(root: Path, tmp_path: Path, init: Path):
    run = make_loop(BATCH, root, tmp_path / "run", init, root / "proposals", "cpu", 1)
    run.task.prepare()
    run.task.example = lambda step: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]
    with pytest.raises(InputError, match=r"^a process [^\n]*--workers$"):
        run.run()


def test_run_exports_a_model_that_detects(root: Path, tmp_path: Path, init: Path):
    trainer(root, tmp_path / "run", init).run()
    model = load_model(tmp_path / "run/model.safetensors")
    assert model.metadata["steps"] == 5
    assert model.metadata["images"] == 4
    assert 0 <= model.metadata["mAP"] <= 1
    detections = load_pipeline(tmp_path / "run/model.safetensors", "cpu").detect(
        read_image(root / "JPEGImages/a.jpg"), 0.0
    )
    assert len(detections) > 0
    assert {p.name for p in (tmp_path / "run").iterdir()} >= {"checkpoint.pt", "model.safetensors"}


def test_examples_depend_on_seed_and_step_alone(root: Path, tmp_path: Path, init: Path):
    run, again = trainer(root, tmp_path / "a", init), trainer(root, tmp_path / "b", init)
    run.task.examples(0), run.task.examples(2)
    for step in (5, 1):
        a, b = run.task.examples(step)[0], again.task.examples(step)[0]
        assert torch.equal(a.image, b.image)
        assert torch.equal(a.regions, b.regions)
    assert not torch.equal(run.task.examples(1)[0].image[:, :20, :20], run.task.examples(9)[0].image[:, :20, :20])


def test_every_epoch_visits_every_image(root: Path, tmp_path: Path, init: Path):
    orders = [[sample_index(0, epoch * 50 + i, 50) for i in range(50)] for epoch in range(2)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(50))
    assert orders[0] != orders[1]


def test_objects_and_pixels_move_together(root: Path, tmp_path: Path, init: Path):
    """Whatever the scale and the mirroring, the bus of image a is where its box says."""
    varied = dataclasses.replace(RECIPE, augmentation=AugmentationConfig(scale=(0.7, 1.5), color_jitter=0.2))
    run = trainer(root, tmp_path / "run", init, varied)
    seen = 0
    for step in range(40):
        (example,) = run.task.examples(step)
        for box, label in zip(example.objects.round().int().tolist(), example.labels.tolist(), strict=True):
            inside = example.image[:, box[1] + 3 : box[3] - 3, box[0] + 3 : box[2] - 3].float().mean(dim=(1, 2))
            assert inside[0 if label == 5 else 2] > 2 * inside[2 if label == 5 else 0]
            seen += 1
    assert seen > 20


def test_errors(root: Path, tmp_path: Path, init: Path):
    with pytest.raises(InputError, match="give --init"):
        trainer(root, tmp_path / "none", None)
    run = trainer(root, tmp_path / "run", init)
    (tmp_path / "run").mkdir()
    run.save()
    other = dataclasses.replace(RECIPE, seed=1)
    with pytest.raises(InputError, match=r"checkpoint\.pt: .*another recipe"):
        trainer(root, tmp_path / "run", init, other)
    checkpoint = tmp_path / "run/checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"checkpoint\.pt: .*readable"):
        trainer(root, tmp_path / "run", init)


def with_multibox(backbone: bool) -> RFCNRecipe:
    head = {"grids": [3, 1], "shapes": 2, "channels": 8}
    model = {"input": {"short_side": 96}, "network": {"multibox": head}}
    return dataclasses.replace(
        RECIPE,
        model=parse(ModelConfig, model, "test"),
        multibox=SharedMultiBoxConfig(MultiBoxLossConfig(negatives=5), weight=0.5, backbone=backbone),
    )


@pytest.mark.parametrize("backbone", [False, True])
def test_a_multibox_head_trains_the_backbone_only_on_request(root: Path, tmp_path: Path, init: Path, backbone: bool):
    clipped = {"optimizer": dataclasses.replace(RECIPE.optimizer, gradient_clip=0.1)}
    plain, run = (
        trainer(root, tmp_path / name, init, dataclasses.replace(recipe, **clipped))
        for name, recipe in (("plain", RECIPE), ("with", with_multibox(backbone)))
    )
    run.network.load_state_dict(plain.network.state_dict(), strict=False)  # the same score maps in both
    before = plain.network.backbone.inception_5b.conv1x1.weight.clone()
    steps = []
    for loop in (plain, run):
        loop.train_step(loop.task.example(1))
        steps.append(loop.network.backbone.inception_5b.conv1x1.weight - before)
    assert steps[0].abs().max() > 0
    assert torch.allclose(*steps, rtol=1e-3, atol=1e-9) is not backbone
    assert run.network.multibox.reduce.weight.grad.abs().sum() > 0


def test_a_region_classifier_with_multibox_detects_with_it(root: Path, tmp_path: Path, init: Path):
    trainer(root, tmp_path / "run", init, with_multibox(False)).run()
    path = tmp_path / "run/model.safetensors"
    detector = load_pipeline(path, "cpu", source="multibox")
    assert detector.proposer(np.zeros((80, 100, 3), np.uint8)).source_names == ("multibox",)
    detector.detect(read_image(root / "JPEGImages/a.jpg"), 0.0)
    # a run from this model keeps its priors, with which its weights were trained
    again = trainer(root, tmp_path / "again", path, dataclasses.replace(with_multibox(False), seed=5))
    torch.testing.assert_close(again.network.multibox.priors, load_model(path).network.multibox.priors)


BATCH = dataclasses.replace(with_multibox(False), batch=3)


def test_a_batch_has_the_mean_gradient_of_its_images(root: Path, tmp_path: Path, init: Path):
    recipe = dataclasses.replace(BATCH, optimizer=dataclasses.replace(BATCH.optimizer, gradient_clip=1e9))
    run = trainer(root, tmp_path / "run", init, recipe)
    run.dtype = torch.float32
    batch = run.task.example(0)
    before = {name: parameter.clone() for name, parameter in run.network.named_parameters()}

    def gradients(example) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            for name, parameter in run.network.named_parameters():
                parameter.copy_(before[name])
        run.train_step(example)
        return {n: p.grad.clone() for n, p in run.network.named_parameters() if p.grad is not None}

    together = gradients(batch)
    singles = []
    examples = run.task.examples(0)
    for index in range(3):
        truth = relative_objects(examples[index].objects, examples[index].difficult, *examples[index].size)
        rows = batch.regions.image_index == index
        regions = dataclasses.replace(batch.regions[rows], image_index=torch.zeros(int(rows.sum()), dtype=torch.long))
        head = run.task.network.multibox
        matched = multibox_targets(head, [truth], recipe.multibox.loss)
        single = RFCNBatch(
            batch.images[index : index + 1],
            regions,
            batch.targets[rows],
            (batch.counts[index],),
            matched,
            (),
        )
        singles.append(gradients(single))
    for name, gradient in together.items():
        if not name.startswith("multibox"):  # whose loss counts objects, not images
            expected = sum(single[name] for single in singles) / 3
            assert (gradient - expected).norm() <= 1e-3 * expected.norm() + 1e-9, name


@pytest.mark.parametrize("workers", [1, 2])
def test_processes_make_the_same_examples_in_the_same_order(root: Path, tmp_path: Path, init: Path, workers: int):
    varied = dataclasses.replace(BATCH, augmentation=AugmentationConfig(scale=(0.7, 1.5), mosaic=0.5, mixup=0.5))
    run = trainer(root, tmp_path / "run", init, varied)
    run.task.prepare()
    with prefetch(run.task.example, range(3, 9), workers) as examples:
        for step, example in zip(range(3, 9), examples, strict=True):
            expected = run.task.example(step)
            assert torch.equal(example.images, expected.images)
            assert torch.equal(example.regions.boxes, expected.regions.boxes)
            assert torch.equal(example.targets.box_deltas, expected.targets.box_deltas)
            assert torch.equal(example.multibox.box_deltas, expected.multibox.box_deltas)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_cannot_be_read_ends_the_training_in_its_turn(
    root: Path, tmp_path: Path, init: Path, workers: int
):
    run = make_loop(BATCH, root, tmp_path / "run", init, root / "proposals", "cpu", workers)
    run.task.prepare()
    for image in (root / "JPEGImages").iterdir():
        image.write_bytes(b"no photo")
    with pytest.raises(InputError, match=r"^[^\n]*JPEGImages/\w\.jpg[^\n]*$"):
        run.run()
    assert run.saved_step == 0


@pytest.mark.slow
def test_a_run_with_processes_ends_like_one_without(root: Path, tmp_path: Path, init: Path):
    runs = [make_loop(BATCH, root, tmp_path / f"{n}", init, root / "proposals", "cpu", n) for n in (0, 2)]
    for run in runs:
        run.run()
    for name, expected in runs[0].network.state_dict().items():
        torch.testing.assert_close(runs[1].network.state_dict()[name], expected, rtol=0, atol=0)


def test_a_training_that_diverges_is_not_saved(root: Path, tmp_path: Path, init: Path):
    wild = dataclasses.replace(RECIPE, optimizer=dataclasses.replace(RECIPE.optimizer, steps=40), checkpoint_every=40)
    run = trainer(root, tmp_path / "run", init, wild)
    step = run.train_step
    run.train_step = lambda example: {**step(example), **({"loss": float("nan")} if run.step == 3 else {})}
    with pytest.raises(InputError, match=r"step 3: the loss is nan"):
        run.run()
    assert not run.checkpoint.exists()


def test_batches_of_one_orientation_visit_every_image():
    wide = np.random.default_rng(0).random(50) < 0.7
    order = BatchOrder(3, wide, 4)
    steps = -(-int(wide.sum()) // 4) + -(-int((~wide).sum()) // 4)
    for epoch in range(2):
        batches = [order[epoch * steps + step] for step in range(steps)]
        assert {index for batch in batches for index in batch} == set(range(50))
        assert all(len(batch) == 4 and len({bool(wide[index]) for index in batch}) == 1 for batch in batches)
    assert [order[step] for step in range(steps)] != [order[steps + step] for step in range(steps)]
    single = BatchOrder(3, wide, 1)
    assert [single[step] for step in range(70)] == [[sample_index(3, step, 50)] for step in range(70)]

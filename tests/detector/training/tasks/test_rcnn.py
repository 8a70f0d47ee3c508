"""Training of an R-CNN on small drawn images, with a backbone of one convolution."""

import dataclasses
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from detector.config import CropConfig, parse
from detector.data.voc import VOC_CLASSES
from detector.errors import InputError
from detector.evaluation.prediction.ablation import VARIANTS
from detector.inference.assembly import load_pipeline
from detector.models.weights import load_model
from detector.ops.crops import crop_windows
from detector.structures.image import read_image
from detector.training.assembly import make_loop
from detector.training.data import ProposedImages, sample_index
from detector.training.initial_weights import load_initial_weights
from detector.training.loop import TrainingLoop
from detector.training.recipes import RCNNRecipe
from detector.training.tasks import rcnn as rcnn_training
from detector.training.tasks.rcnn import CropBatch, RCNNTask
from proposals import Proposals

BUS, SOFA = VOC_CLASSES.index("bus"), VOC_CLASSES.index("sofa")
RECIPE = parse(
    RCNNRecipe,
    {
        "task": "rcnn",
        "data": {"train_split": "val", "eval_split": "val"},
        "model": {"crops": {"size": 32, "context": 4}, "network": {"box_bins": 2, "dropout": 0.3}},
        "batch": {"images": 2, "crops": 16, "foreground": 6, "micro_batch": 5},
        "heads": {"images": 3, "negatives": 10, "near": 4, "svm_c": 0.1, "box_lambda": 1.0},
        "optimizer": {"steps": 5, "warmup_steps": 2, "lr": 0.002, "head_lr_mult": 10},
        "eval_every": 5,
        "checkpoint_every": 2,
    },
    "test",
)

pytestmark = pytest.mark.usefixtures("tiny_backbone", "random_start")


@pytest.fixture
def random_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new run starts from the random weights of its seed, not from a file."""
    monkeypatch.setattr(rcnn_training, "load_initial_weights", lambda network, init: None)


def with_batch(**changes: object) -> RCNNRecipe:
    """The recipe with another batch, crops of which have no context, so that windows are the regions."""
    crops = CropConfig(size=32, context=0)
    batch = dataclasses.replace(RECIPE.batch, **changes)
    return dataclasses.replace(RECIPE, model=dataclasses.replace(RECIPE.model, crops=crops), batch=batch)


def task(root: Path, recipe: RCNNRecipe = RECIPE) -> RCNNTask:
    return RCNNTask(recipe, root, root / "proposals")


def trainer(root: Path, out: Path, recipe: RCNNRecipe = RECIPE) -> TrainingLoop[CropBatch]:
    return make_loop(recipe, root, out, None, cache=root / "proposals", device="cpu")


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The windows of the crops, image by image in the order in which they are cut."""
    seen: list[torch.Tensor] = []
    warp = rcnn_training.warp_windows

    def warp_and_note(image: torch.Tensor, windows: torch.Tensor, size: int) -> torch.Tensor:
        seen.append(windows)
        return warp(image, windows, size)

    monkeypatch.setattr(rcnn_training, "warp_windows", warp_and_note)
    return seen


def test_labels_are_those_of_the_objects_that_regions_overlap(draw, windows: list[torch.Tensor]):
    made = task(draw(), with_batch())
    kinds = []
    for step in range(20):
        windows.clear()
        batch = made.example(step)
        assert batch.crops.shape == (16, 3, 32, 32)
        assert [len(w) for w in windows] == [8, 8]
        for number, labels in enumerate(batch.labels.split(8)):
            annotations = made.data.dataset[sample_index(0, step * 2 + number, 4)].annotations
            expected = torch.zeros(8, dtype=torch.long)
            if len(annotations):
                overlap, nearest = box_iou(windows[number], torch.tensor(annotations.boxes)).max(dim=1)
                assert not torch.tensor(annotations.difficult)[nearest[overlap >= 0.5]].any()
                expected = torch.where(overlap >= 0.5, torch.tensor(annotations.labels)[nearest] + 1, 0)
            assert torch.equal(labels, expected)
            kinds += labels.tolist()
    assert set(kinds) == {0, BUS + 1, SOFA + 1}


@pytest.mark.parametrize("foreground", [0, 2, 6, 16])
def test_share_of_the_foreground(draw, foreground: int):
    """Of each image that has objects; of other images all crops are background."""
    made = task(draw(), with_batch(foreground=foreground))
    for step in range(6):
        for number, labels in enumerate(made.example(step).labels.split(8)):
            objects = made.data.dataset.ids[sample_index(0, step * 2 + number, 4)] != "d"
            assert int((labels > 0).sum()) == (foreground // 2 if objects else 0)


def test_crops_show_their_objects(draw):
    """Whatever the context and the mirroring, a bus is red in the middle and a sofa blue."""
    made = task(draw(), dataclasses.replace(RECIPE, batch=dataclasses.replace(RECIPE.batch, color_jitter=0.2)))
    seen = 0
    for step in range(8):
        batch = made.example(step)
        middle = (
            batch.crops[:, :, 12:20, 12:20].mean(dim=(2, 3)) * made.network.std[:, 0, 0] + made.network.mean[:, 0, 0]
        )
        for color, label in zip(middle, batch.labels.tolist(), strict=True):
            if label:
                red, blue = color[0], color[2]
                assert (red > 2 * blue) if label == BUS + 1 else (blue > 2 * red)
                seen += 1
    assert seen > 20


class FixedProposals:
    """The images of a data set with the same proposals for each."""

    def __init__(self, data: ProposedImages, boxes: list[tuple[float, ...]]) -> None:
        self.data, self.dataset, self.boxes = data, data.dataset, np.array(boxes, np.float32).reshape(-1, 4)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[object, Proposals, object]:
        image, _, annotations = self.data[index]
        n = len(self.boxes)
        ranks = np.arange(n, 0, -1, dtype=np.float32)
        return image, Proposals(self.boxes, ranks, np.zeros(n, np.int16), ("given",), (100, 80)), annotations


def of_one_region(root: Path, **changes: object) -> RCNNTask:
    """A task whose batch is one region of image a again and again, background of two colors."""
    made = task(root, with_batch(images=1, crops=200, foreground=0, **changes))
    made.data = FixedProposals(made.data, [(0, 0, 100, 40)])
    return made


TWO_COLORS = {"a": [("bus", (1, 1, 30, 80), 0), ("sofa", (31, 1, 100, 80), 0)]}


def test_half_of_the_crops_are_mirrored(draw):
    crops = of_one_region(draw(TWO_COLORS)).example(0).crops
    counts = [int((crops == one).flatten(1).all(dim=1).sum()) for one in (crops[0], crops[0].flip(2))]
    assert sum(counts) == 200
    assert 60 < counts[0] < 140


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_part_of_the_crops_is_without_context(draw, windows: list[torch.Tensor], share: float):
    made = of_one_region(draw(TWO_COLORS), without_context=share)
    made.recipe = dataclasses.replace(made.recipe, model=RECIPE.model)  # with context
    made.example(0)
    plain = windows[0].eq(torch.tensor([0.0, 0, 100, 40])).all(dim=1)
    wide = windows[0].eq(crop_windows(torch.tensor([[0.0, 0, 100, 40]]), RECIPE.model.crops)).all(dim=1)
    assert (plain ^ wide).all()
    assert int(plain.sum()) == pytest.approx(200 * share, abs=200 * 0.11 if 0 < share < 1 else 0)


def test_examples_depend_on_seed_and_step_alone(draw):
    root = draw()
    recipe = with_batch(color_jitter=0.3, without_context=0.5)
    made, again, other = task(root, recipe), task(root, recipe), task(root, dataclasses.replace(recipe, seed=1))
    made.example(0), made.example(2)
    for step in (5, 1):
        a, b = made.example(step), again.example(step)
        assert torch.equal(a.crops, b.crops)
        assert torch.equal(a.labels, b.labels)
    assert not torch.equal(made.example(1).crops, made.example(3).crops)
    for one in (made, other):  # of one image alone, other regions are drawn and distorted in another way
        one.data = ProposedImages(one.data.dataset.first(1), RECIPE.model.proposals, root / "proposals")
    assert not torch.equal(made.example(1).crops, other.example(1).crops)


@pytest.mark.parametrize(
    ("objects", "labels"),
    [([], {0}), ([("bus", (1, 1, 20, 20), 0)], {0, BUS + 1}), ([("bus", (1, 1, 100, 80), 0)], {BUS + 1})],
    ids=["no objects", "a small one", "one that covers the image"],
)
def test_images_without_foreground_or_background_give_the_other(draw, objects: list, labels: set):
    """An object that the proposals do not meet is its own region; the whole image is background to it."""
    found = task(draw({"a": objects}), with_batch(images=1)).example(0).labels.tolist()
    assert (len(found), set(found)) == (16, labels)


@pytest.mark.parametrize("objects", [[], [("bus", (1, 1, 100, 80), 1)]], ids=["no regions", "a difficult one"])
def test_an_image_without_usable_regions_is_passed_over(draw, tmp_path: Path, objects: list):
    """Nothing is left of an image without proposals and objects, and of one that a difficult object covers."""
    run = trainer(draw({"a": objects, "b": [("sofa", (31, 21, 90, 70), 0)]}), tmp_path / "run")
    assert isinstance(run.task, RCNNTask)
    if not objects:
        run.task.data = FixedProposals(run.task.data, [])
    example = run.task.example(0)  # of both images
    assert len(example) == 8
    assert example.crops.shape == (8, 3, 32, 32)
    assert run.train_step(example)["loss"] > 0
    nothing = CropBatch(example.crops[:0], example.labels[:0])
    assert run.train_step(nothing) == {"loss": 0, "accuracy": 0, "gradient": 0}


@pytest.mark.parametrize("micro_batch", [5, 16, 100])
def test_gradient_is_that_of_the_mean_loss(draw, micro_batch: int):
    """However many crops go through the network at once."""
    made = task(draw(), with_batch(micro_batch=micro_batch))
    example = made.example(0)
    network = made.network.eval()  # no dropout
    loss = torch.nn.functional.cross_entropy(network(example.crops), example.labels)
    expected = torch.autograd.grad(loss, list(network.parameters()))
    numbers = made.backward(network, example, nullcontext())
    assert numbers["loss"] == pytest.approx(loss.item(), rel=1e-4)
    assert numbers["accuracy"] == (network(example.crops).argmax(dim=1) == example.labels).float().mean().item()
    for parameter, gradient in zip(network.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-5)


def test_interrupted_and_resumed_equals_uninterrupted(draw, tmp_path: Path, interrupt_and_resume):
    root = draw()
    interrupt_and_resume(lambda name: trainer(root, tmp_path / name), at=2)
    a, b = (load_model(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(value, b.network.state_dict()[name]) for name, value in a.network.state_dict().items())
    assert a.config == b.config
    assert {**a.metadata, "hours": 0} == {**b.metadata, "hours": 0}


def test_run_ends_with_a_model_of_all_heads_that_detects(draw, tmp_path: Path):
    root = draw()
    optimizer = dataclasses.replace(RECIPE.optimizer, steps=60, lr=0.01, ema_decay=0.8)
    longer = dataclasses.replace(RECIPE, optimizer=optimizer)
    trainer(root, tmp_path / "run", longer).run()
    path = tmp_path / "run/model.safetensors"
    model = load_model(path)
    assert model.kind == "crops"
    assert model.class_names == VOC_CLASSES
    assert {"steps": 60, "metric": "voc07", "split": "val"}.items() <= model.metadata.items()
    results = {variant.name: model.metadata[f"mAP {variant.name}"] for variant in VARIANTS}
    assert len(results) == 6
    assert all(0 <= value <= 1 for value in results.values())
    assert results["softmax"] < results["softmax + box regression"] > 0.7
    assert results["svm"] < results["svm + box regression"] > 0.7
    assert model.metadata["val loss"] < 1  # ln 21 at first
    # only the SVMs of the two classes in the data
    assert model.network.svm_weight.any(dim=1).nonzero()[:, 0].tolist() == [BUS, SOFA]
    assert model.network.box_weight.view(20, -1).any(dim=1).nonzero()[:, 0].tolist() == [BUS, SOFA]
    assert model.config.calibration.softmax != (1.0, 0.0)
    assert dataclasses.replace(model.config, calibration=longer.model.calibration) == longer.model

    best = load_pipeline(path, "cpu").detect(read_image(root / "JPEGImages/a.jpg"), 0.0)[0]
    assert best.label == "bus"
    overlap = box_iou(torch.tensor([best.box]), torch.tensor([[10.0, 10, 70, 60]]))
    assert overlap.item() > 0.5


def test_models_on_the_way_have_no_other_heads_yet(draw, tmp_path: Path):
    recipe = dataclasses.replace(RECIPE, eval_every=3)
    run = trainer(draw(), tmp_path / "run", recipe)
    metadata = {"steps": 3}
    numbers = run.task.evaluate(run.network.eval(), metadata, tmp_path, last=False)
    assert numbers.keys() == {"val loss", "val accuracy"}
    model = load_model(tmp_path / "model.safetensors")
    assert model.metadata.keys() == {"steps", "val loss", "val accuracy"}
    assert not model.network.svm_weight.any()


@pytest.mark.parametrize("box", [(11, 11, 70, 60), (1, 1, 100, 80)], ids=["plain", "covered"])
def test_one_image_is_enough(draw, tmp_path: Path, box: tuple[int, ...]):
    trainer(draw({"a": [("bus", box, 0)]}), tmp_path / "run").run()
    assert load_model(tmp_path / "run/model.safetensors").metadata["mAP svm"] >= 0


def test_a_new_run_needs_weights_and_takes_those_of_a_model(draw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = draw()
    first = trainer(root, tmp_path / "first")
    first.run()
    monkeypatch.setattr(rcnn_training, "load_initial_weights", load_initial_weights)
    with pytest.raises(InputError, match="give --init"):
        trainer(root, tmp_path / "second")
    second = make_loop(RECIPE, root, tmp_path / "second", tmp_path / "first/model.safetensors", root / "p", "cpu")
    assert torch.equal(second.network.backbone.conv.weight, first.ema.module.backbone.conv.weight.half().float())

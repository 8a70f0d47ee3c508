"""Training of a classifier for real, on small drawn photos of colored shapes."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from safetensors.torch import load_file
from torch import nn

from detector.config import ClassifierConfig, CropNetworkConfig, NetworkConfig, parse
from detector.data.image_folder import labeled_photos
from detector.errors import InputError
from detector.evaluation.prediction.classification import evaluate_classifier
from detector.inference.classification import load_classifier
from detector.models.caffe import save_caffe_arrays
from detector.models.classifier import ImageClassifier
from detector.models.rcnn import RCNN
from detector.models.rfcn import RFCN
from detector.models.weights import Model, load_model, save_model
from detector.ops.precision import fast_dtype
from detector.training.assembly import make_loop
from detector.training.initial_weights import load_initial_weights
from detector.training.loop import TrainingLoop
from detector.training.optimizer import learning_rate
from detector.training.recipes import ClassificationRecipe, RandomResizedCropConfig
from detector.training.tasks.classification import ClassificationBatch

COLORS = {"blue circle": (30, 60, 220), "green square": (40, 190, 60), "red circle": (220, 40, 30)}
CLASSES = tuple(COLORS)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `train`, of 3 + 2 + 2 photos, and `val`, of 2 each."""
    root, rng = tmp_path_factory.mktemp("shapes"), np.random.default_rng(0)
    for split, counts in (("train", (3, 2, 2)), ("val", (2, 2, 2))):
        for (name, color), count in zip(COLORS.items(), counts, strict=True):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                photo = Image.new("RGB", (96, 72), (128, 128, 128))
                x, y = rng.integers(0, 12, 2).tolist()
                shape = ImageDraw.Draw(photo)
                draw = shape.ellipse if "circle" in name else shape.rectangle
                draw((x, y, x + 84, y + 60), fill=color)
                photo.save(root / split / name / f"{number}.png")
    return root


def recipe(optimizer: Mapping[str, Any] = {}, **changes: Any) -> ClassificationRecipe:
    values = {"task": "classification", "model": {"size": 64}, "auxiliary_weight": 0, "epochs": 2, "batch": 4,
              "optimizer": optimizer, "checkpoint_every": 1}  # fmt: skip
    return parse(ClassificationRecipe, values | changes, "test")


WITH_HEADS = {"model": {"size": 224}, "auxiliary_weight": 0.3}


def trainer(
    root: Path, out: Path, recipe: ClassificationRecipe, init: Path | None = None
) -> TrainingLoop[ClassificationBatch]:
    return make_loop(recipe, root, out, init, cache=out / "proposals", device="cpu")


def copied(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def assert_same(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


def test_the_rate_falls_by_four_percent_every_eight_epochs(root: Path, tmp_path: Path):
    """Seven photos in batches of four make epochs of two steps."""
    loop = trainer(root, tmp_path, recipe(epochs=60))
    assert loop.config.steps == 120
    for step in range(120):
        assert learning_rate(loop.config, step) == pytest.approx(0.01 * 0.96 ** (step // 2 // 8), rel=1e-12)
    loop.step = 49
    loop.train_step(loop.task.example(49))
    assert [group["lr"] for group in loop.optimizer.param_groups] == pytest.approx([0.01 * 0.96**3] * 4)
    config = trainer(root, tmp_path, recipe({"warmup_steps": 3}, decay_epochs=3, epochs=9, batch=2)).config
    assert (config.steps, config.decay_every) == (36, 12)
    assert [learning_rate(config, step) for step in (0, 35)] == pytest.approx([0.01 / 3, 0.01 * 0.96**2])


def test_the_exported_weights_are_the_exponential_average(root: Path, tmp_path: Path):
    loop = trainer(root, tmp_path, recipe({"ema_decay": 0.8, "lr": 0.05}))
    loop.run()
    assert (loop.network.classifier.weight - loop.ema.module.classifier.weight).abs().max() > 1e-4
    exported = load_file(tmp_path / "model.safetensors")
    assert_same(exported, {name: tensor.half() for name, tensor in copied(loop.ema.module).items()})


WHITE = torch.full((4, 3, 8, 8), 255, dtype=torch.uint8)


class Outputs(nn.Module):
    """Gives fixed logits, whose gradients can be looked at."""

    def __init__(self, count: int) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.logits = [torch.randn(4, 3, requires_grad=True) for _ in range(count)]

    def forward(self, images: torch.Tensor) -> Any:
        assert (images.dtype, float(images.max())) == (torch.float32, 255)
        return tuple(self.logits) if len(self.logits) > 1 else self.logits[0]


@pytest.mark.parametrize(("weight", "count"), [(0, 1), (0.3, 3), (0.7, 3)])
def test_the_loss_by_hand(root: Path, tmp_path: Path, weight: float, count: int):
    """The main loss and the weighted losses of both heads; "accuracy" and "main loss" are the main classifier's."""
    task = trainer(root, tmp_path, recipe(auxiliary_weight=weight)).task
    assert (task.network.auxiliary_4a is None) == (weight == 0)
    labels = torch.tensor([0, 2, 1, 1])
    outputs = Outputs(count)
    numbers = task.backward(outputs, ClassificationBatch(WHITE, labels), nullcontext())
    main, *heads = (-logits.log_softmax(dim=1)[range(4), labels].mean().item() for logits in outputs.logits)
    right = (outputs.logits[0].argmax(dim=1) == labels).float().mean().item()
    expected = {"loss": main + weight * sum(heads), "main loss": main, "accuracy": right}
    assert numbers == pytest.approx(expected, rel=1e-5)
    for logits, factor in zip(outputs.logits, (1, weight, weight), strict=False):
        gradient = factor * (logits.detach().softmax(dim=1) - F.one_hot(labels, 3)) / 4
        torch.testing.assert_close(logits.grad, gradient)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [{**WITH_HEADS, "batch": 2, "epochs": 1}, {"model": {"size": 64, "backbone": "googlenet_bn"}}],
    ids=["heads and dropout", "batch norm"],
)
def test_interrupted_and_resumed_equals_uninterrupted(
    root: Path, tmp_path: Path, interrupt_and_resume: Callable[..., TrainingLoop[Any]], changes: dict[str, Any]
):
    """To the last bit, and the averaged weights too; what is exported has no auxiliary heads."""
    short = recipe(**changes)
    whole = interrupt_and_resume(lambda name: trainer(root, tmp_path / name, short), at=1)
    assert whole.step == 4
    models = [load_file(tmp_path / part / "model.safetensors") for part in ("whole", "parts")]
    assert_same(*models)
    assert not [name for name in models[0] if "auxiliary" in name]


def test_the_exported_model_classifies(root: Path, tmp_path: Path):
    """Its metadata say how often it was right on the validation photos, and `load_classifier` takes it."""
    trainer(root, tmp_path, recipe(epochs=1)).run()
    model = load_model(tmp_path / "model.safetensors", ("classification",))
    assert (model.class_names, model.config) == (CLASSES, ClassifierConfig(size=64))
    assert (model.metadata["steps"], model.metadata["images"]) == (2, 6)
    classifier = load_classifier([tmp_path / "model.safetensors"], device="cpu")
    result = evaluate_classifier(classifier, labeled_photos(root / "val", CLASSES))
    assert (model.metadata["top1"], model.metadata["top5"]) == (pytest.approx(result.top1 / 6, abs=1e-4), 1)
    assert {p.name for p in tmp_path.iterdir()} >= {"checkpoint.pt", "model.safetensors"}


def test_a_new_run_starts_from_the_seed_alone(root: Path, tmp_path: Path):
    """Whatever came before, the measurement of the fastest number format included."""
    fast_dtype.cache_clear()
    first = copied(trainer(root, tmp_path, recipe()).network)
    torch.rand(3)
    again, other = (copied(trainer(root, tmp_path, recipe(seed=seed)).network) for seed in (0, 1))
    assert_same(first, again)
    assert not torch.equal(first["backbone.conv2.weight"], other["backbone.conv2.weight"])


def test_first_weights_are_caffes(root: Path, tmp_path: Path):
    """Uniform with variance 1 / inputs; biases 0.2 except in the classifiers (BVLC's train_val.prototxt)."""
    network = trainer(root, tmp_path, recipe(auxiliary_weight=0.3)).network
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            inputs = module.weight[0].numel()
            assert module.weight.abs().max() <= (3 / inputs) ** 0.5 * 1.00001, name
            if module.weight.numel() > 10_000:
                assert module.weight.var().item() == pytest.approx(1 / inputs, rel=0.05), name
            assert (module.bias == (0 if name.endswith("classifier") else 0.2)).all(), name


def test_examples_depend_on_seed_and_step_alone(root: Path, tmp_path: Path):
    """Each epoch shows every photo once, and every image has its photo's color and label."""
    task, again = (trainer(root, tmp_path / name, recipe(epochs=7)).task for name in "ab")
    task.example(3)
    seen = []
    for step in range(7):
        example, same = task.example(step), again.example(step)
        assert torch.equal(example.images, same.images)
        assert example.labels.tolist() == same.labels.tolist()
        assert (example.images.shape, example.images.dtype) == ((4, 3, 64, 64), torch.uint8)
        for image, label in zip(example.images.float(), example.labels.tolist(), strict=True):
            colored = image[:, (image.amax(0) - image.amin(0)) > 40]
            if colored.shape[1] > 200:
                assert colored.mean(dim=1).argmax() == (2, 1, 0)[label]
        seen += example.labels.tolist()
    for epoch in range(4):
        assert sorted(seen[7 * epoch : 7 * epoch + 7]) == [0, 0, 0, 1, 1, 2, 2]
    assert not torch.equal(task.example(0).images, task.example(7).images)


def test_each_image_has_its_own_random_numbers(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    drawn: list[float] = []

    def zeros(pixels: np.ndarray, size: int, config: RandomResizedCropConfig, rng: np.random.Generator) -> np.ndarray:
        drawn.append(rng.random())
        return np.zeros((size, size, 3), np.uint8)

    monkeypatch.setattr("detector.training.tasks.classification.random_resized_crop", zeros)
    for seed in (0, 1):
        task = trainer(root, tmp_path, recipe(seed=seed)).task
        for step in range(5):
            task.example(step)
    assert len(set(drawn)) == len(drawn) == 40


@pytest.mark.parametrize("world", [2, 4])
def test_processes_share_the_batch_of_one(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world: int):
    """Sample i of the batch belongs to process i modulo their number, as in `BatchDropout`."""
    task = trainer(root, tmp_path, recipe()).task
    whole = task.example(3)
    monkeypatch.setattr("detector.training.tasks.classification.world_size", lambda: world)
    for rank in range(world):
        monkeypatch.setattr("detector.training.tasks.classification.rank", lambda rank=rank: rank)
        part = task.example(3)
        assert torch.equal(part.images, whole.images[rank::world])
        assert torch.equal(part.labels, whole.labels[rank::world])


def test_weights_to_start_from(root: Path, tmp_path: Path):
    """BVLC's give the backbone; a model that was trained here all that fits, in classification and in detection."""
    torch.manual_seed(3)
    source = ImageClassifier(3)
    source.requires_grad_(False).apply(lambda m: nn.init.normal_(m.bias) if isinstance(m, nn.Conv2d) else None)
    save_caffe_arrays(source, tmp_path / "w.npz")
    save_model(Model(source, ClassifierConfig(), CLASSES, {}), tmp_path / "m.safetensors")
    backbone = {name: tensor.half().float() for name, tensor in source.backbone.state_dict().items()}
    for init in ("w.npz", "m.safetensors"):
        network = trainer(root, tmp_path / "run", recipe(), tmp_path / init).network
        assert_same(copied(network.backbone), backbone)
        head = torch.equal(network.classifier.weight, source.classifier.weight.half().float())
        assert head == (init == "m.safetensors")
        for other in (RFCN(20, NetworkConfig()), RCNN(20, CropNetworkConfig())):
            load_initial_weights(other, tmp_path / init)
            assert_same(copied(other.backbone), backbone)


def test_weights_of_another_network(root: Path, tmp_path: Path):
    other = recipe(model={"size": 64, "backbone": "torchvision/resnet18"})
    save_caffe_arrays(ImageClassifier(), tmp_path / "w.npz")
    with pytest.raises(InputError, match=r"w\.npz: .*BVLC GoogLeNet"):
        trainer(root, tmp_path / "run", other, tmp_path / "w.npz")
    save_model(Model(ImageClassifier(5), ClassifierConfig(), tuple("abcde"), {}), tmp_path / "m.safetensors")
    with pytest.raises(InputError, match=r"m\.safetensors: .*backbone"):
        trainer(root, tmp_path / "run", other, tmp_path / "m.safetensors")


def test_data_that_cannot_be_used(tmp_path: Path):
    root, out = tmp_path / "data", tmp_path / "run"
    for new, message in (
        (None, r"data/train: no such folder"),
        ("train/a/1.png", r"data/train: has 1 subfolders; give one for each of at least two classes"),
        ("train/b/1.png", r"data/val: no such folder of photos"),
        ("val/c/1.png", r"c/1\.png: 'c' is not one of the model's 2 classes"),
    ):
        if new is not None:
            (root / new).parent.mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(root / new)
        with pytest.raises(InputError, match=message):
            trainer(root, out, recipe())
    (root / "train/b/2.png").write_bytes(b"broken")
    task = trainer(root, out, recipe(val="train")).task
    with pytest.raises(InputError, match=r"train/b/2\.png: not a photo"):
        task.example(0)


def test_recipes_that_cannot_be_used(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(InputError, match="auxiliary heads belong to GoogLeNet"):
        trainer(root, tmp_path, recipe(model={"backbone": "torchvision/resnet18"}, auxiliary_weight=0.3))
    small = trainer(root, tmp_path / "small", recipe(model={"size": 96}, auxiliary_weight=0.3))
    with pytest.raises(InputError, match=r"set model\.size to 224, or auxiliary_weight to 0"):
        small.train_step(small.task.example(0))
    with pytest.raises(InputError, match="backbone 'lenet' is unknown"):
        trainer(root, tmp_path, recipe(model={"backbone": "lenet"}))
    monkeypatch.setattr("detector.ops.distributed.world_size", lambda: 3)
    with pytest.raises(InputError, match=r"batch: 4 .* 3 processes"):
        trainer(root, tmp_path, recipe())

"""The whole way from photos to a model, in a few steps on drawn photos."""

import dataclasses
import functools
import json
import logging
import shutil
import signal
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from detector.data.custom_dataset import CustomDataset
from detector.data.image_labels import whole_photo
from detector.errors import InputError
from detector.inference.assembly import load_pipeline
from detector.inference.pipeline import DetectionPipeline
from detector.models.rfcn import RFCN
from detector.models.weights import Model, load_model
from detector.structures.image import read_image
from detector.training.assembly import make_loop
from detector.training.budget import Budget
from detector.training.custom_dataset import finetuning, fit
from detector.training.custom_dataset.plan import Machine
from detector.training.custom_dataset.task import CustomDatasetTask, read_history
from detector.training.data import ProposedImages
from detector.training.loop import TrainingLoop
from detector.training.photos import PhotoSet
from detector.training.recipes import RFCNDataConfig, RFCNRecipe

BUS = (0, (10, 10, 60, 60))
ROBOT = (1, (60, 30, 110, 80))
PHOTOS = [[BUS], [ROBOT], [BUS, ROBOT], [], [ROBOT], [BUS]]


@pytest.fixture
def data(custom_dataset: Callable[..., CustomDataset]) -> CustomDataset:
    return custom_dataset(PHOTOS)


@pytest.fixture
def train(start_file: Path, tmp_path: Path) -> Callable[..., object]:
    """Fits data in a folder of `tmp_path`, two passes over the photos by default."""

    def run(data: CustomDataset, out: str = "run", **options: object):
        given = {"epochs": 2, "init": start_file, "cache": tmp_path / "cache", "device": "cpu", **options}
        return fit(data, tmp_path / out, **given)  # type: ignore[arg-type]

    return run


@pytest.mark.slow
def test_from_photos_to_a_model(data: CustomDataset, train, tmp_path: Path):
    lines: list[str] = []
    fitted = train(dataclasses.replace(data, class_ids=(6, 90)), log=lines.append)
    text = "\n".join(lines)
    for line in (
        "photos       6, 1 of them without objects",
        "validation   2 photos",
        "steps        8, one photo each",
    ):
        assert line in text
    model = load_model(fitted.model)
    assert (model.class_names, model.extra_background_classes) == (("bus", "robot"), ("sofa",))
    assert model.class_ids == (6, 90)
    assert model.metadata["mAP"] == round(fitted.result.mean_ap, 4)
    assert model.metadata["images"] == 2
    assert set(fitted.result.classes) == {"bus", "robot"}
    history = read_history(tmp_path / "run")
    assert sorted(history) == [2, 4, 6, 8]
    assert model.metadata["steps"] in history
    assert model.metadata["calibration"].startswith("not calibrated: ")
    assert model.metadata["score"] == fitted.score
    sheet = Image.open(fitted.sheet)
    assert sheet.width > 360
    detections = load_pipeline(fitted.model, "cpu").detect(read_image(fitted.photo), 0.0)
    assert detections.class_names == ("bus", "robot")
    assert f"model        {fitted.model}" in str(fitted)
    assert not list((tmp_path / "run").glob("*.pt")), "checkpoints remain"


@pytest.mark.slow
def test_a_finished_training_is_evaluated_again_and_not_trained(
    data: CustomDataset, train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    fitted = train(data)
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").glob("*.safetensors")}
    (tmp_path / "run/sheet.jpg").unlink()
    monkeypatch.setattr(TrainingLoop, "run", lambda self: pytest.fail("trained again"))
    lines: list[str] = []
    again = train(data, log=lines.append, resume=True)
    assert lines[-1].startswith(f"finished     after {fitted.minutes:.1f} minutes")
    assert str(again) == str(fitted)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").glob("*.safetensors")} == before
    assert again.sheet.exists()


def without_boxes(data: CustomDataset) -> CustomDataset:
    samples = (dataclasses.replace(s, annotations=whole_photo(s.annotations)) for s in data.samples)
    return dataclasses.replace(data, samples=tuple(samples), image_labels=True)


def test_image_labels_train_the_score_maps_of_their_classes_alone(data: CustomDataset, train, start: Model):
    lines: list[str] = []
    fitted = train(without_boxes(data), labels="image", log=lines.append)
    model = load_model(fitted.model)
    assert isinstance(model.network, RFCN)
    assert isinstance(start.network, RFCN)
    assert model.class_names == ("bus", "robot")
    assert model.metadata["metric"] == "image labels"
    text = "\n".join(lines)
    assert "\n  bus    3 photos\n" in text
    assert "boxes" not in text
    assert "mAP" in str(fitted)
    assert "IoU" not in str(fitted)
    assert {name: c.objects for name, c in fitted.result.classes.items()} == {"bus": 1, "robot": 1}
    scores, deltas = model.network.split_maps(model.network.score_conv.weight, dim=0)
    old_scores, old_deltas = start.network.split_maps(start.network.score_conv.weight, dim=0)
    torch.testing.assert_close(deltas, old_deltas, rtol=1e-3, atol=1e-4)  # float16
    torch.testing.assert_close(scores[:, 0], old_scores[:, 0], rtol=1e-3, atol=1e-4)
    assert (scores[:, 1] - old_scores[:, 1]).abs().max() > 1e-3


def test_image_labels_of_folders(data: CustomDataset, train, tmp_path: Path):
    """A photo of both classes lies in both folders."""
    for sample in data.samples:
        for label in set(sample.annotations.labels.tolist()):
            folder = tmp_path / "folders" / data.class_names[label]
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(sample.image_path, folder)
    lines: list[str] = []
    model = load_model(train(tmp_path / "folders", labels="image", epochs=1, log=lines.append).model)
    assert model.class_names == ("bus", "robot")
    assert "photos       5, 0 of them without objects" in "\n".join(lines)


def test_labels_that_were_read_for_another_training(data: CustomDataset, train):
    for given, labels in ((data, "image"), (without_boxes(data), "boxes")):
        with pytest.raises(InputError, match=rf"labels='{labels}'"):
            train(given, labels=labels)


def assert_same_weights(first: Path, second: Path) -> None:
    one, other = (load_model(path).network.state_dict() for path in (first, second))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.slow
def test_a_finished_training_starts_over_without_its_model_or_its_plan(data: CustomDataset, train, tmp_path: Path):
    """Without the plan, the minutes, scores and model of the training before it are not used."""
    run, lines = tmp_path / "run", list[str]()
    first = train(data, epochs=1)
    first.model.rename(tmp_path / "first.safetensors")
    assert_same_weights(train(data, epochs=1, resume=True).model, tmp_path / "first.safetensors")
    (run / "history.json").write_text('{"1000": 1.0}')
    (run / "plan.json").unlink()
    again = train(data.of_classes(["robot"]), epochs=1, log=lines.append)
    assert not any(line.startswith("finished") for line in lines)
    assert load_model(again.model).class_names == ("robot",)
    assert 1000 not in read_history(run)


def test_a_checkpoint_of_another_training_is_kept(data: CustomDataset, train, tmp_path: Path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/checkpoint.pt").write_bytes(b"weeks of training")
    with pytest.raises(InputError, match=r"checkpoint\.pt: .*--out"):
        train(data)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["checkpoint.pt"]


def test_a_recipe_is_refused_in_the_folder_of_such_a_training(tmp_path: Path):
    (tmp_path / "plan.json").write_text("{}")
    recipe = RFCNRecipe(RFCNDataConfig("a", "b"))
    with pytest.raises(InputError, match=f"^{tmp_path}: .*--data.*--out"):
        make_loop(recipe, tmp_path, tmp_path, None, tmp_path)


@pytest.mark.slow
def test_a_new_class_is_learned(custom_dataset: Callable[..., CustomDataset], train, monkeypatch: pytest.MonkeyPatch):
    """From ten photos, by a network of random weights, which has to learn faster: a red square on gray."""
    monkeypatch.setattr("detector.training.custom_dataset.plan.LEARNING_RATE", 0.003)
    rng = np.random.default_rng(5)
    photos = []
    for _ in range(10):
        x, y, side = rng.integers(0, 60), rng.integers(0, 40), rng.integers(30, 50)
        photos.append([(0, (int(x), int(y), int(x + side), int(y + side)))])
    fitted = train(custom_dataset(photos, ["square"]), epochs=12)
    assert fitted.result.mean_ap > 0.4


def test_extra_classes_stay_fixed(custom_dataset: Callable[..., CustomDataset], start: Model, tmp_path: Path):
    """A step changes the score maps of background and classes, and the box deltas."""
    images = ProposedImages(
        PhotoSet(custom_dataset([[BUS]]).samples, ("bus", "robot")), start.config.proposals, tmp_path
    )
    task = CustomDatasetTask(RFCNRecipe(RFCNDataConfig("a", "b"), model=start.config), start, images, images, Budget())
    task.initialize(None)
    task.backward(task.network, task.example(0), nullcontext())
    weight, bias = task.network.score_conv.weight.grad, task.network.score_conv.bias.grad
    assert weight is not None
    assert bias is not None
    for gradient in (weight, bias):
        moved = gradient.view(49, 8, -1).abs().amax(dim=(0, 2)) > 0  # background, bus, robot; sofa; four box_deltas
        assert moved.tolist() == [True, True, True, False, True, True, True, True]


@pytest.mark.slow
def test_minutes_limit_the_training_on_a_machine_that_slows_down(
    data: CustomDataset, train, clock, monkeypatch: pytest.MonkeyPatch
):
    """Each step takes longer than measured; the learning rate still falls to zero, and the same call resumes."""
    for module in ("budget", "loop", "tasks.rfcn", "custom_dataset.finetuning"):
        monkeypatch.setattr(f"detector.training.{module}.time", clock)
    monkeypatch.setattr(finetuning, "_measure", lambda *_: Machine("cpu", 1, 0.1))
    step, detect, rates = TrainingLoop.train_step, DetectionPipeline.detect_proposals, []

    def slow_step(loop: TrainingLoop, example: object) -> dict[str, float]:
        clock.now += 10
        numbers = step(loop, example)
        rates.append(loop.optimizer.param_groups[0]["lr"])
        if len(rates) == 5:
            signal.raise_signal(signal.SIGINT)
        return numbers

    def slow_detect(*arguments: object) -> object:
        clock.now += 4
        return detect(*arguments)

    monkeypatch.setattr(TrainingLoop, "train_step", slow_step)
    monkeypatch.setattr(DetectionPipeline, "detect_proposals", slow_detect)
    with pytest.raises(KeyboardInterrupt):
        train(data, epochs=None, minutes=5)
    clock.now += 1000  # between the two
    fitted = train(data, epochs=None, minutes=5, resume=True)
    assert 265 < clock.now - 1000 < 300
    assert fitted.minutes <= 5
    assert len(rates) > 15
    assert rates[-1] < 0.2 * max(rates)
    assert load_model(fitted.model).metadata["steps"] == len(rates)
    assert fitted.warning.startswith(f"{len(rates)} steps ")
    assert fitted.warning in str(train(data, epochs=None, minutes=5, resume=True))


@pytest.mark.slow
def test_a_time_limit_that_suffices_changes_nothing(data: CustomDataset, train, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("detector.training.custom_dataset.plan._MIN_STEPS", 8)
    monkeypatch.setattr("detector.training.custom_dataset.plan._EPOCHS", (1, 1))
    monkeypatch.setattr("detector.training.custom_dataset.finetuning._measure", lambda *_: Machine("cpu", 1, 0.2))
    assert_same_weights(train(data, "steps").model, train(data, "time", epochs=None, minutes=30).model)


@pytest.mark.parametrize("wrong", [{"epochs": 1.5}, {"device": "cup"}, {"size": 8}])
def test_wrong_arguments_write_nothing(data: CustomDataset, train, tmp_path: Path, wrong: dict):
    with pytest.raises(InputError, match=next(iter(wrong))):
        train(data, **wrong)
    assert not (tmp_path / "run").exists()


def test_proposals_that_take_too_long(data: CustomDataset, train):
    with pytest.raises(InputError, match=r"0 of 6 photos.*--minutes"):
        train(data, epochs=None, minutes=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("labels", ["boxes", "image"])
def test_interrupted_and_resumed_gives_the_same_model(
    data: CustomDataset, train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, labels: str
):
    data = without_boxes(data) if labels == "image" else data
    train = functools.partial(train, labels=labels)
    monkeypatch.setattr("detector.training.custom_dataset.finetuning._measure", lambda *_: Machine("cpu", 1, 0.2))
    whole = train(data, "whole")
    step = TrainingLoop.train_step

    def interrupted(loop: TrainingLoop, example: object) -> dict[str, float]:
        if loop.step == 4:
            signal.raise_signal(signal.SIGINT)
        return step(loop, example)

    monkeypatch.setattr(TrainingLoop, "train_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(data, "parts")
    monkeypatch.setattr(TrainingLoop, "train_step", step)
    # the plan is kept: a machine that is slower now changes nothing
    monkeypatch.setattr("detector.training.custom_dataset.finetuning._measure", lambda *_: Machine("cpu", 1, 9.0))
    parts = train(data, "parts", resume=True)
    assert_same_weights(whole.model, parts.model)
    assert read_history(tmp_path / "whole") == read_history(tmp_path / "parts")
    assert str(whole.result.ap) == str(parts.result.ap)


def test_settings_and_a_callback(data: CustomDataset, train, start: Model):
    """A frozen backbone keeps its weights, the model has the new input size, and each step is reported."""
    reported: list[dict[str, float]] = []
    settings = {"epochs": 2, "batch": 2, "lr": 0.01, "freeze": "backbone", "augment": "strong", "size": 64}
    model = load_model(train(data, on_step=reported.append, **settings).model)
    assert model.config.input.short_side == 64
    frozen = start.network.get_submodule("backbone").state_dict()
    for name, weights in model.network.get_submodule("backbone").state_dict().items():
        torch.testing.assert_close(weights, frozen[name], rtol=1e-3, atol=1e-6)
    steps = [numbers for numbers in reported if "loss" in numbers]
    assert [numbers["step"] for numbers in steps] == [1, 2, 3, 4]
    assert 0 < max(numbers["lr"] for numbers in steps) <= 0.01
    evaluated = [numbers["step"] for numbers in reported if "mAP" in numbers]
    assert evaluated == [1, 2, 3, 4]


@pytest.mark.slow
def test_a_damaged_photo_in_the_middle(data: CustomDataset, train, tmp_path: Path):
    broken = data.samples[2].image_path
    broken.write_bytes(broken.read_bytes()[:2000])
    fitted = train(data)
    assert len(fitted.left_out) == 1
    assert str(fitted.left_out[0]).startswith(f"{broken}: damaged or cut short")
    assert fitted.model.exists()


def test_a_photo_that_is_damaged_during_the_training(
    data: CustomDataset, train, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    prepare = CustomDatasetTask.prepare

    def damage(task: CustomDatasetTask) -> None:
        prepare(task)
        task.data.dataset.image_path(0).write_bytes(b"")

    monkeypatch.setattr(CustomDatasetTask, "prepare", damage)
    with caplog.at_level(logging.WARNING):
        fitted = train(data)
    assert fitted.model.exists()
    assert len(fitted.left_out) == 1
    assert [record.name for record in caplog.records].count("detector.training.custom_dataset.task") == 1


def test_a_folder_of_another_training_is_refused(
    data: CustomDataset, custom_dataset, train, start_file: Path, tmp_path: Path
):
    train(data, epochs=1)
    machine = json.loads((tmp_path / "run/plan.json").read_text())["machine"]
    assert (machine["step_seconds"] > 0, machine["threads"]) == (True, torch.get_num_threads())
    before = (tmp_path / "run/model.safetensors").read_bytes()
    for changed, message in (
        (lambda: train(data, epochs=1), "run: .*--resume"),
        (lambda: train(data, epochs=3, resume=True), "run: .* epochs 1, not 3"),
        (lambda: train(data, epochs=None, resume=True), "run: .* epochs 1, not auto"),
        (lambda: train(data, epochs=1, size=64, resume=True), "run: .* size auto, not 64"),
        (lambda: train(data, epochs=1, seed=1, resume=True), "run: .* seed 0, not 1"),
        (lambda: train(custom_dataset(PHOTOS[:5]), epochs=1, resume=True), "run: .* other data"),
        (lambda: train(data, epochs=1, init="voc07", resume=True), "run: .* another model"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            changed()
        assert "\n" not in str(caught.value)
    assert (tmp_path / "run/model.safetensors").read_bytes() == before
    (tmp_path / "run/plan.json").write_text("{}")
    with pytest.raises(InputError, match=r"plan\.json: "):
        train(data, epochs=1, resume=True)


def test_a_folder_inside_the_data_is_refused(data: CustomDataset, start_file: Path):
    with pytest.raises(InputError, match=r"^[^\n]*photos/run: .*--out[^\n]*$"):
        fit(data, data.path / "run", init=start_file)

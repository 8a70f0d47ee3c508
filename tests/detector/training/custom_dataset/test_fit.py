"""The whole way from photos to a model, in a few steps on drawn photos."""

import dataclasses
import json
import logging
import math
import signal
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from detector.data.custom_dataset import CustomDataset
from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError
from detector.evaluation.metrics.voc import ClassResult, VOCResult, voc_average_precision
from detector.inference.assembly import load_detector
from detector.inference.detector import Detector
from detector.models.weights import Model, load_model, save_model
from detector.training.budget import Budget
from detector.training.custom_dataset import FitResult, Machine, fit, finetuning
from detector.training.custom_dataset.split import PhotoSet
from detector.training.custom_dataset.task import CustomDatasetTask, read_history
from detector.training.data import ProposedImages
from detector.training.loop import TrainingLoop
from detector.training.recipes import DataConfig, RFCNRecipe
from detector.training.assembly import make_loop

BUS = (0, (10, 10, 60, 60))
ROBOT = (1, (60, 30, 110, 80))
PHOTOS = [[BUS], [ROBOT], [BUS, ROBOT], [], [ROBOT], [BUS]]


@pytest.fixture
def data(custom_dataset: Callable[..., CustomDataset]) -> CustomDataset:
    return custom_dataset(PHOTOS)


@pytest.fixture
def train(start_file: Path, tmp_path: Path) -> Callable[..., object]:
    """Fits data in a folder of `tmp_path`, two passes over the photos unless told."""

    def run(data: CustomDataset, out: str = "run", **options: object):
        given = {"epochs": 2, "init": start_file, "cache": tmp_path / "cache", "device": "cpu", **options}
        return fit(data, tmp_path / out, **given)  # type: ignore[arg-type]

    return run


def test_from_photos_to_a_model(data: CustomDataset, train, tmp_path: Path):
    told: list[str] = []
    fitted = train(dataclasses.replace(data, class_ids=(6, 90)), log=told.append)
    text = "\n".join(told)
    for line in (
        "photos       6, 1 of them without objects",
        "held back    2 photos",
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
    found = load_detector(fitted.model, "cpu")(fitted.photo, score=0.0)
    assert found.class_names == ("bus", "robot")
    assert f"model        {fitted.model}" in str(fitted)
    assert not list((tmp_path / "run").glob("*.pt")), "what only a run that goes on needs is gone"


def test_a_training_that_has_ended_is_judged_again_and_not_trained(
    data: CustomDataset, train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    fitted = train(data)
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").glob("*.safetensors")}
    (tmp_path / "run/sheet.jpg").unlink()
    monkeypatch.setattr(TrainingLoop, "run", lambda self: pytest.fail("trained again"))
    told: list[str] = []
    again = train(data, log=told.append)
    assert told[-1] == f"finished     after {fitted.minutes:.1f} minutes; the model is judged again"
    assert str(again) == str(fitted)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").glob("*.safetensors")} == before
    assert again.sheet.exists()


def test_a_training_whose_model_was_removed_starts_anew(data: CustomDataset, train):
    first = train(data, epochs=1)
    weights = load_model(first.model).network.state_dict()
    first.model.unlink()
    again = load_model(train(data, epochs=1).model).network.state_dict()
    for name in weights:
        torch.testing.assert_close(again[name], weights[name], rtol=0, atol=0)


def test_without_its_plan_a_training_that_has_ended_starts_anew(data: CustomDataset, train, tmp_path: Path):
    """Neither the minutes nor the scores of the one before count, nor is its model judged by other photos."""
    run = tmp_path / "run"
    train(data, epochs=1)
    (run / "history.json").write_text('{"1000": 1.0}')
    (run / "plan.json").unlink()
    told: list[str] = []
    again = train(data.of_classes(["robot"]), epochs=1, log=told.append)
    assert not any(line.startswith("finished") for line in told)
    assert load_model(again.model).class_names == ("robot",)
    assert 1000 not in read_history(run)


def test_a_checkpoint_of_another_training_stays(data: CustomDataset, train, tmp_path: Path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/checkpoint.pt").write_bytes(b"of weeks")
    with pytest.raises(InputError, match=r"checkpoint\.pt: is of another training; choose another --out"):
        train(data)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["checkpoint.pt"]


def test_a_recipe_does_not_train_where_there_is_such_a_training(tmp_path: Path):
    (tmp_path / "plan.json").write_text("{}")
    recipe = RFCNRecipe(DataConfig("a", "b"))
    with pytest.raises(InputError, match=f"^{tmp_path}: holds a training with --data; choose another --out$"):
        make_loop(recipe, tmp_path, tmp_path, None, tmp_path)


def test_an_ap_of_few_objects_says_little(tmp_path: Path):
    nothing = np.zeros(0), np.zeros(0, bool)
    classes = {"bus": ClassResult(0.125, 1, *nothing), "cup": ClassResult(0.5, 10, *nothing)}
    text = str(FitResult(tmp_path / "m", tmp_path / "s", VOCResult("voc07", 0.5, classes), tmp_path / "p", (), 1.0))
    assert "  bus  AP  12.5, 1 object\n  cup  AP  50.0, 10 objects\n" in text
    assert [line.split(": ")[-1] for line in text.splitlines() if line.startswith("note ")] == ["bus"]


def test_without_detections_there_is_no_precision(tmp_path: Path):
    result = VOCResult("voc07", 0.5, {"bus": ClassResult(0.0, 3, np.zeros(0), np.zeros(0, bool))})
    assert math.isnan(result.best_score())
    text = str(FitResult(tmp_path / "m", tmp_path / "s", result, (3, 4), None, "", tmp_path / "p", (), 1.0, ""))
    assert ", 3 of 4 for lack of time)" in text
    assert "at score 0.5 no detections" in text
    assert "nan" not in text


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


def test_other_classes_stay_as_they_were(custom_dataset: Callable[..., CustomDataset], start: Model, tmp_path: Path):
    """A step changes background, classes and box_deltas, and not what the model knows besides."""
    images = ProposedImages(
        PhotoSet(custom_dataset([[BUS]]).samples, ("bus", "robot")), start.config.proposals, tmp_path
    )
    task = CustomDatasetTask(RFCNRecipe(DataConfig("a", "b"), model=start.config), start, images, images, Budget())
    task.initialize(None)
    task.backward(task.network, task.example(0), nullcontext())
    weight, bias = task.network.score_conv.weight.grad, task.network.score_conv.bias.grad
    assert weight is not None
    assert bias is not None
    for gradient in (weight, bias):
        moved = gradient.view(49, 8, -1).abs().amax(dim=(0, 2)) > 0  # background, bus, robot; sofa; four box_deltas
        assert moved.tolist() == [True, True, True, False, True, True, True, True]


@pytest.fixture
def task(
    custom_dataset: Callable[..., CustomDataset], start: Model, tmp_path: Path
) -> Callable[..., CustomDatasetTask]:
    """Makes the task of photos that all show a bus, and of some without."""

    def make(photos: int, without: int = 0) -> CustomDatasetTask:
        shown = PhotoSet(custom_dataset([[BUS]] * photos + [[]] * without, ["bus"]).samples, ("bus",))
        images = ProposedImages(shown, start.config.proposals, tmp_path)
        return CustomDatasetTask(RFCNRecipe(DataConfig("a", "b"), model=start.config), start, images, images, Budget())

    return make


def found_in(task: CustomDatasetTask, found: Sequence[bool]) -> tuple[GroundTruth, DetectionTable]:
    """What `detect_proposed` gives where a bus is found or not, by photo; beside each bus is a wrong detection."""
    photos = task.val.dataset
    truth = GroundTruth.from_annotations(photos.ids, [one.annotations for one in photos.samples], photos.class_names)
    hits = np.flatnonzero(found)
    boxes, wrong = truth.boxes[hits], np.tile([0.0, 0, 5, 5], (len(truth), 1))
    columns = {
        "images": np.concatenate([hits, truth.images]),
        "labels": np.zeros(len(hits) + len(wrong)),
        "boxes": np.concatenate([boxes, wrong]),
        "scores": np.concatenate([np.linspace(0.3, 0.4, len(hits)), np.linspace(0.1, 0.35, len(wrong))]),
    }
    return truth, DetectionTable(image_ids=truth.image_ids, class_names=truth.class_names, **columns)


@pytest.mark.parametrize(
    ("photos", "without", "told"),
    [(12, 0, "in others they are too high"), (12, 1, "12 wrong detections"), (9, 1, "10 of each are needed")],
)
def test_scores_are_calibrated_by_the_val_photos(
    task, start: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photos: int, without: int, told: str
):
    """Also where all of these show an object; the starting model's calibration is that of its own classes."""
    made = task(photos, without)
    save_model(Model(made.network, start.config, ("bus",), {}, ("sofa",)), tmp_path / "model.safetensors")
    monkeypatch.setattr(finetuning, "detect_proposed", lambda *_: found_in(made, [True] * photos))
    finetuning._calibrate(made, tmp_path, "cpu")
    model = load_model(tmp_path / "model.safetensors")
    assert (model.config.postprocess.calibration != (1.0, 0.0)) is (photos > 9)
    assert model.metadata["calibration"].endswith(told)
    assert model.metadata["calibration"].startswith(
        "calibrated by 12 right" if photos > 9 else "not calibrated: 9 right"
    )


def test_the_score_of_the_best_f1(task):
    made = task(12)
    result = voc_average_precision(*found_in(made, [True] * 12))
    assert result.at_score(0.5)[1] == 0
    scores = np.unique(result.classes["bus"].scores)
    f1 = [2 * p * r / (p + r) for p, r in map(result.at_score, scores)]
    assert result.best_score() == scores[np.argmax(f1)]


@pytest.mark.parametrize(
    ("best", "last", "kept"),
    [
        ([True] * 9 + [False], [True] * 8 + [False] * 2, "last"),  # two objects of ten are noise
        ([True] * 10, [True] + [False] * 9, "best"),
    ],
)
def test_the_last_weights_are_kept_unless_others_are_clearly_better(
    task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, best: list[bool], last: list[bool], kept: str
):
    """`best` and `last` say in which photos a model finds the bus."""
    made = task(10)
    found = iter((best, last, best))
    monkeypatch.setattr("detector.training.custom_dataset.task.detect_proposed", lambda *_: found_in(made, next(found)))
    made.evaluate(made.network, {"steps": 1}, tmp_path, False)
    made.evaluate(made.network, {"steps": 2}, tmp_path, True)
    assert load_model(tmp_path / "model.safetensors").metadata["steps"] == {"best": 1, "last": 2}[kept]
    assert list(read_history(tmp_path)) == [1, 2]


def test_minutes_bound_the_training_on_a_machine_that_slows_down(
    data: CustomDataset, train, clock, monkeypatch: pytest.MonkeyPatch
):
    """Each step takes longer than the one measured; the rate still falls to zero, and the same call goes on."""
    for module in ("budget", "loop", "tasks.rfcn", "custom_dataset.finetuning"):
        monkeypatch.setattr(f"detector.training.{module}.time", clock)
    monkeypatch.setattr(finetuning, "_measure", lambda *_: Machine("cpu", 1, 0.1))
    step, detect, rates = TrainingLoop.train_step, Detector.detect_proposals, []

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
    monkeypatch.setattr(Detector, "detect_proposals", slow_detect)
    with pytest.raises(KeyboardInterrupt):
        train(data, epochs=None, minutes=5)
    clock.now += 1000  # between the two
    fitted = train(data, epochs=None, minutes=5)
    assert 265 < clock.now - 1000 < 300
    assert fitted.minutes <= 5
    assert len(rates) > 15
    assert rates[-1] < 0.2 * max(rates)
    assert load_model(fitted.model).metadata["steps"] == len(rates)
    assert f"{len(rates)} steps are less than a third of the 300" in fitted.warning
    assert fitted.warning in str(train(data, epochs=None, minutes=5))


def test_with_time_to_spare_a_stop_changes_nothing(data: CustomDataset, train, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("detector.training.custom_dataset.plan._MIN_STEPS", 8)
    monkeypatch.setattr("detector.training.custom_dataset.plan._EPOCHS", (1, 1))
    monkeypatch.setattr("detector.training.custom_dataset.finetuning._measure", lambda *_: Machine("cpu", 1, 0.2))
    models = [load_model(train(data, out, epochs=epochs, minutes=minutes).model)
              for out, epochs, minutes in (("steps", 2, None), ("time", None, 30))]  # fmt: skip
    for one, other in zip(*(model.network.state_dict().values() for model in models), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_minutes_that_go_by_with_proposals(data: CustomDataset, train):
    with pytest.raises(InputError, match=r"proposals for 0 of 6 photos.*the same command goes on"):
        train(data, epochs=None, minutes=1e-6)


def test_interrupted_it_goes_on_to_the_same_model(
    data: CustomDataset, train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
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
    parts = train(data, "parts")
    for path in (whole, train(data, "parts")):  # once more: it is done, and says the same
        first, second = (load_model(one).network.state_dict() for one in (path.model, parts.model))
        for name in first:
            torch.testing.assert_close(first[name], second[name], rtol=0, atol=0)
    assert read_history(tmp_path / "whole") == read_history(tmp_path / "parts")
    assert str(whole.result.ap) == str(parts.result.ap)


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
    assert caplog.text.count("the file is empty; get it again from where it came; another photo takes its place") == 1


def test_a_folder_of_another_training_is_refused(
    data: CustomDataset, custom_dataset, train, start_file: Path, tmp_path: Path
):
    train(data, epochs=1)
    before = (tmp_path / "run/model.safetensors").read_bytes()
    for changed, message in (
        (lambda: train(data, epochs=3), "holds a training with epochs 1, not 3; choose another --out"),
        (lambda: train(data, epochs=None), "with epochs 1, not auto"),
        (lambda: train(custom_dataset(PHOTOS[:5]), epochs=1), "holds a training on other data"),
        (lambda: train(data, epochs=1, init="voc07"), "holds a training from another model"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            changed()
        assert "\n" not in str(caught.value)
    assert (tmp_path / "run/model.safetensors").read_bytes() == before
    (tmp_path / "run/plan.json").write_text("{}")
    with pytest.raises(InputError, match=r"plan\.json: cannot be read; remove it"):
        train(data, epochs=1)


def test_a_folder_inside_the_data_is_refused(data: CustomDataset, start_file: Path):
    with pytest.raises(InputError, match="lies in the data's own folder"):
        fit(data, data.path / "run", init=start_file)


def test_the_plan_is_measured_once(data: CustomDataset, train, tmp_path: Path):
    train(data, epochs=1)
    kept = json.loads((tmp_path / "run/plan.json").read_text())
    assert kept["machine"]["step_seconds"] > 0
    assert kept["machine"]["threads"] == torch.get_num_threads()

"""What the val photos decide: the calibration, the score of the sheet, and which weights become the model."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from detector.data.custom_dataset import CustomDataset
from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.evaluation.metrics.voc import APResult, voc_average_precision
from detector.models.weights import Model, load_model, save_model
from detector.training.budget import Budget
from detector.training.custom_dataset import finetuning
from detector.training.custom_dataset.task import CustomDatasetTask, read_history
from detector.training.data import ProposedImages
from detector.training.photos import PhotoSet
from detector.training.recipes import RFCNDataConfig, RFCNRecipe

BUS = (0, (10, 10, 60, 60))


@pytest.fixture
def task(
    custom_dataset: Callable[..., CustomDataset], start: Model, tmp_path: Path
) -> Callable[..., CustomDatasetTask]:
    """Makes the task of photos that all show a bus, and of some without."""

    def make(photos: int, without: int = 0) -> CustomDatasetTask:
        shown = PhotoSet(custom_dataset([[BUS]] * photos + [[]] * without, ["bus"]).samples, ("bus",))
        images = ProposedImages(shown, start.config.proposals, tmp_path)
        return CustomDatasetTask(
            RFCNRecipe(RFCNDataConfig("a", "b"), model=start.config), start, images, images, Budget()
        )

    return make


def detections_of(task: CustomDatasetTask, detected: Sequence[bool]) -> tuple[GroundTruth, DetectionTable]:
    """What `detect_proposed` returns if each photo's bus is detected or not; every bus has a wrong detection too."""
    photos = task.val.dataset
    truth = GroundTruth.from_annotations(photos.ids, [s.annotations for s in photos.samples], photos.class_names)
    hits = np.flatnonzero(detected)
    wrong = np.tile([0.0, 0, 5, 5], (len(truth), 1))
    columns = {
        "images": np.concatenate([hits, truth.images]),
        "labels": np.zeros(len(hits) + len(wrong)),
        "boxes": np.concatenate([truth.boxes[hits], wrong]),
        "scores": np.concatenate([np.linspace(0.3, 0.4, len(hits)), np.linspace(0.1, 0.35, len(wrong))]),
    }
    return truth, DetectionTable(image_ids=truth.image_ids, class_names=truth.class_names, **columns)


@pytest.mark.parametrize(
    ("photos", "without", "summary"),
    [(12, 0, "scores are too high in photos without"), (12, 1, "12 wrong detections"), (9, 1, "10 of each are needed")],
)
def test_scores_are_calibrated_by_the_val_photos(
    task, start: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photos: int, without: int, summary: str
):
    """Also if all of them show an object: the starting model's calibration belongs to its own classes."""
    made = task(photos, without)
    save_model(Model(made.network, start.config, ("bus",), {}, ("sofa",)), tmp_path / "model.safetensors")
    monkeypatch.setattr(finetuning, "detect_proposed", lambda *_: detections_of(made, [True] * photos))
    finetuning._calibrate(made, tmp_path, "cpu")
    model = load_model(tmp_path / "model.safetensors")
    assert (model.config.postprocess.calibration != (1.0, 0.0)) is (photos > 9)
    assert model.metadata["calibration"].endswith(summary)
    assert model.metadata["calibration"].startswith(
        "calibrated by 12 right" if photos > 9 else "not calibrated: 9 right"
    )


@pytest.mark.parametrize(("best", "shown"), [(0.0, 0.0), (0.3, 0.3), (math.nan, 0.5)])
def test_the_sheet_shows_detections_from_the_best_score(
    task, start: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, best: float, shown: float
):
    made = task(12)
    save_model(
        Model(made.network, start.config, ("bus",), {"calibration": ""}, ("sofa",)), tmp_path / "model.safetensors"
    )
    scores: list[float] = []

    def draw_sheet(truth: object, detections: object, read: object, score: float) -> np.ndarray:
        scores.append(score)
        return np.zeros((2, 2, 3), np.uint8)

    monkeypatch.setattr(finetuning, "draw_sheet", draw_sheet)
    monkeypatch.setattr(finetuning, "detect_proposed", lambda *_: detections_of(made, [True] * 12))
    monkeypatch.setattr(APResult, "best_score", lambda _: best)
    finetuning._evaluate(tmp_path, made.val, (), 1.0, "", Budget(), "cpu", "boxes")
    assert scores == [shown]


def test_the_score_of_the_best_f1(task):
    made = task(12)
    result = voc_average_precision(*detections_of(made, [True] * 12))
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
def test_the_last_weights_become_the_model_unless_earlier_ones_are_clearly_better(
    task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, best: list[bool], last: list[bool], kept: str
):
    """`best` and `last` say in which photos a model detects the bus."""
    made = task(10)
    detected = iter((best, last, best))
    name = "detector.training.custom_dataset.task.detect_proposed"
    monkeypatch.setattr(name, lambda *_: detections_of(made, next(detected)))
    made.evaluate(made.network, {"steps": 1}, tmp_path, False)
    made.evaluate(made.network, {"steps": 2}, tmp_path, True)
    assert load_model(tmp_path / "model.safetensors").metadata["steps"] == {"best": 1, "last": 2}[kept]
    assert list(read_history(tmp_path)) == [1, 2]

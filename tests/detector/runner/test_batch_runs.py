"""Runs and evaluations in batches: the results of runs photo by photo, whatever happens on the way."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from torch import nn

from detector.cli import main
from detector.config import InputConfig, ModelConfig
from detector.data import VOC_CLASSES, VOCDataset
from detector.data.predictions import joined_traces
from detector.errors import InputError
from detector.evaluation.prediction.predict import predict
from detector.inference.pipeline import DetectionPipeline
from detector.models.rfcn import RFCN
from detector.models.weights import Model, save_model
from detector.runner.results import ResultFiles
from detector.runner.run import STORE
from detector.storage.run_store import ResultStore
from detector.structures.detections import Detections
from detector.structures.image import Image
from detector.structures.selection import Selection
from proposals import SelectiveSearchConfig
from tests.detector.run_tools import files, frames_of, make_clip

LOW = Selection(score=0.05)


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(0)
    config = ModelConfig(input=InputConfig(short_side=64), proposals=SelectiveSearchConfig.preset("single"))
    network = RFCN(len(VOC_CLASSES), config.network).eval()
    nn.init.normal_(network.score_conv.weight, std=0.5)
    return Model(network, config, VOC_CLASSES, {})


@pytest.fixture
def detector(model: Model) -> DetectionPipeline:
    return DetectionPipeline(model, "cpu")


def write_photos(folder: Path, names: list[str]) -> None:
    for seed, name in enumerate(names):
        pixels = np.random.default_rng(seed).integers(0, 255, (80, 100, 3), dtype=np.uint8)
        pixels[20:60, 20 + 5 * seed : 60 + 5 * seed] = (200, 40, 30)
        PillowImage.fromarray(pixels).save(folder / name)


@pytest.fixture
def photos(runs: Any, tmp_path: Path) -> list[str]:
    """Seven photos of one size, named 1.png to 7.png, in the working directory."""
    names = [f"{number}.png" for number in range(1, 8)]
    write_photos(tmp_path, names)
    return names


def entries(path: str = "f.json") -> list[dict[str, Any]]:
    return [
        {key: value for key, value in one.items() if key != "seconds"} for one in json.loads(Path(path).read_text())
    ]


def assert_alike(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert [one["image"] for one in found] == [one["image"] for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert len(one["detections"]) == len(other["detections"])
        scores, others = ([d["score"] for d in e["detections"]] for e in (one, other))
        np.testing.assert_allclose(scores, others, atol=2e-4)  # of rounded numbers


@pytest.mark.parametrize(("batch", "workers"), [(2, 1), (3, 2), (20, 2)])
def test_a_run_in_batches_gives_what_a_run_photo_by_photo_gives(runs, photos, detector, batch: int, workers: int):
    """In the order of the sources, around a damaged photo and a video."""
    Path("3.png").write_bytes(b"broken")
    make_clip("clip.avi", 2)
    arguments = (*photos[:5], "clip.avi", *photos[5:])
    runs.detector = detector
    assert runs(*arguments, files=ResultFiles(json=Path("f.json")), selection=LOW) == 1
    expected, told = entries(), [line.split(" in ")[0] for line in runs.told.results]
    assert sum(len(one["detections"]) for one in expected) > 8
    pictures = files("out")
    again = ResultFiles(json=Path("g.json"))
    assert runs(*arguments, files=again, selection=LOW, out="again", batch=batch, workers=workers) == 1
    assert_alike(entries("g.json"), expected)
    assert [line.split(" in ")[0] for line in runs.told.results] == told
    (error,) = runs.told.errors
    assert error.startswith("error: 3.png: ")
    assert files("again") == pictures


def test_a_batch_that_does_not_fit_is_judged_photo_by_photo(runs, photos, detector):
    judge = detector.score_batch

    def small_memory(some: Any) -> Any:
        if len(some) > 1 or some[0].image.name == "2.png":
            raise RuntimeError("CUDA out of memory.\nTried to")
        return judge(some)

    detector.score_batch = small_memory  # type: ignore[method-assign]
    runs.detector = detector
    assert runs(*photos, files=ResultFiles(json=Path("f.json")), batch=4, workers=2) == 1
    assert runs.told.errors == ["error: 2.png: detection failed (CUDA out of memory. Tried to)"]
    assert [one["image"] for one in entries()] == [name for name in photos if name != "2.png"]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_run_in_batches_goes_on(runs, photos, detector, workers: int):
    """What was told is in the journal and is not done again; the rest of the batches is."""
    wanted = ResultFiles(json=Path("f.json"))
    runs.detector = detector
    assert runs(*photos, files=wanted, selection=LOW) == 0
    expected = entries()
    seen: list[str] = []
    judge = detector.score_batch

    def stopping(some: Any) -> Any:
        names = [one.image.name for one in some]
        if "5.png" in names and len(seen) < 5:
            raise KeyboardInterrupt
        seen.extend(names)
        return judge(some)

    detector.score_batch = stopping  # type: ignore[method-assign]
    options = {"files": ResultFiles(json=Path("g.json")), "selection": LOW, "out": "g", "batch": 2, "workers": workers}
    with pytest.raises(KeyboardInterrupt):
        runs(*photos, **options)
    done = [one["image"] for one in entries("g.json")]
    assert done == photos[: len(done)]
    assert len(done) < 5
    assert (Path("g") / STORE).exists()
    seen[:] = ["anything"] * 5
    assert runs(*photos, **options, resume=True) == 0
    assert seen[5:] == photos[len(done) :]
    assert_alike(entries("g.json"), expected)
    assert files("g") == photos


@pytest.mark.parametrize("workers", [1, 2])
def test_frames_of_a_video_in_batches(runs, detector, workers: int):
    """Up to where the file is damaged; a failure ends the video after the frames before it."""
    make_clip("cut.avi", 60)
    content = Path("cut.avi").read_bytes()
    Path("cut.avi").write_bytes(content[: len(content) * 2 // 3])
    runs.detector = detector
    assert runs("cut.avi", "a/x.jpg", files=ResultFiles(json=Path("f.json")), selection=LOW, step=5) == 1
    expected, told, wrong = entries(), runs.told.results[0].split(" frames, ")[0], runs.told.errors
    batches, judge = [], detector.score_batch
    detector.score_batch = lambda some: batches.append(len(some)) or judge(some)  # type: ignore[method-assign]
    options = {"selection": LOW, "step": 5, "batch": 4, "workers": workers}
    assert runs("cut.avi", "a/x.jpg", files=ResultFiles(json=Path("g.json")), out="g", **options) == 1
    assert_alike(entries("g.json"), expected)
    assert [one["time"] for one in entries("g.json") if "time" in one] == [
        one["time"] for one in expected if "time" in one
    ]
    assert runs.told.results[0].split(" frames, ")[0] == told
    assert runs.told.errors == wrong
    assert wrong[0].startswith("error: cut.avi: damaged or cut short: ")
    assert len(frames_of("g/cut.mp4")) == len(expected) - 1
    assert batches[0] == 4
    assert sum(batches) == len(expected)

    def failing(some: Any) -> Any:
        if any(one.image.name == "cut.avi#25" for one in some):
            raise RuntimeError("no memory")
        return judge(some)

    detector.score_batch = failing  # type: ignore[method-assign]
    assert runs("cut.avi", files=ResultFiles(json=Path("h.json")), out="h", **options) == 1
    assert runs.told.errors == ["error: cut.avi#25: detection failed (no memory)"]
    assert [one["image"] for one in entries("h.json")] == [f"cut.avi#{5 * number}" for number in range(5)]


# Evaluations


@pytest.fixture
def root(make_voc: Callable[..., Path]) -> Path:
    objects = [("cat", (21, 21, 60, 60), 0), ("dog", (1, 1, 30, 30), 0)]
    root = make_voc({name: objects[: index % 3] for index, name in enumerate("abcdefg")})
    write_photos(root / "JPEGImages", [f"{name}.jpg" for name in "abcdefg"])
    return root


@pytest.mark.parametrize("workers", [1, 2])
def test_predictions_in_batches(root: Path, detector: DetectionPipeline, workers: int):
    (root / "JPEGImages/c.jpg").write_bytes(b"broken")
    PillowImage.new("RGB", (50, 50)).save(root / "JPEGImages/e.jpg")
    truth = VOCDataset(root, "val", VOC_CLASSES).ground_truth()
    expected = predict(detector, truth, root / "JPEGImages", score=0.05, trace=True)
    found = predict(detector, truth, root / "JPEGImages", score=0.05, trace=True, batch=3, workers=workers)
    assert [(one.image_id, one.error) for one in found] == [(one.image_id, one.error) for one in expected]
    assert sum(one.error is not None for one in found) == 2
    for one, other in zip(found, expected, strict=True):
        if one.detections is not None and other.detections is not None:
            np.testing.assert_allclose(one.detections.scores, other.detections.scores, atol=1e-6)
            assert one.seconds is not None
            assert one.seconds > 0
    traces, others = joined_traces(found, truth), joined_traces(expected, truth)
    assert traces is not None
    assert others is not None
    np.testing.assert_array_equal(traces.proposal_overlaps, others.proposal_overlaps)
    np.testing.assert_allclose(traces.region_scores, others.region_scores, atol=1e-6)


def test_predictions_in_batches_go_on_from_what_is_kept(root: Path, detector: DetectionPipeline, tmp_path: Path):
    truth = VOCDataset(root, "val", VOC_CLASSES).ground_truth()
    judged: list[str] = []
    judge = detector.score_batch

    def watched(some: Any) -> Any:
        if judged:
            raise KeyboardInterrupt
        judged.extend(Path(one.image.name).stem for one in some)
        return judge(some)

    detector.score_batch = watched  # type: ignore[method-assign]
    with ResultStore(tmp_path / "found.json", {}) as store, pytest.raises(KeyboardInterrupt):
        predict(detector, truth, root / "JPEGImages", store=store, batch=2)
    judged.clear()
    detector.score_batch = lambda some: judged.extend(Path(one.image.name).stem for one in some) or judge(some)  # type: ignore
    with ResultStore(tmp_path / "found.json", {}) as store:
        kept = set(store.entries)
        found = predict(detector, truth, root / "JPEGImages", store=store, batch=2)
    assert kept <= {"a", "b"}
    assert kept
    assert judged == [name for name in "abcdefg" if name not in kept]
    assert [one.image_id for one in found] == list("abcdefg")


def test_only_a_detector_of_ours_takes_batches(root: Path):
    class Other:
        class_names = VOC_CLASSES

        def detect(self, image: Image, score: float) -> Detections:
            raise AssertionError

    truth = VOCDataset(root, "val", VOC_CLASSES).ground_truth()
    with pytest.raises(InputError, match=r"only a detector.inference.pipeline.DetectionPipeline"):
        predict(Other(), truth, root / "JPEGImages", batch=2)


# Commands


def command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([*map(str, arguments)])
    return int(caught.value.code or 0)


def test_the_option_of_detect(model: Model, photos: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    save_model(model, tmp_path / "m.safetensors")
    options = ("--model", "m.safetensors", "--score", "0.05", "--no-draw", "--device", "cpu", "--out", "none")
    assert command("detect", *photos, *options, "--json", "f.json") == 0
    assert command("detect", *photos, *options, "--json", "g.json", "--batch", 3) == 0
    assert_alike(entries("g.json"), entries())
    assert command("detect", *photos, *options, "--batch", 0) == 2
    assert "--batch" in capsys.readouterr().err


def test_the_option_of_evaluate(model: Model, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    save_model(model, tmp_path / "m.safetensors")
    options = ("--root", root, "--split", "val", "--model", tmp_path / "m.safetensors", "--device", "cpu")
    results = []
    for batch in ((), ("--batch", 3)):
        assert command("evaluate", *options, *batch, "--json", tmp_path / "r.json") == 0
        results.append(json.loads((tmp_path / "r.json").read_text()))
    assert results[0]["mAP"] == pytest.approx(results[1]["mAP"], abs=1e-6)
    assert command("evaluate", "--root", root, "--split", "val", "--detections", "x.json", "--batch", 3) == 2
    error = capsys.readouterr().err
    assert "--batch" in error
    assert "--detections" in error

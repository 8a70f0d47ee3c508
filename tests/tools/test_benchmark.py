"""The command `benchmark` and what it is made of. Times come from a clock that the fakes move; none is judged."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from detector.benchmark.rivals import Rival
from detector.benchmark.stages import detection_stages
from detector.benchmark.startup import Startup
from detector.benchmark.timing import Timing
from detector.cli import main
from detector.config import InputConfig, ModelConfig
from detector.inference.detector import Detector
from detector.models.rfcn import RFCN
from detector.models.weights import Model, save_model
from detector.structures.detections import Detections
from detector.structures.image import Image
from proposals import Proposals, SelectiveSearchConfig

NAMES = ["detect: backbone", "detect: proposals", "detect: regions", "detect: post-processing"]


class FakeClock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


class FakeProposer:
    """The whole image, its left half and its upper half, after 2 seconds."""

    fingerprint = "fake"

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock

    def __call__(self, image: np.ndarray) -> Proposals:
        self.clock.wait(2)
        height, width = image.shape[:2]
        boxes = np.array([[0, 0, width, height], [0, 0, width / 2, height], [0, 0, width, height / 2]], np.float32)
        scores = np.array([0.9, 0.8, 0.7], np.float32)
        return Proposals(boxes, scores, np.zeros(3, np.int16), ("fake",), (width, height))


class FakeDetector:
    """A detection of 1 + 4 + 2 + 8 + 16 seconds: before the steps, and each of them."""

    class_names = ("cat",)
    dtype = torch.bfloat16

    def __init__(self, clock: FakeClock, failure: BaseException | None = None) -> None:
        self.clock, self.failure = clock, failure
        self.proposer = FakeProposer(clock)
        self.scorers = (None,)
        self.threads: list[int] = []

    def encode(self, image: Image) -> Image:
        self.clock.wait(4)
        return image

    def propose(self, image: Image, views: Image) -> Proposals:
        return self.proposer(image.pixels)

    def score(self, views: Image, proposals: Proposals) -> None:
        self.clock.wait(8)
        if self.failure is not None:
            raise self.failure

    def suppress(self, proposals: Proposals, scored: None, score: float) -> Detections:
        self.clock.wait(16)
        return Detections(((0, 0, 5, 5),), (0.9,), (0,), self.class_names, proposals.image_size)

    def detect(self, image: Image, score: float = 0.5) -> Detections:
        self.threads.append(torch.get_num_threads())
        self.clock.wait(1)
        views = self.encode(image)
        proposals = self.propose(image, views)
        return self.suppress(proposals, self.score(views, proposals), score)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def image() -> Image:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    return Image(pixels, "noise")


@pytest.fixture(scope="module")
def model() -> Model:
    """Random weights; small inputs and few strategies, so that a detection is quick."""
    torch.manual_seed(0)
    proposals = SelectiveSearchConfig(working_width=None)
    config = ModelConfig(input=InputConfig(short_side=64), proposals=proposals)
    return Model(RFCN(2, config.network).eval(), config, ("cat", "dog"), {})


def test_stages_of_a_detection(clock: FakeClock, image: Image) -> None:
    detector = FakeDetector(clock)
    # What `detect` does before the first step belongs to it.
    expected = {"detect": 31, **dict(zip(NAMES, (5, 2, 8, 16), strict=True))}
    assert detection_stages(detector, image, clock) == expected
    assert detection_stages(detector, image, clock) == expected


@pytest.mark.parametrize("failure", [None, RuntimeError("no memory"), KeyboardInterrupt()])
def test_a_measured_detector_is_left_as_it_was(clock: FakeClock, image: Image, failure: BaseException) -> None:
    detector = FakeDetector(clock, failure)
    before = dict(vars(detector))
    if failure is None:
        detection_stages(detector, image, clock)
    else:
        with pytest.raises(type(failure)):
            detection_stages(detector, image, clock)
    assert vars(detector) == before


def test_stages_of_the_real_detector(clock: FakeClock, image: Image, model: Model) -> None:
    detector = Detector(model, "cpu", FakeProposer(clock))
    expected = detector.detect(image, 0.01).to_dict()
    ticks = iter(range(100))
    expected_ticks = {"detect": 5, **dict(zip(NAMES, (1, 1, 1, 2), strict=True))}
    assert detection_stages(detector, image, lambda: float(next(ticks))) == expected_ticks
    assert detector.detect(image, 0.01).to_dict() == expected


STARTUP = Startup((Timing("start: import", (1.5, 2.5)), Timing("start: load the detector", (0.25, 0.25))), (300, 311))


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["benchmark", *map(str, arguments)])
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.fixture
def photo(tmp_path: Path, image: Image) -> Path:
    path = tmp_path / "noise.png"
    PillowImage.fromarray(image.pixels).save(path)
    return path


@pytest.fixture
def fakes(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDetector]:
    """Puts fakes in place of the detector, its rivals (the second is not installed), clock and processes."""
    detector = FakeDetector(clock)

    def stages(measured: Detector, image: Image) -> dict[str, float]:
        return detection_stages(measured, image, clock)

    def missing(pixels: np.ndarray) -> Callable[[], object]:
        raise ImportError("No module named 'missing'")

    def startup(image: Image, model: Path | None, repeats: int, threads: int) -> Startup:
        detector.startup = (image.name, model, repeats, threads)
        return STARTUP

    def load(model: Path | None, device: str) -> FakeDetector:
        detector.loaded = (model, device, torch.get_num_threads())
        return detector

    rivals = (Rival("quick", "detect: proposals", lambda pixels: lambda: None), Rival("missing", "detect", missing))
    monkeypatch.setattr("detector.benchmark.report.load_detector", load)
    monkeypatch.setattr("detector.benchmark.report.detection_stages", stages)
    monkeypatch.setattr("detector.benchmark.report.measure_startup", startup)
    monkeypatch.setattr("detector.benchmark.report.RIVALS", rivals)
    before = torch.get_num_threads()
    yield detector
    assert torch.get_num_threads() == before


def test_a_run(fakes: FakeDetector, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = tmp_path / "new" / "result.json"
    options = ("--model", "m.safetensors", "--repeats", 4, "--threads", 1, "--json", result)
    assert run("--image", photo, *options) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert fakes.loaded == (Path("m.safetensors"), "cpu", 1)
    assert fakes.threads == [1] * 5  # a warm-up and four repeats
    assert fakes.startup == (str(photo), Path("m.safetensors"), 3, 1)

    content = json.loads(result.read_text())
    assert [path.name for path in result.parent.iterdir()] == ["result.json"]
    assert (content["image"], content["image_size"]) == (str(photo), [64, 48])
    assert (content["model"], content["dtype"], content["threads"]) == ("m.safetensors", "bfloat16", 1)
    assert {"date", "cpu", "cores", "load", "platform", "versions"} <= content.keys()
    timings = {entry["name"]: entry for entry in content["timings"]}
    assert list(timings) == ["detect", *NAMES, "quick", "start: import", "start: load the detector"]
    assert timings["detect"]["seconds"] == [31] * 4
    assert timings["detect: regions"] == {
        "name": "detect: regions",
        "median": 8,
        "fastest": 8,
        "slowest": 8,
        "seconds": [8] * 4,
    }
    assert len(timings["quick"]["seconds"]) == 4
    (comparison,) = content["comparisons"]
    assert (comparison["ours"], comparison["rival"]) == ("detect: proposals", "quick")
    assert content["peak_memory"] == [300, 311]
    assert content["skipped"] == {"missing": "No module named 'missing'"}

    assert f"photo     {photo}, 64x48 pixels" in captured.out
    assert re.search(r"^detect: regions +8000\.0 ", captured.out, re.MULTILINE)
    assert "not timed: missing (No module named 'missing')" in captured.out


def test_a_run_with_defaults(fakes: FakeDetector, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--no-rivals", "--repeats", 1) == 0
    out = capsys.readouterr().out
    assert "photo     astronaut.jpg, 500x375 pixels" in out
    assert "model     the installed model, bfloat16 on the CPU" in out
    assert "quick" not in out
    assert "missing" not in out
    assert fakes.loaded == (None, "cpu", 2)
    assert fakes.startup == ("astronaut.jpg", None, 1, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--image", "no.jpg"), "no.jpg: "),
        (("--threads", "0"), "threads is 0; give at least 1"),
        (("--repeats", "0"), "repeats is 0; give at least 1"),
        (("--json", "."), "--json .: is a folder"),
    ],
)
def test_errors(
    fakes: FakeDetector, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    assert run(*options) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {message}")
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert fakes.threads == []


def test_an_unknown_model(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--image", photo, "--model", "no.safetensors") == 2
    assert capsys.readouterr().err.startswith("error: no.safetensors: no such model file; give a path, or an installed")


def test_a_model_that_sees_crops(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--image", photo, "--model", "voc07_crops") == 2
    assert "for a model that sees crops give --crops" in capsys.readouterr().err


def test_an_interruption(fakes: FakeDetector, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fakes.failure = KeyboardInterrupt()
    assert run("--image", photo, "--json", tmp_path / "result.json") == 130
    assert capsys.readouterr() == ("", "interrupted: the benchmark is not complete\n")
    assert not (tmp_path / "result.json").exists()


def test_a_real_run(model: Model, photo: Path, tmp_path: Path) -> None:
    save_model(model, tmp_path / "m.safetensors")
    result = tmp_path / "result.json"
    options = ("--model", tmp_path / "m.safetensors", "--repeats", 1, "--threads", 1, "--no-rivals", "--json", result)
    assert run("--image", photo, *options) == 0
    content = json.loads(result.read_text())
    seconds = {entry["name"]: entry["seconds"] for entry in content["timings"]}
    assert len(seconds) == 9
    assert all(len(values) == 1 for values in seconds.values())
    assert sum(seconds[name][0] for name in NAMES) == pytest.approx(seconds["detect"][0])
    assert min(value for values in seconds.values() for value in values) > 0
    assert content["dtype"] in ("float32", "bfloat16")

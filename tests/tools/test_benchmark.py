"""The command `benchmark` and what it is made of. Times come from a clock that the fakes move; none is judged."""

import dataclasses
import json
import platform
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from detector.benchmark.environment import Environment
from detector.benchmark.photo import default_photo
from detector.benchmark.report import Report
from detector.benchmark.rivals import RIVALS, Rival
from detector.benchmark.stages import detection_stages
from detector.benchmark.startup import Startup, measure_startup, peak_memory
from detector.benchmark.timing import Comparison, Task, Timing, interleave
from detector.cli import main
from detector.config import InputConfig, ModelConfig
from detector.detections import Detections
from detector.errors import InputError
from detector.images import Image
from detector.network import RegionClassifier
from detector.pipeline import Detector
from detector.weights import Model, save_model
from proposals import Proposals, SelectiveSearchConfig

STAGES = ["detect: proposals", "detect: input preparation", "detect: network", "detect: post-processing"]


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


class FakeNetwork(torch.nn.Module):
    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.clock = clock

    def forward(self) -> None:
        self.clock.wait(8)


class FakeDetector:
    """A detection of 1 + 2 + 4 + 8 + 16 seconds: before the proposals, they, input, network, and what is left."""

    class_names = ("cat",)
    dtype = torch.bfloat16

    def __init__(self, clock: FakeClock, failure: BaseException | None = None) -> None:
        self.clock, self.failure = clock, failure
        self.proposer = FakeProposer(clock)
        self.scorers = (SimpleNamespace(network=FakeNetwork(clock)),)
        self.threads: list[int] = []

    def detect(self, image: Image, score: float = 0.5) -> Detections:
        self.threads.append(torch.get_num_threads())
        self.clock.wait(1)
        self.proposer(image.pixels)
        self.clock.wait(4)
        self.scorers[0].network()
        if self.failure is not None:
            raise self.failure
        self.clock.wait(16)
        return Detections(((0, 0, 5, 5),), (0.9,), (0,), self.class_names, (image.width, image.height))


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
    return Model(RegionClassifier(2, config.network).eval(), config, ("cat", "dog"), {})


def timing(name: str, *seconds: float) -> Timing:
    return Timing(name, seconds)


def test_a_timing() -> None:
    assert timing("a", 4, 1, 2).median == 2
    assert timing("a", 4, 1).median == 2.5
    assert timing("a", 4, 1, 2).to_dict() == {
        "name": "a",
        "median": 2,
        "fastest": 1,
        "slowest": 4,
        "seconds": [4, 1, 2],
    }
    with pytest.raises(ValueError, match="timing of 'a' has no measurement"):
        timing("a")


def test_a_comparison_is_made_round_by_round_where_both_took_part() -> None:
    # The machine becomes four times slower in the second round: the ratio stays.
    comparison = Comparison(timing("ours", 1, 4, 1, 1000), timing("rival", 3, 12, 2))
    assert comparison.ratios == (3, 3, 2)
    assert comparison.to_dict() == {
        "ours": "ours",
        "rival": "rival",
        "times_as_fast": 3,
        "lowest": 2,
        "highest": 3,
    }


def test_tasks_take_turns_after_a_warm_up_of_each() -> None:
    calls: list[str] = []

    def task(name: str, repeats: int) -> Task:
        def measure() -> dict[str, float]:
            calls.append(name)
            return {name: len(calls), f"{name} part": len(calls) / 2}

        return Task(measure, repeats)

    timings = interleave([task("A", 3), task("B", 1), task("C", 2)])
    assert "".join(calls) == "ABC" + "ABC" + "AC" + "A"
    assert timings == (
        timing("A", 4, 7, 9),
        timing("A part", 2, 3.5, 4.5),
        timing("B", 5),
        timing("B part", 2.5),
        timing("C", 6, 8),
        timing("C part", 3, 4),
    )


def test_stages_of_a_detection(clock: FakeClock, image: Image) -> None:
    detector = FakeDetector(clock)
    # What `detect` does before the proposer belongs to the proposals.
    expected = {"detect": 31, **dict(zip(STAGES, (3, 4, 8, 16), strict=True))}
    assert detection_stages(detector, image, clock) == expected
    assert detection_stages(detector, image, clock) == expected


@pytest.mark.parametrize("failure", [None, RuntimeError("no memory"), KeyboardInterrupt()])
def test_a_measured_detector_is_left_as_it_was(clock: FakeClock, image: Image, failure: BaseException) -> None:
    detector = FakeDetector(clock, failure)
    proposer = detector.proposer
    if failure is None:
        detection_stages(detector, image, clock)
    else:
        with pytest.raises(type(failure)):
            detection_stages(detector, image, clock)
    assert detector.proposer is proposer
    assert not detector.scorers[0].network._forward_hooks
    assert not detector.scorers[0].network._forward_pre_hooks


def test_stages_of_the_real_detector(clock: FakeClock, image: Image, model: Model) -> None:
    detector = Detector(model, "cpu", FakeProposer(clock))
    expected = detector.detect(image, 0.01).to_dict()
    ticks = iter(range(100))
    assert detection_stages(detector, image, lambda: float(next(ticks))) == {"detect": 4, **dict.fromkeys(STAGES, 1)}
    assert detector.detect(image, 0.01).to_dict() == expected


def test_a_rival_is_timed_without_its_loading(clock: FakeClock, image: Image) -> None:
    seen: list[np.ndarray] = []

    def load(pixels: np.ndarray) -> Callable[[], object]:
        clock.wait(100)
        return lambda: (seen.append(pixels), clock.wait(5))

    task = Rival("rival", "detect", load).task(image.pixels, 10, clock)
    assert task.repeats == 10
    assert task.measure() == {"rival": 5}
    assert seen[0] is image.pixels
    assert Rival("rival", "detect", load, slow=True).task(image.pixels, 10, clock).repeats == 3
    assert Rival("rival", "detect", load, slow=True).task(image.pixels, 2, clock).repeats == 2


def test_the_rivals() -> None:
    assert [(rival.against, rival.slow) for rival in RIVALS] == [("detect: proposals", True), ("detect", False)]


def test_selectivesearch_gets_the_photo(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple] = []
    module = types.ModuleType("selectivesearch")
    module.selective_search = lambda pixels, **settings: calls.append((pixels, settings)) or (pixels, [])
    monkeypatch.setitem(sys.modules, "selectivesearch", module)
    RIVALS[0].load(image.pixels)()
    ((pixels, settings),) = calls
    np.testing.assert_array_equal(pixels, image.pixels)
    assert settings == {"scale": 500, "sigma": 0.9, "min_size": 10}


def test_faster_rcnn_gets_the_photo(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs: list[torch.Tensor] = []

    class Network(torch.nn.Module):
        def __init__(self, weights: None, weights_backbone: None) -> None:
            super().__init__()
            assert weights is weights_backbone is None

        def forward(self, images: list[torch.Tensor]) -> None:
            assert not self.training
            assert torch.is_inference_mode_enabled()
            inputs.extend(images)

    # The real one takes seconds to make; that torchvision has it, with these arguments, is checked below.
    monkeypatch.setattr("torchvision.models.detection.fasterrcnn_mobilenet_v3_large_320_fpn", Network)
    state = torch.get_rng_state()
    RIVALS[1].load(image.pixels)()
    assert torch.equal(torch.get_rng_state(), state)
    expected = torch.from_numpy(image.pixels.transpose(2, 0, 1) / np.float32(255))
    torch.testing.assert_close(inputs, [expected])


def test_the_real_faster_rcnn_runs(image: Image) -> None:
    (result,) = RIVALS[1].load(image.pixels)()
    assert {"boxes", "scores"} <= result.keys()


def test_the_default_photo(photos: Path) -> None:
    photo = default_photo()
    assert (photo.width, photo.height) == (500, 375)
    with PillowImage.open(photos / "astronaut.jpg") as picture:
        middle = np.asarray(picture.convert("RGB").crop((0, 64, 512, 448)).resize((500, 375)), np.float32)
    assert np.abs(photo.pixels - middle).mean() < 2


def test_an_installed_package_has_no_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detector.benchmark.photo._PHOTO", tmp_path / "tests/photos/astronaut.jpg")
    with pytest.raises(InputError, match="installed without photos; give one: --image PHOTO"):
        default_photo()


PROGRAM = """
import json, os, sys, time
from PIL import Image
with open({log!r}, "a") as log:
    model, threads = sys.argv[2], [os.environ["OMP_NUM_THREADS"], os.environ["OPENCV_FOR_THREADS_NUM"]]
    print(json.dumps([Image.open(sys.argv[1]).tobytes().hex(), model, threads]), file=log)
number = len(open({log!r}).readlines())
print(json.dumps({{"import": number, "load": 10 * number, "detect": 100 * number, "finish": time.time() + 1000,
    "peak_memory": {memory}}}))
"""


@pytest.mark.parametrize(
    ("memory", "expected"), [("number * 256.0", (512, 768)), ("None", None)], ids=["known", "unknown"]
)
def test_fresh_processes(
    image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: str, expected: tuple[float, ...] | None
) -> None:
    log = tmp_path / "log"
    program = PROGRAM.format(log=str(log), memory=memory)
    monkeypatch.setattr("detector.benchmark.startup._PROGRAM", program)
    startup = measure_startup(image, Path("m.safetensors"), repeats=2, threads=3)
    *parts, whole = startup.timings
    assert parts == [  # the first of three processes was the warm-up
        timing("start: import", 2, 3),
        timing("start: load the detector", 20, 30),
        timing("start: first detection", 200, 300),
    ]
    assert whole.name == "start: process to first result"
    assert len(whole.seconds) == 2
    assert min(whole.seconds) > 1000
    assert startup.peak_memory == expected
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert entries == [[image.pixels.tobytes().hex(), "m.safetensors", ["3", "3"]]] * 3


def test_a_fresh_process_that_fails(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detector.benchmark.startup._PROGRAM", "print('half'); raise MemoryError('all is used')")
    with pytest.raises(InputError, match=r"^detection in a fresh process failed: MemoryError: all is used$"):
        measure_startup(image, None, repeats=1, threads=1)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="compares with what Linux tells")
def test_peak_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    def no_such_file(*_: object, **__: object) -> None:
        raise FileNotFoundError

    pages = int(Path("/proc/self/statm").read_text().split()[1])
    peak = peak_memory()
    assert peak is not None
    assert pages * resource.getpagesize() / 2**20 <= peak + 1
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("builtins.open", no_such_file)
        without_proc = peak_memory()
        elsewhere.setitem(sys.modules, "resource", None)
        assert peak_memory() is None
    assert without_proc == resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assert without_proc >= peak - 1


STARTUP = Startup((timing("start: import", 1.5, 2.5), timing("start: load the detector", 0.25, 0.25)), (300, 311, 305))
ENVIRONMENT = Environment(
    date="2026-01-02T03:04:05+00:00",
    cpu="Some CPU",
    cores=2,
    threads=1,
    load=0.25,
    platform="Some-OS",
    versions={"python": "3.11.9", "torch": "2.6.0"},
)
REPORT = Report(
    environment=ENVIRONMENT,
    image="a.jpg",
    image_size=(64, 48),
    model="m.safetensors",
    dtype="bfloat16",
    timings=(timing("detect", 0.5, 0.25), timing("other", 1, 0.75)),
    comparisons=(Comparison(timing("detect", 0.5, 0.25), timing("other", 1, 0.75)),),
    startup=STARTUP,
    skipped={"third": "No module named 'third'"},
)


def test_the_table() -> None:
    assert REPORT.table().splitlines() == [
        "date      2026-01-02T03:04:05+00:00",
        "machine   Some CPU, 2 cores, 1 threads used, load 0.25 before the run; Some-OS",
        "versions  python 3.11.9, torch 2.6.0",
        "photo     a.jpg, 64x48 pixels",
        "model     m.safetensors, bfloat16 on the CPU",
        "",
        "milliseconds                median   fastest   slowest  repeats",
        "detect                       375.0     250.0     500.0        2",
        "other                        875.0     750.0    1000.0        2",
        "start: import               2000.0    1500.0    2500.0        2",
        "start: load the detector     250.0     250.0     250.0        2",
        "",
        "peak memory of a fresh process: 305 MiB",
        "detect: 2.50 times as fast as other (2.00 to 3.00)",
        "not timed: third (No module named 'third')",
    ]


def test_what_the_system_does_not_tell_is_said() -> None:
    report = dataclasses.replace(
        REPORT,
        environment=dataclasses.replace(ENVIRONMENT, load=None),
        startup=dataclasses.replace(STARTUP, peak_memory=None),
    )
    assert "1 threads used; Some-OS" in report.table()
    assert "peak memory of a fresh process: not measured on this system" in report.table()
    assert report.to_dict()["peak_memory"] is None


def test_the_environment() -> None:
    environment = Environment.current(threads=5)
    assert environment.threads == 5
    assert environment.cores >= 1
    assert environment.cpu
    assert environment.versions["python"] == platform.python_version()
    assert environment.versions["numpy"] == np.__version__


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
    assert list(timings) == ["detect", *STAGES, "quick", "start: import", "start: load the detector"]
    assert timings["detect"]["seconds"] == [31] * 4
    assert timings["detect: network"] == {
        "name": "detect: network",
        "median": 8,
        "fastest": 8,
        "slowest": 8,
        "seconds": [8] * 4,
    }
    assert len(timings["quick"]["seconds"]) == 4
    (comparison,) = content["comparisons"]
    assert (comparison["ours"], comparison["rival"]) == ("detect: proposals", "quick")
    assert content["peak_memory"] == [300, 311, 305]
    assert content["skipped"] == {"missing": "No module named 'missing'"}

    assert f"photo     {photo}, 64x48 pixels" in captured.out
    assert "detect: network              8000.0" in captured.out
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
    assert capsys.readouterr().err == "error: no.safetensors: no such model file\n"


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
    assert sum(seconds[name][0] for name in STAGES) == pytest.approx(seconds["detect"][0])
    assert min(value for values in seconds.values() for value in values) > 0
    assert content["dtype"] in ("float32", "bfloat16")

"""The benchmark: how it times and compares, and each measurement on little data. No time is asserted."""

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks import detection, evaluators, measuring, selective_search
from benchmarks.measuring import Report, Rival, Task, default_photo, interleave, larger, load_rivals, run_fresh
from PIL import Image as PillowImage

from detector.config import InputConfig, ModelConfig
from detector.errors import InputError
from detector.inference.pipeline import DetectionPipeline
from detector.models.rfcn import RFCN
from detector.models.weights import Model, save_model
from detector.structures.image import Image
from proposals import SelectiveSearchConfig


def missing(*_: object) -> Callable[[], object]:
    raise ImportError("No module named 'missing'")


@pytest.fixture(scope="module")
def image() -> Image:
    return Image(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8), "noise")


@pytest.fixture(scope="module")
def model() -> Model:
    """Random weights and small inputs, so that a detection is quick."""
    torch.manual_seed(0)
    config = ModelConfig(input=InputConfig(short_side=64), proposals=SelectiveSearchConfig(working_width=None))
    return Model(RFCN(2, config.network).eval(), config, ("cat", "dog"), {})


def test_tasks_take_turns_and_slow_ones_leave_the_last_rounds_out():
    calls: list[str] = []
    tasks = [Task(name, lambda name=name: calls.append(name), slow=name == "slow") for name in ("a", "slow", "b")]
    interleave(tasks, 5)
    assert [len(task.seconds) for task in tasks] == [5, 3, 5]
    turns = [name for name, before in zip(calls, ["", *calls], strict=False) if name != before]
    assert turns == ["a", "slow", "b"] * 3 + ["a", "b"] * 2


def test_a_report_compares_round_by_round():
    # The machine becomes four times slower in the second round: the ratio stays.
    ours = Task("ours", print, seconds=[1, 4, 1, 1000])
    rival = Task("rival", print, items=4, against=("ours", "not measured"), seconds=[3, 12, 2])
    report = Report(
        {"image": "a.jpg"},
        [ours, rival],
        threads=5,
        tables={"growth": [{"size": 1, "seconds": 0.5}]},
        peak_memory={"known": 305.4, "unknown": math.nan},
        skipped={"third": "No module named 'third'"},
    )
    content = json.loads(json.dumps(report.to_dict()))
    compared = {"ours": "ours", "rival": "rival", "times_as_fast": 3, "lowest": 2, "highest": 3}
    assert content["comparisons"] == [compared]
    assert (content["image"], content["threads"], content["versions"]["numpy"]) == ("a.jpg", 5, np.__version__)
    expected = {"name": "rival", "median": 3, "fastest": 2, "slowest": 12, "seconds": [3, 12, 2]}
    assert content["timings"][1] == {**expected, "items_per_second": pytest.approx(4 / 3)}
    assert content["peak_memory"] == {"known": 305.4, "unknown": None}
    table = report.table()
    for part in ("ours: 3.00 times as fast as rival", "3000.0", "305 MiB", "third", "seconds 0.5", np.__version__):
        assert part in table


def test_rivals_that_are_not_installed_are_skipped():
    loaded, skipped = load_rivals([Rival("here", ("a",), lambda _: print), Rival("gone", ("a",), missing)], None)
    assert [(task.name, task.against) for task in loaded] == [("here", ("a",))]
    assert skipped == {"gone": "No module named 'missing'"}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read as on Linux")
def test_fresh_processes():
    program = "import sys\nresult, block = sys.argv[1:], bytearray(200 << 20)\ndel block"
    result, memory = run_fresh(program, 1, "a", threads=1)
    assert result == ["1", "a"]
    assert 200 < memory < 400
    with pytest.raises(InputError, match="MemoryError: full"):
        run_fresh("raise MemoryError('full')", threads=1)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="instruction sets are read as on Linux")
def test_instruction_sets(command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(measuring, "_cpu_field", lambda name: "sse avx2 avx512_vnni")
    for name, value in measuring.instruction_limits("avx2").items():
        monkeypatch.setenv(name, value)
    program = "import torch\nresult = torch.backends.cpu.get_cpu_capability()"
    assert run_fresh(program, threads=1)[0] == "AVX2"
    assert Report({}, [], 1).environment()["held to"].startswith("AVX2")
    for isa, part in (("amx", "give avx512_vnni or avx2"), ("avx3", "avx2")):
        ended = command("benchmark", "--isa", isa)
        assert (ended.code, part in ended.err) == (2, True)


@pytest.mark.parametrize("options", [(), ("--crops",)])
def test_nanodet_needs_its_weights_and_a_detection(command, options: tuple[str, ...], tmp_path: Path):
    ended = command("benchmark", "--nanodet", tmp_path, *options)
    assert (ended.code, ("nanodet-plus-coco-416.param" in ended.err) == (not options)) == (2, True)


def test_photos(image: Image, photos: Path):
    assert larger(image.pixels, 0.1).shape == pytest.approx((274, 365, 3), abs=1)
    assert np.array_equal(larger(image.pixels, 0.1)[:48, 64:192], np.hstack([image.pixels[:, ::-1], image.pixels]))
    photo = default_photo()
    assert (photo.width, photo.height) == (500, 375)
    with PillowImage.open(photos / "astronaut.jpg") as picture:
        middle = np.asarray(picture.convert("RGB").crop((0, 64, 512, 448)).resize((500, 375)), np.float32)
    assert np.abs(photo.pixels - middle).mean() < 2


def test_stages_of_a_detection(model: Model, image: Image):
    detector = DetectionPipeline(model, "cpu", source="selective_search")
    results = {task.name: task.run() for task in detection.stages(detector, image)}
    assert len(results) == 6
    assert results["stage: NMS and box voting"].to_dict() == detector.detect(image).to_dict()
    assert results["stage: drawing"].shape == image.pixels.shape


def test_the_rivals_of_a_detection(image: Image):
    names = {"stage: proposals", "stage: backbone", detection.DETECTION, detection.MULTIBOX}
    assert {name for rival in detection.RIVALS for name in rival.against} == names
    run_rival = detection.torchvision_detector("fasterrcnn_mobilenet_v3_large_320_fpn", image, batch=2)
    assert [result.keys() >= {"boxes", "scores"} for result in run_rival()] == [True, True]


def test_crops(image: Image, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(detection, "CROPS", 2)
    monkeypatch.setattr(detection, "run_fresh", lambda *_, threads: (None, 1234.5))
    rivals = (Rival("rival", ("crops",), lambda threads: lambda: None), Rival("absent", ("crops",), missing))
    monkeypatch.setattr(detection, "CROPS_RIVALS", rivals)
    content = detection.benchmark_crops(image, 1, 1, rivals=True).to_dict()
    assert len(content["timings"]) == 4
    assert content["timings"][0]["items_per_second"] == pytest.approx(2 / content["timings"][0]["median"])
    assert [(c["ours"], c["rival"]) for c in content["comparisons"]] == [("crops", "rival")]
    assert list(content["peak_memory"].values()) == [1234.5]
    assert list(content["skipped"]) == ["absent"]
    boxes = detection.random_boxes(image, 500)
    assert (boxes >= 0).all()
    assert (boxes[:, 2:] <= torch.tensor([64, 48])).all()
    assert (boxes[:, 2:] - boxes[:, :2] >= torch.tensor([64, 48]) * 0.049).all()


def test_proposals(image: Image, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(selective_search, "MEGAPIXELS", (0.01,))
    monkeypatch.setattr(selective_search, "_rate", lambda image, workers, count: float(workers))
    monkeypatch.setattr(selective_search, "run_fresh", lambda *_, threads: (None, 99))
    content = selective_search.benchmark_proposals(image, 1, rivals=False).to_dict()
    names = [f"selective_search {preset}" for preset in ("single", "fast", "balanced", "quality")]
    assert [measured["name"] for measured in content["timings"]] == names
    assert [row["workers"] for row in content["tables"]["fast, several photos"]] == [1, 2]
    assert list(content["peak_memory"].values()) == [99, 99]


def test_made_up_detections_are_like_cocos():
    truth, table = evaluators.made_up_data(7923, seed=3)
    assert (len(truth.image_ids), len(truth), len(table)) == (1000, 7342, 7923)
    assert truth.crowd.any()
    assert len(np.unique(table.scores)) < len(table)
    # Neither hopeless nor perfect, so that every rule of the metric matters.
    assert 0.1 < evaluators.coco_average_precision(truth, table).mean_ap < 0.9
    assert np.array_equal(evaluators.made_up_data(7923, seed=3)[1].boxes, table.boxes)
    assert not np.array_equal(evaluators.made_up_data(7923, seed=4)[1].boxes, table.boxes)


def test_evaluators_agree_with_their_rivals(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("pycocotools")
    monkeypatch.setattr(evaluators, "run_fresh", lambda *_, threads: (None, 50))
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    content = evaluators.benchmark_evaluators(1, True, detections=400, growth=(100,)).to_dict()
    assert content["data"] == {"images": 50, "objects": 371, "detections": 400}
    assert [(c["ours"], c["rival"]) for c in content["comparisons"]] == [("coco", "pycocotools")]
    assert content["largest difference of COCO's twelve numbers"]["pycocotools"] < 1e-12
    (row,) = content["tables"]["seconds by number of detections"]
    assert set(evaluators.EVALUATORS) < set(row)
    assert list(content["skipped"]) == ["faster-coco-eval"]
    assert len(content["peak_memory"]) == 3


def test_images_a_second(model: Model, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    save_model(model, tmp_path / "m.safetensors")
    monkeypatch.setattr(detection, "torchvision_detector", lambda *_: lambda: None)
    report = detection.benchmark_throughput(image, "cpu", tmp_path / "m.safetensors", 1, 1, True, batches=(1, 2))
    content = report.to_dict()
    names = [f"{name}, batch {batch}" for batch in (1, 2) for name in ("network", "network and regions")]
    assert [m["name"] for m in content["timings"] if m["name"].startswith("network")] == names
    rivals = [f"{detection.BATCH_RIVAL}, batch {batch}" for batch in (1, 2)]
    assert [c["rival"] for c in content["comparisons"]] == rivals
    assert all(m["items_per_second"] == pytest.approx(int(m["name"][-1]) / m["median"]) for m in content["timings"])


def test_outside_a_checkout_the_command_names_the_script(command, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("detector.cli.benchmark._TOOLS", tmp_path)
    ended = command("benchmark")
    assert (ended.code, "tools/benchmark.py" in ended.err) == (2, True)


@pytest.mark.slow
def test_a_real_run(command, model: Model, image: Image, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("torch.set_num_threads", lambda count: None)  # this process stays as it is
    save_model(model, tmp_path / "m.safetensors")
    PillowImage.fromarray(image.pixels).save(tmp_path / "noise.png")
    result = tmp_path / "new/result.json"
    options = ("--model", tmp_path / "m.safetensors", "--repeats", 1, "--threads", 1, "--no-rivals", "--json", result)
    ended = command("benchmark", "--image", tmp_path / "noise.png", *options)
    assert (ended.code, "stage: backbone" in ended.out) == (0, True)
    content = json.loads(result.read_text())
    names = [measured["name"] for measured in content["timings"]]
    assert next(name for name in names if name.startswith("start: ")) == "start: import"
    assert (content["image_size"], content["threads"]) == ([64, 48], 1)
    assert min(value for measured in content["timings"] for value in measured["seconds"]) > 0
    assert content["peak_memory"]["a fresh process"] > 100

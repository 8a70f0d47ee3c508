"""The command `detector evaluate` with a model, and its options."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pytest
from PIL import Image

from detector.data import VOC_CLASSES
from detector.structures.detections import Detections
from detector.structures.image import Image as Photo

Run = Callable[..., tuple[int, str, str]]
Evaluate = Callable[..., tuple[int, str, str]]


class FakeDetector:
    """Finds a cat and a dog in every image; stops at the image of the number `stop` with `failure`."""

    class_names = VOC_CLASSES
    class_ids = tuple(range(20))
    fingerprint, precision = "fake", "float32"

    def __init__(self, stop: int = 0, failure: BaseException | None = None) -> None:
        self.stop, self.failure, self.calls = stop, failure, 0

    def with_settings(self, **settings: object) -> Self:
        return self

    def detect(self, image: Photo, score: float) -> Detections:
        self.calls += 1
        if self.calls == self.stop and self.failure is not None:
            raise self.failure
        labels = (VOC_CLASSES.index("cat"), VOC_CLASSES.index("dog"))
        boxes = ((0, 0, 50, 40), (0, 0, 20, 20))
        return Detections(boxes, (0.9, 0.3), labels, self.class_names, (image.width, image.height))


@pytest.fixture
def use_detector(monkeypatch: pytest.MonkeyPatch) -> Callable[[FakeDetector], list[tuple]]:
    """Puts a detector in place of the one that is loaded; gives the arguments it is loaded with."""

    def use(detector: FakeDetector) -> list[tuple]:
        loaded: list[tuple] = []
        monkeypatch.setattr(
            "detector.inference.assembly.load_pipeline",
            lambda model, device, config, source, engine, precision: loaded.append((model, device)) or detector,
        )
        return loaded

    return use


def test_a_model(run: Run, use_detector: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my.safetensors").write_bytes(b"")
    loaded = use_detector(FakeDetector())
    result, saved = tmp_path / "result.json", tmp_path / "saved.json"
    code, out, _ = run("--model", "my.safetensors", "--device", "cpu", "--json", result, "--save-detections", saved)
    assert code == 0
    assert loaded == [(Path("my.safetensors"), "cpu")]
    content = json.loads(result.read_text())
    assert (content["model"], content["images"], content["metric"]) == ("my.safetensors", 3, "voc07")
    assert content["seconds_per_image"] >= 0
    # The detections that were saved give the same result.
    again = tmp_path / "again.json"
    code, out_again, _ = run("--detections", saved, "--json", again)
    assert code == 0
    assert out_again == out
    differing = {"model": None, "detections": str(saved)}
    assert json.loads(again.read_text()) == content | differing


def test_the_model_that_is_installed(run: Run, use_detector: Callable, tmp_path: Path) -> None:
    loaded = use_detector(FakeDetector())
    code, _, _ = run("--json", tmp_path / "result.json")
    assert code == 0
    assert [(path.suffix, device) for path, device in loaded] == [(".safetensors", "auto")]
    assert json.loads((tmp_path / "result.json").read_text())["model"] == str(loaded[0][0])


def test_limit(run: Run, use_detector: Callable, found: Path) -> None:
    detector = FakeDetector()
    use_detector(detector)
    assert "2 images of val" in run("--limit", 2)[1]
    assert detector.calls == 2
    # The entry of c is beyond the limit, and no mistake.
    code, out, _ = run("--limit", 2, "--detections", found)
    assert code == 0
    assert "2 images of val" in out
    assert out.endswith("1 entries of images that are not in the data set, left out\n")


def test_classes(run: Run, use_detector: Callable, found: Path) -> None:
    use_detector(FakeDetector())
    for options in ([], ["--detections", found]):
        code, out, _ = run("--classes", "cat, horse", *options)
        assert code == 0
        assert [line.split()[0] for line in out.splitlines()[:4]] == ["class", "cat", "horse", "mAP"]
    code, _, err = run("--classes", " , ")
    assert code == 2
    assert err.startswith("error: --classes ")


def test_the_classes_of_a_model_of_ones_own(run: Run, use_detector: Callable) -> None:
    detector = FakeDetector()
    detector.class_names = ("dog", "cat")  # type: ignore[assignment]
    detector.detect = lambda image, score: Detections(  # type: ignore[method-assign]
        [(0, 0, 50, 40)], [0.9], [1], ("dog", "cat"), (image.width, image.height)
    )
    use_detector(detector)
    code, out, _ = run()
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[:4]] == ["class", "dog", "cat", "mAP"]
    assert out.splitlines()[2].split()[-1] == "100.0"


def test_a_failed_image(run: Run, use_detector: Callable, root: Path, tmp_path: Path) -> None:
    use_detector(FakeDetector())
    (root / "JPEGImages/a.jpg").write_bytes(b"no photo")
    code, out, err = run("--json", tmp_path / "result.json")
    assert code == 2
    assert err.splitlines()[0].startswith("a: ")
    assert err.splitlines()[-1].startswith("error: 1 of 3 images failed, first a: ")
    assert "their objects count as not found" in out
    content = json.loads((tmp_path / "result.json").read_text())
    assert list(content["failed"]) == ["a"]
    assert content["AP"]["cat"] == 0


def test_an_interruption(run: Run, use_detector: Callable, tmp_path: Path) -> None:
    use_detector(FakeDetector(stop=2, failure=KeyboardInterrupt()))
    result, saved = tmp_path / "result.json", tmp_path / "saved.json"
    code, out, err = run("--json", result, "--save-detections", saved)
    assert (code, out) == (130, "")
    assert err.startswith("interrupted: ")
    assert "--resume" in err
    assert not result.exists()
    assert not saved.exists()
    again = FakeDetector()
    use_detector(again)
    assert "saved.json.part-0: " in run("--json", result, "--save-detections", saved)[2]
    assert run("--json", result, "--save-detections", saved, "--resume")[0] == 0
    assert again.calls == 2
    assert len(json.loads(saved.read_text())) == 3
    use_detector(FakeDetector(stop=2, failure=KeyboardInterrupt()))
    assert "--resume" not in run()[2], "nothing was saved"


@pytest.mark.parametrize(
    ("options", "facts"),
    [
        (["--detections", "none.json"], ["none.json", "No such file"]),
        (["--detections", "x", "--model", "y"], ["--model ", "--detections"]),
        (["--detections", "x", "--save-detections", "y"], ["--save-detections ", "--detections"]),
        (["--compare", "x", "y", "--config", "z"], ["--config ", "--compare"]),
        (["--compare", "x", "y", "--export", "csv", "z"], ["--export ", "--compare"]),
        (["--iou-thresholds", "0.5,high"], ["--iou-thresholds", "'high'"]),
        (["--resume"], ["--resume ", "--save-detections"]),
        (["--seed", "1"], ["--seed ", "--dataset voc"]),
        (["--data", "x"], ["--root ", "--data"]),
        (["--dataset", "coco"], ["--split ", "--dataset coco"]),
        (["--class-map", "x"], ["--class-map ", "--dataset voc"]),
        (["--format", "csv"], ["--format ", "--detections"]),
        (["--json", "x.json", "--report", "./x.json"], ["--report x.json", "--json"]),
        (["--detections", "x.json", "--export", "csv", "x.json"], ["--export x.json"]),
        (["--export", "coco", "x", "--json", "x.categories.json"], ["--export coco x.categories.json", "--json"]),
        (["--export", "xml", "x"], ["'xml'", "coco"]),
        (["--detections", "x.json", "--json", "x.json"], ["--json x.json"]),
        (["--dataset", "yolo"], ["--dataset yolo", "--annotations"]),
        (["--dataset", "ilsvrc", "--annotations", "x"], ["--dataset ilsvrc", "--split", "--class"]),
        (["--model", "x", "--model", "y"], ["--model", "--dataset voc", "--config"]),
        (["--test-crops", "10"], ["--test-crops ", "--dataset voc"]),
        (["--ablation", "--metric", "voc10"], ["--metric ", "--ablation"]),
        (["--json", "."], ["--json .", "folder"]),
        (["--json", "/dev/null/x.json"], ["--json /dev/null/x.json: /dev/null is not a folder"]),
        (["--save-detections", "/dev/null/x.json"], ["--save-detections /dev/null/x.json: /dev/null is not a folder"]),
        (["--metric", "voc"], ["--metric", "voc07"]),
        (["--limit", "0"], ["'--limit'"]),
        (["--dataset", "oid"], ["--dataset", "coco"]),
    ],
)
def test_wrong_options(run: Run, options: list[str], facts: list[str]) -> None:
    code, out, err = run(*options)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert all(fact in err for fact in facts)


def test_a_missing_split(run: Run, root: Path) -> None:
    path = root / "ImageSets/Main/test.txt"
    assert run(split="test") == (2, "", f"error: {path}: no such split; there are: val\n")


def test_the_report_tells_what_became_of_the_objects(
    run: Run, found: Path, root: Path, photos: Path, tmp_path: Path
) -> None:
    page = tmp_path / "why.html"
    code, out, _ = run("--detections", found, "--report", page)
    assert code == 0
    assert out.endswith(f" -> {page}\n")
    assert "val" in page.read_text(encoding="utf-8")
    # A model of ours tells more: the traces are in the file that it saves, and a report from that has them too.
    for name in "abc":
        Image.open(photos / "cat.jpg").resize((100, 80)).save(root / f"JPEGImages/{name}.jpg")
    saved, traced = tmp_path / "saved.json", tmp_path / "traced.html"
    assert run("--report", traced, "--save-detections", saved, "--device", "cpu")[0] == 0
    entries = json.loads(saved.read_text())
    assert [len(entry["objects"]["sources"]) for entry in entries] == [1, 0, 1]
    sources = {name for entry in entries for name in entry["objects"]["sources"]}
    assert sources
    assert sources <= {"multibox", "selective_search"}
    assert run("--report", page, "--detections", saved)[0] == 0
    for html in (page, traced):
        assert all(source in html.read_text(encoding="utf-8") for source in sources)


@pytest.mark.parametrize("names", [("cat", "dog"), ("airplane", "dog", "tv", "cat")])
def test_a_model_is_judged_by_the_classes_that_it_knows(
    make_voc: Callable[..., Path], use_detector: Callable, evaluate: Evaluate, names: tuple[str, ...]
) -> None:
    root = make_voc({"a": [("cat", (1, 1, 50, 40), 0), ("horse", (1, 1, 9, 9), 0)], "b": []})
    detector = FakeDetector()
    detector.class_names = names  # type: ignore[assignment]
    label = names.index("cat")
    detector.detect = lambda image, score: Detections(  # type: ignore[method-assign]
        [(0, 0, 50, 40)], [0.9], [label], names, (image.width, image.height)
    )
    use_detector(detector)
    code, out, _ = evaluate("--root", root, "--split", "val")
    assert code == 0
    rows = [line.split()[0] for line in out.splitlines()[1 : 1 + len(names)]]
    assert rows == [{"airplane": "aeroplane", "tv": "tvmonitor"}.get(name, name) for name in names]
    assert ", not evaluated: horse\n" in out


def test_a_model_on_coco_is_judged_by_the_classes_it_knows(
    coco: tuple[Path, Path], root: Path, use_detector: Callable, tmp_path: Path, evaluate: Evaluate
) -> None:
    use_detector(FakeDetector())
    annotations, result = coco[0], tmp_path / "result.json"
    options = ("--dataset", "coco", "--annotations", annotations, "--root", root / "JPEGImages", "--json", result)
    code, out, _ = evaluate(*options)
    assert code == 0
    content = json.loads(result.read_text())
    assert list(content["classes"]) == ["cat", "chair"]
    assert out.endswith(", not evaluated: kite\n")
    code, _, err = evaluate("--dataset", "coco", "--annotations", annotations)
    assert (code, err) == (2, "error: give --root, the folder of the photos, or --detections\n")


@pytest.mark.slow
def test_several_processes_find_what_one_does(root: Path, tmp_path: Path, photos: Path) -> None:
    for name in "abc":
        Image.open(photos / "cat.jpg").resize((100, 80)).save(root / f"JPEGImages/{name}.jpg")
    tool = str(Path(__file__).parents[2] / "tools/evaluate.py")
    options = ["--root", str(root), "--split", "val", "--device", "cpu"]
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", tool]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    for start, file in (([sys.executable, tool], one), (launch, two)):
        command = [*start, *options, "--save-detections", str(file)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("mAP ") == 2  # the result is told once: the row of the mean, and the sizes
    assert [e | {"seconds": 0} for e in json.loads(one.read_text())] == [
        e | {"seconds": 0} for e in json.loads(two.read_text())
    ]
    assert sorted(path.name for path in tmp_path.glob("*.json*")) == ["one.json", "two.json"]


@pytest.mark.parametrize(("changed", "code"), [({"precision": "bfloat16"}, 0), ({"fingerprint": "another"}, 2)])
def test_a_stopped_evaluation_goes_on_in_its_number_format_and_with_the_same_content(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, changed: dict[str, str], code: int
) -> None:
    detector = FakeDetector(stop=2, failure=KeyboardInterrupt())

    def load(*arguments: object) -> FakeDetector:
        detector.precision = str(arguments[-1] or detector.precision)
        return detector

    monkeypatch.setattr("detector.inference.assembly.load_pipeline", load)
    assert run("--save-detections", tmp_path / "saved.json")[0] == 130
    vars(detector).update(changed)
    assert run("--save-detections", tmp_path / "saved.json", "--resume")[0] == code


def known_by(names: tuple[str, ...], label: str) -> FakeDetector:
    """A detector that finds one object at the same place in every image."""
    detector = FakeDetector()
    detector.class_names = names  # type: ignore[assignment]
    detector.class_ids = tuple(range(len(names)))
    detector.detect = lambda image, score: Detections(  # type: ignore[method-assign]
        [(0, 0, 50, 40)], [0.9], [names.index(label)], names, (image.width, image.height)
    )
    return detector


@contextmanager
def marked_pipe(path: Path) -> Iterator[str]:
    """A pipe with a small file's content after a byte-order mark."""
    out, into = os.pipe()
    try:
        with open(into, "wb") as file:
            file.write(b"\xef\xbb\xbf" + path.read_bytes())
        yield f"/dev/fd/{out}"
    finally:
        os.close(out)


@pytest.mark.parametrize("names", [("cat", "dog", "unicorn"), ("raccoon", "horse")])
def test_saved_detections_are_judged_as_the_model_was(
    make_voc: Callable[..., Path],
    use_detector: Callable,
    evaluate: Evaluate,
    tmp_path: Path,
    names: tuple[str, ...],
) -> None:
    """Also a model that knows some of VOC's classes, or, as the XML files, others."""
    use_detector(known_by(names, names[0]))
    objects = [(names[0], (1, 1, 50, 40), 0), ("horse", (1, 1, 9, 9), 0)]
    root, saved = make_voc({"a": objects, "b": []}), tmp_path / "saved.json"
    live = evaluate("--root", root, "--split", "val", "--save-detections", saved)
    assert live[0] == 0
    assert json.loads(saved.read_text())[0]["classes"] == list(names)
    again = evaluate("--root", root, "--split", "val", "--detections", saved)
    assert again == live
    with marked_pipe(saved) as pipe:
        assert evaluate("--root", root, "--split", "val", "--detections", pipe) == live
    code, out, _ = evaluate("--root", root, "--split", "val", "--compare", saved, saved)
    assert code == 0
    assert "100.0" in out
    for options in ((), ("--detections", saved)):
        code, out, _ = evaluate("--root", root, "--split", "val", "--skip-bad-labels", *options)
        assert (code, out.splitlines()[:4]) == (0, live[1].splitlines()[:4])

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
from tests.tools.detect_tools import ROOT


class FakeDetector:
    """Finds an object of the first name in every image, of the second if there is one, and stops at an image.

    Args:
        found: names of the objects.
        stop: number of the image at which it raises `failure`.
    """

    fingerprint, precision = "fake", "float32"

    def __init__(
        self,
        class_names: tuple[str, ...] = VOC_CLASSES,
        found: tuple[str, ...] = ("cat", "dog"),
        stop: int = 0,
        failure: BaseException | None = None,
    ):
        self.class_names, self.class_ids = class_names, tuple(range(len(class_names)))
        self.labels = [class_names.index(name) for name in found]
        self.stop, self.failure, self.calls = stop, failure, 0

    def with_settings(self, **settings: object) -> Self:
        return self

    def detect(self, image: Photo, score: float) -> Detections:
        self.calls += 1
        if self.calls == self.stop and self.failure is not None:
            raise self.failure
        boxes, scores = ((0, 0, 50, 40), (0, 0, 20, 20)), (0.9, 0.3)
        count = len(self.labels)
        return Detections(boxes[:count], scores[:count], self.labels, self.class_names, (image.width, image.height))


@pytest.fixture
def use_detector(monkeypatch: pytest.MonkeyPatch) -> Callable[[FakeDetector], list[tuple]]:
    """Puts a detector in place of the one that is loaded; gives the arguments it is loaded with."""

    def use(detector: FakeDetector) -> list[tuple]:
        loaded: list[tuple] = []

        def load(*arguments: object) -> FakeDetector:
            loaded.append(arguments[:2])
            detector.precision = str(arguments[-1] or detector.precision)
            return detector

        monkeypatch.setattr("detector.inference.assembly.load_pipeline", load)
        return loaded

    return use


def test_a_model(evaluate, use_detector: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("my.safetensors").write_bytes(b"")
    loaded = use_detector(FakeDetector())
    options = (
        "--model",
        "my.safetensors",
        "--device",
        "cpu",
        "--json",
        "result.json",
        "--save-detections",
        "saved.json",
    )
    ended = evaluate(*options)
    assert ended.code == 0
    assert loaded == [(Path("my.safetensors"), "cpu")]
    content = json.loads(Path("result.json").read_text())
    assert (content["model"], content["images"], content["metric"]) == ("my.safetensors", 3, "voc07")
    assert content["seconds_per_image"] >= 0
    # The detections that were saved give the same result.
    again = evaluate("--detections", "saved.json", "--json", "again.json")
    assert (again.code, again.out) == (0, ended.out)
    differing = {"model": None, "detections": "saved.json"}
    assert json.loads(Path("again.json").read_text()) == content | differing


def test_the_model_that_is_installed(evaluate, use_detector: Callable, tmp_path: Path):
    loaded = use_detector(FakeDetector())
    assert evaluate("--json", tmp_path / "result.json").code == 0
    assert [(path.suffix, device) for path, device in loaded] == [(".safetensors", "auto")]
    assert json.loads((tmp_path / "result.json").read_text())["model"] == str(loaded[0][0])


def test_limit(evaluate, use_detector: Callable, found: Path):
    detector = FakeDetector()
    use_detector(detector)
    assert "2 images of val" in evaluate("--limit", 2).out
    assert detector.calls == 2
    # The entry of c is beyond the limit, and no mistake.
    code, out, _ = evaluate("--limit", 2, "--detections", found)
    assert code == 0
    assert "2 images of val" in out
    assert out.endswith("1 entries of images that are not in the data set, left out\n")


def test_classes(evaluate, use_detector: Callable, found: Path):
    use_detector(FakeDetector())
    for options in ([], ["--detections", found]):
        code, out, _ = evaluate("--classes", "cat, horse", *options)
        assert code == 0
        assert [line.split()[0] for line in out.splitlines()[:4]] == ["class", "cat", "horse", "mAP"]


@pytest.mark.parametrize("names", [("dog", "cat"), ("airplane", "dog", "tv", "cat")])
def test_a_model_is_evaluated_on_the_classes_that_it_knows(make_voc, use_detector: Callable, command, names):
    root = make_voc({"a": [("cat", (1, 1, 50, 40), 0), ("horse", (1, 1, 9, 9), 0)], "b": []})
    use_detector(FakeDetector(names, ("cat",)))
    code, out, _ = command("evaluate", "--root", root, "--split", "val")
    assert code == 0
    rows = [line.split() for line in out.splitlines()[1 : 1 + len(names)]]
    assert [row[0] for row in rows] == [{"airplane": "aeroplane", "tv": "tvmonitor"}.get(name, name) for name in names]
    assert rows[names.index("cat")][-1] == "100.0"
    assert ", not evaluated: horse\n" in out


def test_a_model_on_coco_is_evaluated_on_the_classes_it_knows(coco, root: Path, use_detector, tmp_path: Path, command):
    use_detector(FakeDetector())
    options = ("evaluate", "--dataset", "coco", "--annotations", coco[0])
    code, out, _ = command(*options, "--root", root / "JPEGImages", "--json", tmp_path / "result.json")
    assert code == 0
    assert list(json.loads((tmp_path / "result.json").read_text())["classes"]) == ["cat", "chair"]
    assert out.endswith(", not evaluated: kite\n")
    assert command(*options)[::2] == (2, "error: give --root, the folder of the photos, or --detections\n")


def test_a_failed_image(evaluate, use_detector: Callable, root: Path, tmp_path: Path):
    use_detector(FakeDetector())
    (root / "JPEGImages/a.jpg").write_bytes(b"no photo")
    code, out, err = evaluate("--json", tmp_path / "result.json")
    assert code == 2
    assert err.splitlines()[0].startswith("a: ")
    assert err.splitlines()[-1].startswith("error: 1 of 3 images failed, first a: ")
    assert "their objects count as not found" in out
    content = json.loads((tmp_path / "result.json").read_text())
    assert list(content["failed"]) == ["a"]
    assert content["AP"]["cat"] == 0


def test_an_interrupted_evaluation_continues(evaluate, use_detector: Callable, tmp_path: Path):
    use_detector(FakeDetector(stop=2, failure=KeyboardInterrupt()))
    result, saved = tmp_path / "result.json", tmp_path / "saved.json"
    code, out, err = evaluate("--json", result, "--save-detections", saved)
    assert (code, out) == (130, "")
    assert err.startswith("interrupted: ")
    assert "--resume" in err
    assert not result.exists()
    assert not saved.exists()
    again = FakeDetector()
    use_detector(again)
    options = ("--json", result, "--save-detections", saved)
    assert "saved.json.part-0: " in evaluate(*options).err
    assert evaluate(*options, "--resume").code == 0
    assert again.calls == 2
    assert len(json.loads(saved.read_text())) == 3
    use_detector(FakeDetector(stop=2, failure=KeyboardInterrupt()))
    assert "--resume" not in evaluate().err, "nothing was saved"


@pytest.mark.parametrize(("changed", "code"), [({"precision": "bfloat16"}, 0), ({"fingerprint": "another"}, 2)])
def test_it_continues_in_its_number_format_and_with_the_same_content(
    evaluate, use_detector: Callable, tmp_path: Path, changed: dict[str, str], code: int
):
    detector = FakeDetector(stop=2, failure=KeyboardInterrupt())
    use_detector(detector)
    assert evaluate("--save-detections", tmp_path / "saved.json").code == 130
    vars(detector).update(changed)
    assert evaluate("--save-detections", tmp_path / "saved.json", "--resume").code == code


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
def test_saved_detections_are_evaluated_as_the_model_was(make_voc, use_detector: Callable, command, tmp_path, names):
    """Also a model that knows some of VOC's classes, or, as the XML files, others."""
    use_detector(FakeDetector(names, names[:1]))
    objects = [(names[0], (1, 1, 50, 40), 0), ("horse", (1, 1, 9, 9), 0)]
    saved = tmp_path / "saved.json"
    options = ("evaluate", "--root", make_voc({"a": objects, "b": []}), "--split", "val")
    live = command(*options, "--save-detections", saved)
    assert live.code == 0
    assert json.loads(saved.read_text())[0]["classes"] == list(names)
    assert command(*options, "--detections", saved) == live
    with marked_pipe(saved) as pipe:
        assert command(*options, "--detections", pipe) == live
    compared = command(*options, "--compare", saved, saved)
    assert (compared.code, "100.0" in compared.out) == (0, True)
    for more in ((), ("--detections", saved)):
        code, out, _ = command(*options, "--skip-bad-labels", *more)
        assert (code, out.splitlines()[:4]) == (0, live.out.splitlines()[:4])


@pytest.fixture
def cats(root: Path, photos: Path) -> None:
    """Photos of a cat in place of the data set's."""
    for name in "abc":
        Image.open(photos / "cat.jpg").resize((100, 80)).save(root / f"JPEGImages/{name}.jpg")


def test_the_report_tells_what_became_of_the_objects(evaluate, found: Path, cats: None, tmp_path: Path):
    """A model of ours tells more: the traces are in the file that it saves, and a report from that has them too."""
    page = tmp_path / "why.html"
    code, out, _ = evaluate("--detections", found, "--report", page)
    assert (code, out.endswith(f" -> {page}\n")) == (0, True)
    assert "val" in page.read_text(encoding="utf-8")
    saved, traced = tmp_path / "saved.json", tmp_path / "traced.html"
    assert evaluate("--report", traced, "--save-detections", saved, "--device", "cpu").code == 0
    entries = json.loads(saved.read_text())
    assert [len(entry["objects"]["sources"]) for entry in entries] == [1, 0, 1]
    sources = {name for entry in entries for name in entry["objects"]["sources"]}
    assert sources
    assert sources <= {"multibox", "selective_search"}
    assert evaluate("--report", page, "--detections", saved).code == 0
    for html in (page, traced):
        assert all(source in html.read_text(encoding="utf-8") for source in sources)


@pytest.mark.slow
def test_several_processes_find_what_one_does(root: Path, cats: None, tmp_path: Path):
    options = [ROOT / "tools/evaluate.py", "--root", root, "--split", "val", "--device", "cpu", "--save-detections"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    results = []
    for launch, file in (
        ([], "one.json"),
        (["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"], "two.json"),
    ):
        command = [sys.executable, *launch, *options, tmp_path / file]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("mAP ") == 2  # the result is told once: the row of the mean, and the sizes
        results.append([entry | {"seconds": 0} for entry in json.loads((tmp_path / file).read_text())])
    assert results[0] == results[1]
    assert sorted(path.name for path in tmp_path.glob("*.json*")) == ["one.json", "two.json"]

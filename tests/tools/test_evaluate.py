"""The command `detector evaluate`."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from detector.cli import main
from detector.data import VOC_CLASSES
from detector.detections import Detections
from detector.images import Image

Run = Callable[..., tuple[int, str, str]]


class FakeDetector:
    """Finds a cat and a dog in every image; stops at the image of the number `stop` with `failure`."""

    class_names = VOC_CLASSES

    def __init__(self, stop: int = 0, failure: BaseException | None = None) -> None:
        self.stop, self.failure, self.calls = stop, failure, 0

    def detect(self, image: Image, score: float) -> Detections:
        self.calls += 1
        if self.calls == self.stop and self.failure is not None:
            raise self.failure
        labels = (VOC_CLASSES.index("cat"), VOC_CLASSES.index("dog"))
        boxes = ((0, 0, 50, 40), (0, 0, 20, 20))
        return Detections(boxes, (0.9, 0.3), labels, self.class_names, (image.width, image.height))


@pytest.fixture
def root(make_voc: Callable[..., Path]) -> Path:
    return make_voc({"a": [("cat", (1, 1, 50, 40), 0)], "b": [], "c": [("dog", (1, 1, 20, 20), 0)]})


@pytest.fixture
def run(root: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `detector evaluate` on the data set; gives exit code, output and errors."""

    def run(*options: object, split: str = "val") -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(["evaluate", "--root", str(root), "--split", split, *map(str, options)])
        captured = capsys.readouterr()
        code = caught.value.code
        assert isinstance(code, int)
        return code, captured.out, captured.err

    return run


@pytest.fixture
def use_detector(monkeypatch: pytest.MonkeyPatch) -> Callable[[FakeDetector], list[tuple]]:
    """Puts a detector in place of the one that is loaded; gives the arguments it is loaded with."""

    def use(detector: FakeDetector) -> list[tuple]:
        loaded: list[tuple] = []
        monkeypatch.setattr(
            "detector.pipeline.load_detector",
            lambda model, device, config, source: loaded.append((model, device)) or detector,
        )
        return loaded

    return use


@pytest.fixture
def found(tmp_path: Path) -> Path:
    """Detections as `detect --json` writes them: the cat is found, and on c something that is no dog."""

    def entry(image: str, seconds: float, *detections: tuple[str, float, list[int]]) -> dict:
        items = [
            {"label": label, "category_id": VOC_CLASSES.index(label) + 1, "score": score, "box": box}
            for label, score, box in detections
        ]
        return {"image": image, "width": 100, "height": 80, "seconds": seconds, "detections": items}

    entries = [
        entry("photos/c.jpg", 0.25, ("dog", 0.5, [50, 50, 60, 60]), ("dog", 0.25, [0, 0, 20, 20])),
        entry("photos/a.jpg", 0.5, ("cat", 0.75, [0, 0, 50, 40])),
        entry("photos/b.jpg", 0.75),
    ]
    path = tmp_path / "found.json"
    path.write_text(json.dumps(entries))
    return path


def test_stored_detections(run: Run, found: Path, tmp_path: Path) -> None:
    result = tmp_path / "new" / "result.json"
    code, out, err = run("--detections", found, "--metric", "voc10", "--json", result)
    assert (code, err) == (0, "")
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line}
    assert rows["cat"] == ["1", "1", "100.0"]
    assert rows["dog"] == ["1", "2", "50.0"]
    assert rows["mAP"] == ["2", "3", "75.0"]
    content = json.loads(result.read_text())
    assert content["AP"].pop("cat") == 1
    assert content["AP"].pop("dog") == 0.5
    assert set(content["AP"].values()) == {None}
    assert list(content["objects"]) == list(VOC_CLASSES)
    del content["AP"], content["objects"]
    assert content == {
        "dataset": "voc",
        "model": None,
        "proposals": None,
        "config": None,
        "detections": str(found),
        "split": "val",
        "images": 3,
        "metric": "voc10",
        "iou_threshold": 0.5,
        "mAP": 0.75,
        "score_threshold": 0.5,
        "precision": 0.5,
        "recall": 0.5,
        "seconds_per_image": 0.5,
        "failed": {},
    }


def test_voc07_is_the_default(run: Run, found: Path) -> None:
    assert "metric voc07 at IoU 0.5; 3 images of val" in run("--detections", found)[1]


def test_a_model(run: Run, use_detector: Callable, tmp_path: Path) -> None:
    loaded = use_detector(FakeDetector())
    result, saved = tmp_path / "result.json", tmp_path / "saved.json"
    code, out, _ = run(
        "--model", "my.safetensors", "--device", "cpu", "--json", result, "--save-detections", saved
    )
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


def test_classes(run: Run, use_detector: Callable, found: Path) -> None:
    use_detector(FakeDetector())
    for options in ([], ["--detections", found]):
        code, out, _ = run("--classes", "cat, horse", *options)
        assert code == 0
        assert [line.split()[0] for line in out.splitlines()[:4]] == ["class", "cat", "horse", "mAP"]
    assert run("--classes", " , ")[::2] == (
        2,
        "error: --classes names no class; give names with commas between them\n",
    )


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
    assert "1 images failed; their objects count as not found" in out
    content = json.loads((tmp_path / "result.json").read_text())
    assert list(content["failed"]) == ["a"]
    assert content["AP"]["cat"] == 0


def test_an_image_without_an_entry(run: Run, found: Path) -> None:
    found.write_text(json.dumps(json.loads(found.read_text())[1:]))
    code, out, err = run("--detections", found)
    assert code == 2
    assert err == f"error: 1 of 3 images failed, first c: {found} has no entry for it\n"
    assert "mAP" in out


def test_an_interruption(run: Run, use_detector: Callable, tmp_path: Path) -> None:
    use_detector(FakeDetector(stop=2, failure=KeyboardInterrupt()))
    result, saved = tmp_path / "result.json", tmp_path / "saved.json"
    code, out, err = run("--json", result, "--save-detections", saved)
    assert (code, out, err) == (130, "", "interrupted: the evaluation is not complete\n")
    assert not result.exists()
    assert not saved.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--detections", "none.json"], "none.json: cannot be read: No such file or directory"),
        (["--detections", "x", "--model", "y"], "--detections runs no model"),
        (["--detections", "x", "--save-detections", "y"], "--detections runs no model"),
        (["--model", "x", "--model", "y"], "--model is one for --dataset voc; --config averages several"),
        (["--crops", "10"], "--crops means nothing with --dataset voc; leave it out"),
        (["--ablation", "--metric", "voc10"], "--metric means nothing with --ablation; leave it out"),
        (["--json", "."], "--json .: is a folder; give the name of a file"),
        (["--json", "/dev/null/x.json"], "--json /dev/null/x.json: /dev/null is not a folder"),
        (["--save-detections", "/dev/null/x.json"], "--save-detections /dev/null/x.json: /dev/null is not a folder"),
    ],
)
def test_wrong_options(run: Run, options: list[str], message: str) -> None:
    code, out, err = run(*options)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1


@pytest.mark.parametrize("options", [["--metric", "coco"], ["--limit", "0"], ["--dataset", "coco"]])
def test_options_out_of_range(run: Run, options: list[str]) -> None:
    code, _, err = run(*options)
    assert code == 2
    assert f"Invalid value for '{options[0]}'" in err


def test_a_missing_split(run: Run, root: Path) -> None:
    path = root / "ImageSets/Main/test.txt"
    assert run(split="test") == (2, "", f"error: {path}: no such split; there are: val\n")


def test_stored_detections_need_no_torch(root: Path, found: Path) -> None:
    program = (
        "import sys; from detector.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print('torch' in sys.modules)\n"
    )
    arguments = ["evaluate", "--root", root, "--split", "val", "--detections", found]
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "False"
    assert "mAP" in done.stdout

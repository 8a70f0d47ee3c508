"""The command `detect`, from its arguments to its files and exit code; its detector answers by rule."""

import json
import os
import re
import subprocess
import sys
import types
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from detector.cli import main
from detector.config import PostprocessConfig
from detector.detections import Detections
from detector.errors import InputError
from detector.images import Image

CLASSES = ("bird", "cat", "dog")
ROOT = Path(__file__).parents[2]


class RuleDetector:
    """Sees a cat in the left third of each photo and, if that is wider than 100 pixels, a dog in the rest."""

    class_names = CLASSES

    def __init__(self) -> None:
        self.postprocess = PostprocessConfig()
        self.seen: list[str] = []
        self.before: Callable[[Image], None] = lambda image: None

    def detect(self, image: Image, score: float) -> Detections:
        self.before(image)
        self.seen.append(image.name)
        width, height = image.width, image.height
        boxes = [[0, 0, width / 3, height], [width / 3, 0, width, height]][: 1 + (width > 100)]
        scores, labels = [0.87654321, 0.5][: len(boxes)], [1, 2][: len(boxes)]
        return Detections(boxes, scores, labels, CLASSES, (width, height)).filter(score=score)


@pytest.fixture(autouse=True)
def processes_use_this_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch) -> RuleDetector:
    """What the command loads in place of a model; `detector.pipeline` and torch stay out of it."""
    rule = RuleDetector()
    module = types.ModuleType("detector.pipeline")

    def load_detector(
        model: Path | None, device: str, config: Path | None, source: str | None, engine: str
    ) -> RuleDetector:
        rule.loaded = (model, device, source)
        return rule

    module.load_detector = load_detector
    monkeypatch.setitem(sys.modules, "detector.pipeline", module)
    return rule


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a/x.jpg (150x60), b/x.jpg (60x40) and b/y.png (60x40, lossless)."""
    monkeypatch.chdir(tmp_path)
    for name, size in (("a/x.jpg", (150, 60)), ("b/x.jpg", (60, 40)), ("b/y.png", (60, 40))):
        write_photo(tmp_path / name, size)
    return tmp_path


def write_photo(path: Path, size: tuple[int, int] = (60, 40)) -> None:
    path.parent.mkdir(exist_ok=True)
    PillowImage.new("RGB", size, (40, 90, 160)).save(path)


def clip(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5, (64, 48))
    for _ in range(4):
        writer.write(np.full((48, 64, 3), 90, np.uint8))
    writer.release()


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["detect", *arguments])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_lines_pictures_and_exit_code(detector, folder, capsys):
    assert run("a/x.jpg", "b/y.png") == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    lines = re.sub(r"\d+\.\d\d s", "TIME", captured.out).splitlines()
    assert lines == [
        "a/x.jpg: cat 0.88 at (0.0, 0.0, 50.0, 60.0)",
        "a/x.jpg: dog 0.50 at (50.0, 0.0, 150.0, 60.0)",
        "a/x.jpg: 2 objects in 150x60 pixels, TIME -> runs/detect/x.jpg",
        "b/y.png: cat 0.88 at (0.0, 0.0, 20.0, 40.0)",
        "b/y.png: 1 object in 60x40 pixels, TIME -> runs/detect/y.png",
    ]
    assert detector.loaded == (None, "auto", None)
    assert files(folder / "runs") == ["detect/x.jpg", "detect/y.png"]
    with PillowImage.open("runs/detect/y.png") as picture:
        found = detector.detect(Image(np.full((40, 60, 3), (40, 90, 160), np.uint8), "same"), 0.5)
        expected = found.draw(Image(np.full((40, 60, 3), (40, 90, 160), np.uint8), "same"))
        np.testing.assert_array_equal(np.asarray(picture), expected)
    with PillowImage.open("runs/detect/x.jpg") as picture:
        assert (picture.format, picture.size) == ("JPEG", (150, 60))


def test_json(detector, folder):
    assert run("b", "a/x.jpg", "--json", "results/found.json", "--out", "drawn") == 0
    results = json.loads(Path("results/found.json").read_text())
    assert [entry["image"] for entry in results] == ["b/x.jpg", "b/y.png", "a/x.jpg"]
    assert all(entry.pop("seconds") >= 0 for entry in results)
    assert results[0] == {
        "image": "b/x.jpg",
        "width": 60,
        "height": 40,
        "detections": [{"label": "cat", "category_id": 2, "score": 0.876543, "box": [0.0, 0.0, 20.0, 40.0]}],
    }
    assert [item["label"] for item in results[2]["detections"]] == ["cat", "dog"]
    assert files(folder / "results") == ["found.json"]
    assert files(folder / "drawn") == ["x-2.jpg", "x.jpg", "y.png"]


def test_boxes_in_json_are_rounded_to_hundredths(detector, folder):
    write_photo(folder / "wide.png", (100, 31))
    assert run("wide.png", "--json", "found.json") == 0
    (entry,) = json.loads(Path("found.json").read_text())
    assert entry["detections"][0]["box"] == [0.0, 0.0, 33.33, 31.0]


def test_boxes_are_in_pixels_of_the_upright_photo(detector, folder):
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    PillowImage.new("RGB", (120, 60)).save("turned.jpg", exif=exif)
    assert run("turned.jpg", "--json", "found.json") == 0
    (entry,) = json.loads(Path("found.json").read_text())
    assert (entry["width"], entry["height"]) == (60, 120)
    with PillowImage.open("runs/detect/turned.jpg") as picture:
        assert picture.size == (60, 120)
        assert not picture.getexif()


def test_score_classes_model_and_device_are_passed_on(detector, folder, capsys):
    Path("my.safetensors").write_bytes(b"")
    options = ("--score", "0.6", "--model", "my.safetensors", "--device", "cpu", "--proposals", "both")
    assert run("a/x.jpg", *options) == 0
    assert "cat" in (out := capsys.readouterr().out)
    assert "dog" not in out
    assert detector.loaded == (Path("my.safetensors"), "cpu", "both")
    assert run("a/x.jpg", "--classes", "dog, bird") == 0
    assert "dog" in (out := capsys.readouterr().out)
    assert "cat" not in out
    assert "1 object in" in out


def test_scores_of_classes_and_the_best_objects(detector, folder, capsys):
    assert run("a/x.jpg", "--score", "0.6", "--score", "dog=0.4") == 0
    assert "2 objects" in capsys.readouterr().out
    assert run("a/x.jpg", "--score", "cat=0.9") == 0
    assert "dog 0.50" in (out := capsys.readouterr().out)
    assert "1 object " in out
    assert run("a/x.jpg", "--max-detections", "1") == 0
    assert "1 object " in capsys.readouterr().out
    assert detector.postprocess.max_detections == 100
    assert run("a/x.jpg", "--max-detections", "300") == 0
    assert detector.postprocess.max_detections == 300, "more than the model gives by itself"


def test_all_kinds_of_sources_and_results(detector, folder, capsys):
    clip(folder / "a" / "deep" / "clip.avi")
    with zipfile.ZipFile("photos.zip", "w") as archive:
        archive.write("b/y.png", "z.png")
    Path("list.txt").write_text("b/y.png\ngone.jpg\n")
    options = ["--recursive", "--frame-step", "2", "--json", "r/f.json", "--jsonl", "r/f.jsonl", "--csv", "r/f.csv"]
    options += ["--coco", "r/coco.json", "--yolo", "r/yolo", "--voc", "r/voc", "--crops", "r/crops"]
    assert run("a", "photos.zip", "list.txt", *options) == 2
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [
        "error: list.txt, line 2: gone.jpg: no such file or folder; check the path",
        "1 of 5 sources failed",
    ]
    assert "a/deep/clip.avi: 2 objects (cat 2) in 2 frames, " in captured.out
    images = ["a/deep/clip.avi#0", "a/deep/clip.avi#2", "a/x.jpg", "photos.zip/z.png", "b/y.png"]
    assert [entry["image"] for entry in json.loads(Path("r/f.json").read_text())] == images
    assert files(folder / "runs") == ["detect/clip.mp4", "detect/x.jpg", "detect/y.png", "detect/z.png"]
    assert len(files(folder / "r" / "yolo")) == len(files(folder / "r" / "voc")) == 5
    assert files(folder / "r" / "crops")[-1] == "dog/x-2.jpg"


def test_only_results_and_no_pictures(detector, folder, capsys):
    assert run("a/x.jpg", "--no-draw", "--csv", "f.csv") == 0
    assert files(folder / "runs") == []
    assert "->" not in capsys.readouterr().out


def test_an_interrupted_run_goes_on(detector, folder, capsys):
    def interrupt(image: Image) -> None:
        if image.name == "b/y.png":
            raise KeyboardInterrupt

    detector.before = interrupt
    assert run("a/x.jpg", "b", "--csv", "f.csv") == 130
    detector.before = lambda image: None
    detector.seen.clear()
    assert run("a/x.jpg", "b", "--csv", "f.csv", "--resume") == 0
    assert detector.seen == ["b/y.png"]
    assert "2 of 3 are done already" in capsys.readouterr().out
    assert [row.split(",")[0] for row in Path("f.csv").read_text().splitlines()[1:]] == ["a/x.jpg"] * 2 + [
        "b/x.jpg",
        "b/y.png",
    ]
    assert files(folder / "runs") == ["detect/x-2.jpg", "detect/x.jpg", "detect/y.png"]


def test_photos_of_the_same_name(detector, folder):
    """Each gets a picture of its own. The same run makes the same names again, and a failure changes none."""
    write_photo(folder / "c" / "X.JPG")
    write_photo(folder / "d" / "x-2.jpg")
    (folder / "e").mkdir()
    PillowImage.new("RGB", (60, 40)).save("e/x.webp")
    arguments = ("a/x.jpg", "b/x.jpg", "c/X.JPG", "d/x-2.jpg", "e")
    names = ["X-3.jpg", "x-2-2.jpg", "x-2.jpg", "x-4.jpg", "x.jpg"]
    for _ in range(2):
        assert run(*arguments, "--overwrite") == 0
        assert files(folder / "runs" / "detect") == names
    for path in (folder / "runs" / "detect").iterdir():
        path.unlink()
    (folder / "a" / "x.jpg").write_bytes(b"broken")
    assert run(*arguments, "--overwrite") == 2
    assert files(folder / "runs" / "detect") == names[:-1]


def test_nothing_is_replaced_without_being_asked(detector, folder, capsys):
    assert run("b/y.png", "--out", "drawn", "--json", "found.json") == 0
    before = Path("drawn/y.png").read_bytes()
    Path("drawn/y.png").write_bytes(b"old")
    for arguments, message in (
        (("--out", "drawn"), "drawn/y.png: is there already; --overwrite replaces it"),
        (("--json", "found.json"), "--json found.json: is there already; --overwrite replaces it"),
    ):
        assert run("b/y.png", "--quiet", *arguments) == 2
        assert capsys.readouterr().err.startswith(f"error: {message}")
    assert Path("drawn/y.png").read_bytes() == b"old"
    assert run("b/y.png", "--out", "drawn", "--json", "found.json", "--overwrite") == 0
    assert Path("drawn/y.png").read_bytes() == before
    assert files(folder / "drawn") == ["y.png"]


def test_the_folder_that_is_not_named_is_a_new_one(detector, folder):
    for _ in range(3):
        assert run("b/y.png") == 0
    assert files(folder / "runs") == ["detect-2/y.png", "detect-3/y.png", "detect/y.png"]
    assert run("b/x.jpg", "--overwrite") == 0
    assert files(folder / "runs" / "detect") == ["x.jpg", "y.png"]


def test_failures_do_not_stop_the_others(detector, folder, capsys):
    Path("cut.jpg").write_bytes(Path("a/x.jpg").read_bytes()[:400])
    Path("notes.jpg").write_text("not a photo")
    Path("nothing").mkdir()
    arguments = ("a/x.jpg", "cut.jpg", "missing.jpg", "notes.jpg", "nothing", "b/x.jpg")
    assert run(*arguments, "--json", "found.json") == 2
    captured = capsys.readouterr()
    errors = captured.err.splitlines()
    assert len(errors) == 5
    assert errors[0].startswith("error: missing.jpg: no such file")
    assert errors[1].startswith("error: nothing: the folder has no photos")
    assert errors[2].startswith("error: cut.jpg: damaged or cut short")
    assert errors[3].startswith("error: notes.jpg: not a photo")
    assert errors[4] == "4 of 6 sources failed"
    assert detector.seen == ["a/x.jpg", "b/x.jpg"]
    assert [entry["image"] for entry in json.loads(Path("found.json").read_text())] == ["a/x.jpg", "b/x.jpg"]
    assert files(folder / "runs") == ["detect/x-2.jpg", "detect/x.jpg"]


def test_a_detector_that_fails_on_one_photo(detector, folder, capsys):
    def fail(image: Image) -> None:
        if image.name == "b/x.jpg":
            raise RuntimeError("CUDA out of memory.\nTried to allocate 20 GiB")
        if image.name == "b/y.png":
            raise MemoryError

    detector.before = fail
    assert run("b", "a/x.jpg") == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: b/x.jpg: detection failed (CUDA out of memory. Tried to allocate 20 GiB)",
        "error: b/y.png: detection failed (not enough memory)",
        "2 of 3 sources failed",
    ]
    assert detector.seen == ["a/x.jpg"]


def test_without_any_photo_no_model_is_loaded_and_no_folder_made(detector, folder, capsys):
    assert run("missing.jpg", "--json", "found.json") == 2
    assert capsys.readouterr().err == "error: missing.jpg: no such file or folder; check the path\n"
    assert not hasattr(detector, "loaded")
    assert not Path("runs").exists()
    assert json.loads(Path("found.json").read_text()) == []


def test_quiet_prints_errors_only(detector, folder, capsys):
    assert run("a/x.jpg", "--quiet") == 0
    assert capsys.readouterr() == ("", "")
    assert run("a/x.jpg", "missing.jpg", "--quiet") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 2
    assert files(folder / "runs") == ["detect-2/x.jpg", "detect/x.jpg"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--score", "1.01"), "error: --score 1.01: is outside 0 to 1"),
        (("--score", "-0.1"), "error: --score -0.1: is outside 0 to 1"),
        (("--score", "nan"), "error: --score nan: is outside 0 to 1"),
        (("--device", "abacus"), "error: --device abacus: is not known; give auto, cpu or cuda"),
        (("--classes", "cat,lion"), "error: class 'lion' is unknown; the classes are: aeroplane, bicycle, "),
        (
            ("--classes", "kat"),
            "error: class 'kat' is unknown; do you mean 'cat'? The classes are: aeroplane, bicycle, ",
        ),
        (("--score", "dgo=0.3"), "error: class 'dgo' is unknown; do you mean 'dog'? "),
        (("--model", "nope"), "error: nope: no such model file; give a path, or an installed model: voc07"),
        (("--config", "nope.yaml"), "error: nope.yaml: no such file; configurations are in configs/"),
        (("--classes", " ,"), "error: --classes names no class; give names with commas between them"),
        (("--json", "a"), "error: --json a: is a folder; give the name of a file"),
        (
            ("--json", "b/x.jpg"),
            "error: --json b/x.jpg: is the name of a photo; give another ending",
        ),
        (("--json", "a/x.jpg/f.json"), "error: --json a/x.jpg/f.json: a/x.jpg is not a folder; give"),
        (("--out", "b/y.png"), "error: --out b/y.png: b/y.png is not a folder; give another place"),
        (("--out", "b/y.png/z"), "error: --out b/y.png/z: b/y.png/z is not a folder; give another place"),
        (("--out", "a"), "error: --out a: holds the photo a/x.jpg itself; give another folder"),
        (("--out", "b/../a"), "error: --out b/../a: holds the photo a/x.jpg itself; give another folder"),
    ],
)
def test_wrong_options_are_one_line_before_any_work(arguments, message, detector, folder, capsys):
    before = files(folder)
    assert run("a/x.jpg", *arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(message)
    assert len(captured.err.splitlines()) == 1
    assert detector.seen == []
    assert files(folder) == before


@pytest.mark.parametrize("arguments", [("--json", "out/found.json"), ("--out", "out")])
def test_a_place_without_permission_is_found_before_any_work(arguments, detector, folder, capsys, monkeypatch):
    def denied(**options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", denied)  # chmod would not stop root
    assert run("a/x.jpg", *arguments) == 2
    assert capsys.readouterr().err.startswith(
        f"error: {' '.join(arguments)}: cannot be written (Permission denied); give another place"
    )
    assert not hasattr(detector, "loaded")


def test_a_model_that_cannot_be_loaded(detector, folder, capsys, monkeypatch):
    """Its one line is shown, and results of an earlier run stay."""

    def load_detector(model: Path, device: str, config: Path | None, source: str | None, engine: str) -> None:
        raise InputError(f"{model}: no such file")

    monkeypatch.setattr(sys.modules["detector.pipeline"], "load_detector", load_detector)
    Path("found.json").write_text("earlier")
    Path("none.safetensors").write_bytes(b"")
    assert run("a/x.jpg", "--model", "none.safetensors", "--json", "found.json", "--overwrite") == 2
    assert capsys.readouterr().err == "error: none.safetensors: no such file\n"
    assert Path("found.json").read_text() == "earlier"


def test_a_picture_that_cannot_be_written(detector, folder, capsys):
    """The disk refuses one picture: that photo counts as failed, its detections are kept."""
    Path("runs/detect/x.jpg").mkdir(parents=True)
    assert run("a/x.jpg", "b/y.png", "--json", "found.json", "--overwrite") == 2
    assert "error: runs/detect/x.jpg: cannot be written (Is a directory)" in capsys.readouterr().err
    assert len(json.loads(Path("found.json").read_text())) == 2
    assert files(folder / "runs") == ["detect/y.png"]


def test_interrupted(detector, folder, capsys):
    def interrupt(image: Image) -> None:
        if image.name == "b/x.jpg":
            raise KeyboardInterrupt

    detector.before = interrupt
    assert run("a/x.jpg", "b", "--json", "found.json") == 130
    assert "interrupted: 1 of 3 sources are done, their results kept; --resume goes on" in capsys.readouterr().err
    assert [entry["image"] for entry in json.loads(Path("found.json").read_text())] == ["a/x.jpg"]
    assert files(folder / "runs") == ["detect/unfinished.jsonl", "detect/x.jpg"]


def test_interrupted_while_a_picture_is_written(detector, folder, monkeypatch):
    """Neither a part of the picture nor its temporary file stays."""

    def interrupted_save(picture: PillowImage.Image, path: Path, *args: object, **options: object) -> None:
        Path(path).write_bytes(b"half a picture")
        raise KeyboardInterrupt

    monkeypatch.setattr(PillowImage.Image, "save", interrupted_save)
    assert run("a/x.jpg", "--json", "found.json") == 130
    assert files(folder / "runs") == ["detect/unfinished.jsonl"]
    assert len(json.loads(Path("found.json").read_text())) == 1


def test_a_bug_is_not_hidden_but_the_results_are_kept(detector, folder):
    def crash(image: Image) -> None:
        if image.name == "b/x.jpg":
            raise TypeError("a bug")

    detector.before = crash
    with pytest.raises(TypeError, match="a bug"):
        main(["detect", "a/x.jpg", "b/x.jpg", "--json", "found.json"])
    assert len(json.loads(Path("found.json").read_text())) == 1


def test_progress_is_shown_on_a_terminal_for_several_photos(detector, folder, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert run("a/x.jpg", "b") == 0
    captured = capsys.readouterr()
    assert "/3 " in captured.err
    assert len(captured.out.splitlines()) == 7, "the bar does not disturb the results"
    assert run("a/x.jpg") == 0
    assert run("a/x.jpg", "b", "--quiet") == 0
    assert capsys.readouterr().err == ""
    clip(folder / "clip.avi")
    assert run("clip.avi") == 0
    assert "/4 " in capsys.readouterr().err, "of one video, its frames"


# What follows runs in a process of its own, as a user would start it.

PROGRAM = """
import signal, sys, types
signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent in the background may have it ignored
sys.path[:0] = {path!r}
import test_detect
rule = test_detect.RuleDetector()
def interrupt(image):
    if image.name == {interrupt_at!r}:
        signal.raise_signal(signal.SIGINT)
rule.before = interrupt
module = types.ModuleType("detector.pipeline")
module.load_detector = lambda model, device, config, source, engine: rule
sys.modules["detector.pipeline"] = module
from detector.cli import main
from detector.config import PostprocessConfig
main()
"""


def program(*arguments: str, interrupt_at: str = "") -> list[str]:
    code = PROGRAM.format(path=[str(Path(__file__).parent)], interrupt_at=interrupt_at)
    return [sys.executable, "-c", code, "detect", *arguments]


def test_standard_input(folder):
    with open("a/x.jpg", "rb") as photo:
        done = subprocess.run(program("-", "--json", "found.json"), stdin=photo, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "-: 2 objects in 150x60 pixels" in done.stdout
    assert json.loads(Path("found.json").read_text())[0]["image"] == "-"
    assert files(folder / "runs") == ["detect/stdin.jpg"]


def test_an_interrupt_signal(folder):
    done = subprocess.run(
        program("a/x.jpg", "b", "--json", "found.json", interrupt_at="b/x.jpg"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 130
    assert done.stderr == "interrupted: 1 of 3 sources are done, their results kept; --resume goes on\n"
    assert len(json.loads(Path("found.json").read_text())) == 1


@pytest.mark.parametrize("both", [False, True], ids=["stdout", "stdout and stderr"])
def test_a_broken_pipe_is_harmless(folder, both):
    """The reader of the lines has gone: all the files are made, and nobody complains."""
    reader, writer = os.pipe()
    os.close(reader)
    errors = writer if both else subprocess.PIPE
    done = subprocess.run(
        program("a/x.jpg", "b", "missing.jpg", "--json", "found.json"),
        stdout=writer,
        stderr=errors,
        text=True,
    )
    os.close(writer)
    assert done.returncode == 2
    if not both:
        assert done.stderr.splitlines()[1:] == ["1 of 4 sources failed"]
    assert len(json.loads(Path("found.json").read_text())) == 3
    assert len(files(folder / "runs")) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_are_no_valid_text(folder):
    name = os.fsdecode(b"caf\xe9.jpg")
    write_photo(Path(name))
    done = subprocess.run(program(".", "--json", "found.json"), capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(Path("found.json").read_text())[0]["image"] == name
    assert files(folder / "runs") == [f"detect/{name}"]


@pytest.fixture(params=["installed command", "tools/detect.py"])
def command(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    if request.param == "tools/detect.py":
        yield [sys.executable, str(ROOT / "tools" / "detect.py")]
    else:
        yield [sys.executable, "-c", "from detector.cli import main; main()", "detect"]


def test_help_names_defaults_and_an_example_and_does_not_load_torch(command, tmp_path):
    """Both ways to call it give the same text; the modules are those of Python's own list of imports."""
    command = [command[0], "-X", "importtime", *command[1:], "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0
    for words in ("SOURCE", "--score", "0.5", "runs/detect", "--classes", "--device", "auto", "Example"):
        assert words in done.stdout
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert "detector.cli.options" in imported  # by detector.cli.detect
    assert not imported & {"torch", "torchvision", "detector.evaluation"}  # nor what other commands need


def test_the_tool_is_the_command(command, folder):
    done = subprocess.run([*command, "missing.jpg"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "error: missing.jpg: no such file or folder; check the path\n"

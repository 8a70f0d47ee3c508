"""The scripts of the guides run as they stand there; those of detector/GUIDE.md are short, and pass mypy."""

import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from detector.runner.video import VideoWriter
from tests.detector.test_typing import strict
from tests.hub import hub

__all__ = ["hub"]

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "detector/GUIDE.md"
SCRIPTS = dict(
    re.findall(r"^## ([^\n]+)\n[^#]*?```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
)
PRINTS = {
    "A result in Python": r"^cat 0\.\d+ \(.*\ncat <Detections: cat 0\.\d+ in .*> 1\n\(1, 4\) \(1,\) \[7\]\n\{\"image",
    "A folder into a table": r"cat +2\.0",
    "A camera": r"^$",
    "Thresholds of a call": r"^cat 0\.\d+ \(.*\n<Detections: cat 0\.\d+ in 451x300 pixels> 1\n$",
    "The size of the network's input": r"^320 <Detections: cat .*\n480 <Detections: cat .*\n640 <Detections: cat",
    "The device and the number format": r"float32> <Detections: cat",
    "Large photos in tiles": r"^<Detections: cat 0\.\d+ in 900x600 pixels>",
    "Objects followed and counted": r"^Counter\(\{'cat': 1\}\) 1 0\n$",
    "The best proposals, with masks": r"^\(100, 4\) \(100, 300, 451\)\n$",
    "Results of another program": r"AP50 .*\n(.*\n)*.*mine",
    "A model on a data set": r"mAP +1 +\d+ +100\.0",
    "Training on photos of your own": r"(?s)^.*mAP .*hits, misses runs/mine/sheet\.jpg.*\('cat',\)\n$",
    "Numbers of each step in MLflow": r"(?s)1: \['box_deltas'.*'lr'.*1: \['images', 'mAP'",
    "A model on the Hugging Face Hub": r"^http://127\.0\.0\.1:\d+/me/mine\n<Detections: cat",
    "Export, save and load again": r"^<Detections: cat",
    "The way of a photo, as a page": r"^why\.html\n$",
}
"""What each script prints."""
NEEDS = {
    "A folder into a table": "pandas",
    "Objects followed and counted": "trackers",
    "Training on photos of your own": "sklearn",
    "Numbers of each step in MLflow": "sklearn",
    "A model on the Hugging Face Hub": "huggingface_hub",
    "Export, save and load again": "onnxscript",
    "The way of a photo, as a page": "fastapi",
}
"""The package of an extra that a script needs."""
SLOW = (
    "Training on photos of your own",
    "Numbers of each step in MLflow",
    "Export, save and load again",
    "The way of a photo, as a page",
)


MLFLOW = """
from contextlib import nullcontext

def start_run() -> nullcontext[None]:
    return nullcontext()

def log_metrics(metrics: dict[str, float], step: int) -> None:
    print(f"{step}: {sorted(metrics)}")
"""
"""A stand-in for MLflow."""


@pytest.fixture
def folder(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the files that the scripts name; the camera shows the clip."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    cat = Image.open(photos / "cat.jpg").convert("RGB")
    cat.save("photos/cat.jpg")
    cat.resize((900, 600)).save("photos/large.jpg")
    small = np.asarray(cat.resize((150, 100)))
    with VideoWriter(tmp_path / "clip.mp4", 10) as writer:
        for x in range(10, 251, 30):  # from left to right, across the middle
            frame = np.full((240, 400, 3), 90, np.uint8)
            frame[70:170, x : x + 150] = small
            writer.write(frame)
    for part in ("images/train", "labels/train"):
        (tmp_path / "labeled" / part).mkdir(parents=True)
    for number in range(4):
        Image.fromarray(np.roll(small, 10 * number, axis=1)).save(f"labeled/images/train/{number}.png")
        Path(f"labeled/labels/train/{number}.txt").write_text("0 0.5 0.5 0.9 0.9\n")
    Path("labeled/data.yaml").write_text("train: images/train\nnames: [cat]\n")
    Path("mlflow.py").write_text(MLFLOW)
    monkeypatch.syspath_prepend(tmp_path)
    box = [6, 3, 415, 296]
    truth = {"id": 1, "image_id": 1, "category_id": 17, "bbox": box, "area": 100_000, "iscrowd": 0}
    content = {
        "images": [{"id": 1, "file_name": "cat.jpg", "width": 451, "height": 300}],
        "categories": [{"id": 17, "name": "cat"}],
        "annotations": [truth],
    }
    Path("instances.json").write_text(json.dumps(content))
    for name, x in (("mine", 6), ("theirs", 60)):
        found = {"image_id": 1, "category_id": 17, "bbox": [x, 3, 300, 290], "score": 0.9}
        Path(f"{name}.json").write_text(json.dumps([found]))
    capture = cv2.VideoCapture
    monkeypatch.setattr(
        cv2, "VideoCapture", lambda source, *rest: capture("clip.mp4" if source == 0 else source, *rest)
    )
    return tmp_path


@pytest.mark.parametrize("title", [pytest.param(t, marks=pytest.mark.slow if t in SLOW else ()) for t in SCRIPTS])
def test_a_script_of_the_guide(
    title: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any, request: pytest.FixtureRequest
):
    if title in NEEDS:
        pytest.importorskip(NEEDS[title])
    if "Hub" in title:
        request.getfixturevalue("hub")
    shown: list[np.ndarray] = []
    monkeypatch.setattr(cv2, "imshow", lambda _, picture: shown.append(picture))
    monkeypatch.setattr(cv2, "waitKey", lambda _: 27 if len(shown) == 2 else -1)
    exec(compile(SCRIPTS[title], title, "exec"), {})
    assert re.search(PRINTS[title], capsys.readouterr().out)
    assert len(shown) == (2 if title == "A camera" else 0)


def test_every_guide_is_in_the_navigation_of_the_site():
    """Without a line there, the build of the site fails, which only a slow test tries."""
    navigation = (ROOT / "tools/website/mkdocs.yml").read_text(encoding="utf-8")
    folders = ("configs", "detector", "proposals", "tests", "tools")
    guides = [*ROOT.glob("*.md"), *ROOT.glob(".github/[A-Z]*.md")]
    guides += [path for folder in folders for path in (ROOT / folder).rglob("README.md")]
    assert [path for path in guides if f": {path.relative_to(ROOT).as_posix()}\n" not in navigation] == []


def test_the_scripts_are_short_and_complete():
    assert SCRIPTS.keys() == PRINTS.keys()
    assert {title: len(script.splitlines()) for title, script in SCRIPTS.items() if len(script.splitlines()) > 12} == {}


@pytest.mark.slow
def test_the_scripts_pass_mypy_strict(tmp_path: Path):
    pytest.importorskip("mypy")
    for number, script in enumerate(SCRIPTS.values()):
        (tmp_path / f"script{number}.py").write_text(script)
    (tmp_path / "mlflow.py").write_text(MLFLOW)
    done = strict(*sorted(tmp_path.glob("script*.py")))
    assert (done.returncode, done.stdout) == (0, f"Success: no issues found in {len(SCRIPTS)} source files\n")


@pytest.mark.parametrize(
    ("guide", "prints"),
    [
        ("README.md", r"^cat 0\.\d+ \(.*\)\n$"),
        ("proposals/README.md", r"^\(100, 4\)\ntests/photos/cat\.jpg \d+ "),
        ("detector/README.md", r"\n\d+ <Detections: cat 0\.\d+ in 451x300 pixels>\n$"),
        ("detector/evaluation/README.md", r"cat .*\n(.*\n)*.*0\.5\d*\n$"),
    ],
)
def test_a_script_of_another_guide(
    guide: str, prints: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    monkeypatch.chdir(tmp_path)
    script = "".join(re.findall(r"```python\n(.*?)```", (ROOT / guide).read_text(encoding="utf-8"), re.DOTALL))
    exec(compile(script, guide, "exec"), {})
    assert re.search(prints, capsys.readouterr().out)

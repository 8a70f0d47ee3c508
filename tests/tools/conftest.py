import json
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from detector.cli import main
from detector.data import VOC_CLASSES
from proposals import warm_up
from tests.tools.detect_tools import Command, Ran, RuleDetector, write_photo


@pytest.fixture(scope="session", autouse=True)
def compiled() -> None:
    """The first command of an installation says that it compiles: here it is not the one that a test looks at."""
    warm_up()


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs `detector ARGUMENTS` in this process, which stays as it is."""
    monkeypatch.setattr("detector.cli.keep_freed_memory", lambda: None)
    monkeypatch.setattr("detector.training.convolutions.keep_prepared_convolutions", lambda: None)

    def run(*arguments: object) -> Ran:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main([*map(str, arguments)])
        return Ran(int(caught.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture
def propose(command: Command) -> Command:
    """`detector propose` with one grouping."""

    def run(*arguments: object, preset: str = "single") -> Ran:
        return command("propose", "--preset", preset, *arguments)

    return run


@pytest.fixture(scope="session")
def drawn() -> Callable[[tuple[int, int]], Image.Image]:
    """Draws two squares side by side, with something in them."""

    def draw(size: tuple[int, int]) -> Image.Image:
        photo = Image.new("RGB", size, (40, 90, 160))
        draw = ImageDraw.Draw(photo)
        for left, color in ((5, (220, 60, 30)), (size[0] // 2, (240, 230, 60))):
            draw.rectangle((left, 6, left + 29, 35), fill=color)
            draw.rectangle((left + 3, 9, left + 24, 30), fill=tuple(value // 2 for value in color))
        return photo

    return draw


# Of `detector evaluate`


@pytest.fixture
def root(make_voc: Callable[..., Path]) -> Path:
    return make_voc({"a": [("cat", (1, 1, 50, 40), 0)], "b": [], "c": [("dog", (1, 1, 20, 20), 0)]})


@pytest.fixture
def evaluate(root: Path, command: Command) -> Command:
    """`detector evaluate` on the data set `root`."""

    def run(*options: object, split: str = "val") -> Ran:
        return command("evaluate", "--root", root, "--split", split, *options)

    return run


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


@pytest.fixture
def coco(tmp_path: Path) -> tuple[Path, Path]:
    """Annotations and detections in COCO's formats: of two cats one is found; kites are a class that VOC lacks."""
    annotations, detections = tmp_path / "instances.json", tmp_path / "results.json"
    objects = [(1, 7, 17, [0, 0, 50, 40]), (2, 0, 17, [0, 0, 20, 20]), (3, 0, 38, [5, 5, 20, 20])]
    content = {
        "images": [{"id": i, "file_name": f"{n}.jpg", "width": 100, "height": 80} for i, n in ((7, "a"), (0, "c"))],
        "categories": [{"id": 38, "name": "kite"}, {"id": 17, "name": "cat"}, {"id": 62, "name": "chair"}],
        "annotations": [
            {"id": i, "image_id": image, "category_id": c, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            for i, image, c, box in objects
        ],
    }
    annotations.write_text(json.dumps(content))
    detections.write_text(json.dumps([
        {"image_id": 7, "category_id": 17, "bbox": [0, 0, 50, 40], "score": 0.9},
        {"image_id": 99, "category_id": 17, "bbox": [0, 0, 50, 40], "score": 0.9},
    ]))  # fmt: skip
    return annotations, detections


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch) -> RuleDetector:
    """What the command loads in place of a model; `detector.inference.assembly` and torch stay out of it."""
    rule = RuleDetector()
    module = types.ModuleType("detector.inference.assembly")

    def load_detector(
        model: Path | None, device: str, config: Path | None, source: str | None, engine: str, precision: str | None
    ) -> RuleDetector:
        rule.loaded = (model, device, source)
        rule.precision = precision or rule.precision
        return rule

    module.load_pipeline = load_detector
    monkeypatch.setitem(sys.modules, "detector.inference.assembly", module)
    return rule


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a/x.jpg (150x60), b/x.jpg (60x40) and b/y.png (60x40, lossless)."""
    monkeypatch.chdir(tmp_path)
    for name, size in (("a/x.jpg", (150, 60)), ("b/x.jpg", (60, 40)), ("b/y.png", (60, 40))):
        write_photo(tmp_path / name, size)
    return tmp_path

import os
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

# On images this small, threads mostly wait for each other. Has to be set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Modules of the extras in pyproject.toml: tests of what is not installed are skipped.
OPTIONAL = (
    "fastapi|starlette|httpx|uvicorn|playwright|matplotlib|mkdocs|onnx|onnxruntime|onnxscript|pandas|pycocotools|ray|"
    "nbclient|nbformat|scipy|skimage|sklearn|supervision|tensorboard|trackers"
)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, Any]:
    """Skips a test module that imports a missing optional package, itself or through what it tests."""
    report = yield
    missing = re.search(rf"No module named '({OPTIONAL})\b", str(report.longrepr)) if report.failed else None
    if missing is not None:
        report.outcome, report.longrepr = "skipped", (str(collector.path), 0, f"Skipped: {missing[1]} is not installed")
    return report


VOCObject = tuple[str, tuple[float, float, float, float], int]


@pytest.fixture(scope="session")
def photos() -> Path:
    """The folder of the two photos that come with the project, cat.jpg and astronaut.jpg."""
    return Path(__file__).parent / "photos"


@pytest.fixture
def make_voc(tmp_path: Path) -> Callable[..., Path]:
    """Makes a data set in VOC's layout, split `val`, from image ids and their objects.

    An object is its class, its xmin, ymin, xmax, ymax (1-based, inclusive) and its flag `difficult`.
    """

    def make(images: Mapping[str, Sequence[VOCObject]], size: tuple[int, int] = (100, 80)) -> Path:
        root = tmp_path / "VOC"
        for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
            (root / folder).mkdir(parents=True)
        (root / "ImageSets/Main/val.txt").write_text("".join(f"{image_id}\n" for image_id in images))
        for image_id, objects in images.items():
            Image.new("RGB", size, "gray").save(root / f"JPEGImages/{image_id}.jpg")
            (root / f"Annotations/{image_id}.xml").write_text(_annotation(objects, size))
        return root

    return make


def _annotation(objects: Sequence[VOCObject], size: tuple[int, int]) -> str:
    items = "".join(
        f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{box[0]}</xmin>"
        f"<ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>"
        for name, box, difficult in objects
    )
    width, height = size
    return f"<annotation><size><width>{width}</width><height>{height}</height></size>{items}</annotation>"

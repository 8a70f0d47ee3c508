"""The package under a user's type checker."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SCRIPT = """
from pathlib import Path

import numpy as np

from detector import Detection, Detections, Image, InputError, load_detector, read_image
from detector.runner.writers import PictureFolder
from detector.runner.results import ResultFiles
from detector.runner.run import RunOutput
from detector.structures.selection import Selection
from detector.runner.sources import find_media
from detector.runner.video import Video


def labels(photo: Path) -> list[str]:
    detector = load_detector(device="cpu")
    image: Image = read_image(photo)
    detections: Detections = detector(image).filter(score={"cat": 0.7}, classes=["cat"])
    several: list[Detections] = detector([photo, image])
    first: Detection = detections[0]
    best: Detections = detections[:5]
    x1: float = first.box[0]
    picture: np.ndarray = detections.draw(image)
    rows: list[str] = [each.label for each in best]
    return rows + [str(several), str(x1), str(picture), str(detections.to_coco(1))]


def sources() -> None:
    for source in find_media(["photos", "clip.mp4"], recursive=True):
        if isinstance(source, InputError):
            continue
        if isinstance(source, Video):
            with source.open() as reader:
                sizes: list[int] = [frame.image.width for frame in reader.frames(step=5)]
                print(sizes)
        else:
            width: int = source.read().width
            print(width)
"""


def strict(*paths: Path) -> subprocess.CompletedProcess[str]:
    """mypy for a user of the installed package; errors inside the package are not reported."""
    settings = paths[0].parent / "mypy.ini"
    # Following these takes most of a minute, and the script does not need them.
    heavy = ",".join(f"{name}.*" for name in ("torch", "matplotlib", "supervision", "pandas", "pydantic", "numba"))
    settings.write_text(f"[mypy]\n[mypy-{heavy}]\nfollow_imports = skip\nignore_missing_imports = true\n")
    return subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--config-file", settings, *paths],
        capture_output=True,
        text=True,
        cwd=settings.parent,
        env={**os.environ, "MYPYPATH": str(ROOT)},
    )


@pytest.mark.slow
def test_a_users_script_is_clean_under_mypy_strict_and_mistakes_are_found(tmp_path):
    pytest.importorskip("mypy")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace("np.ndarray =", "np.ndarray[tuple[int, ...], np.dtype[np.uint8]] ="))
    done = strict(script)
    assert (done.returncode, done.stdout) == (0, "Success: no issues found in 1 source file\n")
    script.write_text(
        "from detector import Detection\n\n\ndef f(detection: Detection) -> int:\n    return detection.label\n"
    )
    assert 'Incompatible return value type (got "str", expected "int")' in strict(script).stdout


@pytest.mark.parametrize("package", ["detector", "proposals"])
def test_the_packages_are_marked_as_typed(package):
    assert (ROOT / package / "py.typed").is_file()

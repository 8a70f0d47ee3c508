from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from detector.cli import main


@pytest.fixture
def propose() -> Callable[..., int]:
    """Runs the command `propose` with one grouping; gives its exit code."""

    def run(*arguments: object, preset: str = "single") -> int:
        with pytest.raises(SystemExit) as caught:
            main(["propose", "--preset", preset, *map(str, arguments)])
        return int(caught.value.code or 0)

    return run


@pytest.fixture(scope="session")
def drawn() -> Callable[[tuple[int, int]], Image.Image]:
    """Draws two squares side by side, with something in them."""

    def draw(size: tuple[int, int]) -> Image.Image:
        photo = Image.new("RGB", size, (40, 90, 160))
        draw = ImageDraw.Draw(photo)
        for left, colour in ((5, (220, 60, 30)), (size[0] // 2, (240, 230, 60))):
            draw.rectangle((left, 6, left + 29, 35), fill=colour)
            draw.rectangle((left + 3, 9, left + 24, 30), fill=tuple(value // 2 for value in colour))
        return photo

    return draw


@pytest.fixture(scope="session")
def files() -> Callable[[Path], list[str]]:
    """Names all files in a folder and below."""

    def names(folder: Path) -> list[str]:
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())

    return names

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from proposals import Hierarchy, ProposalEvaluation, Proposals, SelectiveSearch, SelectiveSearchConfig
from proposals.drawing import draw_levels, draw_proposals, plot_recall


def make(boxes: Any, sources: Any = None, size: tuple[int, int] = (60, 40)) -> Proposals:
    n = len(boxes)
    sources = np.zeros(n, np.int16) if sources is None else np.array(sources, np.int16)
    scores = np.linspace(1, 0.5, n).astype(np.float32)
    return Proposals(np.array(boxes, np.float32).reshape(-1, 4), scores, sources, tuple("abcdefghijklmnop"), size)


def gray(width: int = 60, height: int = 40) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


def outline(boxes: list[tuple[int, int, int, int]], line: int = 1, size: tuple[int, int] = (60, 40)) -> np.ndarray:
    """The pixels of boxes within `line` pixels of their edges."""
    mask = np.zeros(size[::-1], bool)
    for x1, y1, x2, y2 in boxes:
        box = np.zeros_like(mask)
        box[y1:y2, x1:x2] = True
        box[y1 + line : max(y2 - line, 0), x1 + line : max(x2 - line, 0)] = False
        mask |= box
    return mask


@pytest.mark.parametrize(
    "boxes",
    [
        [],
        [(10, 5, 30, 25), (20, 10, 59, 39), (0, 0, 2, 2)],
        [(10, 5, 11, 25), (40, 30, 43, 32)],
    ],
)
def test_only_outlines_change_in_a_copy(boxes: list[tuple[int, int, int, int]]) -> None:
    pixels = gray()
    drawn = draw_proposals(pixels, make(boxes))
    assert (pixels == 128).all()
    assert (drawn.shape, drawn.dtype) == (pixels.shape, pixels.dtype)
    changed = (drawn != pixels).any(axis=2)
    np.testing.assert_array_equal(changed, outline(boxes))


def test_lines_are_thicker_in_large_images() -> None:
    box = (100, 200, 700, 800)
    drawn = draw_proposals(gray(1200, 1200), make([box], size=(1200, 1200)))
    changed = (drawn != 128).any(axis=2)
    np.testing.assert_array_equal(changed, outline([box], line=4, size=(1200, 1200)))


def test_sources_have_distinct_colors_and_the_best_box_is_on_top() -> None:
    box = (10, 5, 30, 25)
    colors = [draw_proposals(gray(), make([box], [source]))[5, 10].tolist() for source in range(14)]
    assert len(set(map(tuple, colors[:12]))) == 12
    assert colors[12:] == colors[:2], "colors repeat after twelve sources"
    drawn = draw_proposals(gray(), make([box, box], [3, 1]))
    assert drawn[5, 10].tolist() == colors[3]


@pytest.fixture(scope="module")
def hierarchy(photo: np.ndarray) -> Hierarchy:
    config = SelectiveSearchConfig.preset("single", working_width=150, superpixel_scale=0.2)
    return SelectiveSearch(config).hierarchies(photo)[0]


@pytest.mark.parametrize("panels", [1, 3, 8])
def test_levels_are_panels_in_rows_of_three(photo: np.ndarray, hierarchy: Hierarchy, panels: int) -> None:
    height, width = hierarchy.labels.shape
    assert (width, hierarchy.superpixels > 30) == (150, True)
    before = photo.copy()
    sheet = draw_levels(photo, hierarchy, panels)
    np.testing.assert_array_equal(photo, before)
    columns, rows = min(3, panels), (panels + 2) // 3
    assert (sheet.shape, sheet.dtype) == ((rows * height, columns * width, 3), np.uint8)
    drawn = [
        (sheet[y : y + height, x : x + width] != 255).any()
        for y in range(0, rows * height, height)
        for x in range(0, columns * width, width)
    ]
    assert drawn == [True] * panels + [False] * (rows * columns - panels)


def test_a_region_has_its_mean_color_and_a_white_border(photo: np.ndarray, hierarchy: Hierarchy) -> None:
    """The first panel has the superpixels, the last two regions."""
    height, width = hierarchy.labels.shape
    sheet = draw_levels(photo, hierarchy, 2)
    small = np.array(Image.fromarray(photo).resize((width, height)), np.float64)
    for panel, count in ((sheet[:, :width], hierarchy.superpixels), (sheet[:, width:], 2)):
        regions = hierarchy.segmentation(count)
        assert len(np.unique(regions)) == count
        for region in np.unique(regions)[:: max(1, count // 10)]:
            inside = regions == region
            found = panel[inside]
            plain = found[(found != 255).any(axis=1)]
            border = np.zeros_like(inside)
            border[:, 1:] |= regions[:, 1:] != regions[:, :-1]
            border[1:] |= regions[1:] != regions[:-1]
            assert len(plain) == (inside & ~border).sum()
            if len(plain):
                assert (plain == plain[0]).all()
                np.testing.assert_allclose(plain[0], small[inside].mean(axis=0), atol=1)


def test_levels_of_a_single_superpixel() -> None:
    pixels = np.full((20, 30, 3), (10, 200, 77), np.uint8)
    (hierarchy,) = SelectiveSearch(SelectiveSearchConfig.preset("single")).hierarchies(pixels)
    assert hierarchy.superpixels == 1
    np.testing.assert_array_equal(draw_levels(pixels, hierarchy), pixels)


def test_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    path = tmp_path / "recall.png"
    evaluation = ProposalEvaluation(["cat"])
    evaluation.add(make([(0, 0, 5, 5)] * 12 + [(10, 5, 30, 25)]), np.array([[10, 5, 30, 25]]), [0])
    curve = evaluation.to_dict()["curve"]
    lower = [{key: value if key == "boxes" else value / 2 for key, value in point.items()} for point in curve]
    plot_recall({"one": curve, "two": lower}, path)
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        pixels = np.asarray(picture.convert("RGB"))
    assert pixels.shape[1] > 2 * pixels.shape[0], "three plots side by side"
    for color in ((0x44, 0x77, 0xAA), (0xEE, 0x66, 0x77)):
        assert (pixels == color).all(axis=2).sum() > 100, "each method has its line"
    assert [file.name for file in tmp_path.iterdir()] == ["recall.png"]


def test_missing_matplotlib_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ValueError, match="needs the extra 'report'"):
        plot_recall({}, tmp_path / "recall.png")
    assert list(tmp_path.iterdir()) == []

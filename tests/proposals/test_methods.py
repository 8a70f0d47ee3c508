import pickle
import sys
from collections.abc import Callable
from unittest.mock import MagicMock

import cv2
import numpy as np
import pytest

from proposals import METHODS, PRESETS, SelectiveSearch, SelectiveSearchConfig, make_proposer
from proposals.methods import OpenCVSelectiveSearch, PackageSelectiveSearch

WRONG_IMAGES = [None, np.zeros((4, 4, 3)), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)]


@pytest.mark.parametrize("preset", PRESETS)
def test_selective_search_by_preset(preset: str) -> None:
    proposer = make_proposer("selective_search", preset, seed=7, threads=2)
    assert isinstance(proposer, SelectiveSearch)
    assert proposer.config == SelectiveSearchConfig.preset(preset, seed=7)
    assert proposer.threads == 2


def test_the_default_preset_is_fast() -> None:
    assert make_proposer("selective_search").fingerprint == SelectiveSearch().fingerprint


@pytest.mark.parametrize("method", ["", "Selective_Search", "edge_boxes"])
def test_unknown_method(method: str) -> None:
    with pytest.raises(ValueError, match=f"method '{method}' is unknown; .* selective_search, opencv, select"):
        make_proposer(method)


@pytest.mark.parametrize("method", METHODS)
def test_unknown_preset(method: str) -> None:
    with pytest.raises(ValueError, match="preset 'best' is unknown; known are single, fast, quality"):
        make_proposer(method, "best")


RECTS = np.array([[10, 5, 20, 15], [0, 0, 60, 40], [10, 5, 20, 15], [50, 30, 20, 20], [5, 5, 0, 9]], np.int32)
SWITCHES = {
    "single": "switchToSingleStrategy",
    "fast": "switchToSelectiveSearchFast",
    "quality": "switchToSelectiveSearchQuality",
}


@pytest.fixture
def opencv(monkeypatch: pytest.MonkeyPatch) -> MagicMock:
    """Replaces OpenCV's contrib modules; returns the search object, which proposes RECTS."""
    module, search = MagicMock(), MagicMock()
    module.segmentation.createSelectiveSearchSegmentation.return_value = search
    search.process.return_value = RECTS
    monkeypatch.setattr(cv2, "ximgproc", module, raising=False)
    return search


def colored(width: int = 60, height: int = 40) -> np.ndarray:
    image = np.zeros((height, width, 3), np.uint8)
    image[:] = (250, 120, 10)
    image[5:20, 10:30] = (10, 30, 200)
    return image


@pytest.mark.parametrize("preset", PRESETS)
def test_opencv_gets_the_preset_and_a_bgr_image(opencv: MagicMock, preset: str) -> None:
    image = colored()
    make_proposer("opencv", preset)(image)
    assert [call[0] for call in opencv.method_calls] == ["setBaseImage", SWITCHES[preset], "process"]
    np.testing.assert_array_equal(opencv.setBaseImage.call_args.args[0], image[:, :, ::-1])


def test_opencv_boxes_are_unique_and_clipped_in_its_order(opencv: MagicMock) -> None:
    proposals = make_proposer("opencv", "fast")(colored())
    assert proposals.boxes.tolist() == [[10, 5, 30, 20], [0, 0, 60, 40], [50, 30, 60, 40]]
    assert (np.diff(proposals.scores) < 0).all()
    assert proposals.sources.tolist() == [0, 0, 0]
    assert proposals.source_names == ("opencv/fast",)
    assert proposals.image_size == (60, 40)


@pytest.mark.parametrize("rects", [(), np.empty((0, 4), np.int32)])
def test_opencv_without_boxes(opencv: MagicMock, rects: object) -> None:
    opencv.process.return_value = rects
    assert len(make_proposer("opencv")(colored())) == 0


@pytest.mark.parametrize("image", WRONG_IMAGES)
def test_opencv_rejects_invalid_images(opencv: MagicMock, image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="an image must"):
        make_proposer("opencv")(image)
    assert opencv.method_calls == []


def test_missing_contrib_modules_name_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "ximgproc", raising=False)
    with pytest.raises(ValueError, match="pip install opencv-contrib-python-headless") as caught:
        make_proposer("opencv")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not hasattr(cv2, "ximgproc"), reason="needs the package opencv-contrib-python-headless")
@pytest.mark.parametrize("preset", PRESETS)
def test_real_opencv(photo: np.ndarray, preset: str) -> None:
    small = cv2.resize(photo, (120, 80), interpolation=cv2.INTER_AREA)
    proposals = make_proposer("opencv", preset)(small)
    assert len(proposals) > 10
    assert proposals.image_size == (120, 80)
    assert [0, 0, 120, 80] in proposals.boxes.tolist()
    assert len(np.unique(proposals.boxes, axis=0)) == len(proposals)


@pytest.fixture
def package() -> PackageSelectiveSearch:
    pytest.importorskip("selectivesearch", reason="needs the packages selectivesearch and scikit-image")
    proposer = make_proposer("selectivesearch")
    assert isinstance(proposer, PackageSelectiveSearch)
    return proposer


def test_the_package_selectivesearch_on_a_photo(package: PackageSelectiveSearch, photo: np.ndarray) -> None:
    small = cv2.resize(photo, (90, 60), interpolation=cv2.INTER_AREA)
    before = small.copy()
    proposals = package(small)
    np.testing.assert_array_equal(small, before)
    assert len(proposals) > 3
    assert proposals.image_size == (90, 60)
    assert proposals.source_names == ("selectivesearch",)
    assert [0, 0, 90, 60] in proposals.boxes.tolist(), "the last region is the whole image, to its last pixel"
    assert len(np.unique(proposals.boxes, axis=0)) == len(proposals)
    assert (np.diff(proposals.scores) < 0).all()
    again = make_proposer("selectivesearch")(small)
    np.testing.assert_array_equal(again.boxes, proposals.boxes)


def test_package_finds_the_exact_box_of_a_drawn_object(package: PackageSelectiveSearch) -> None:
    assert [10, 5, 30, 20] in PackageSelectiveSearch(scale=50, sigma=0.1)(colored()).boxes.tolist()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [(60, 40), (1, 1), (3, 50), (2, 2)])
@pytest.mark.parametrize("value", [0, 255])
def test_the_package_on_images_of_one_color(package: PackageSelectiveSearch, size: tuple[int, int], value: int) -> None:
    """Boxes or a ValueError, but no other error and no warning."""
    width, height = size
    try:
        proposals = package(np.full((height, width, 3), value, np.uint8))
    except ValueError as error:
        assert str(error).startswith("selectivesearch cannot process this image")  # noqa: PT017
    else:
        assert proposals.boxes.tolist() == [[0, 0, width, height]]


@pytest.mark.parametrize("error", [IndexError("no\nregions"), ZeroDivisionError("x"), ValueError("bad")])
def test_errors_of_the_package_become_value_errors(
    package: PackageSelectiveSearch, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    import selectivesearch

    def fail(image: np.ndarray, **settings: float) -> None:
        raise error

    monkeypatch.setattr(selectivesearch, "selective_search", fail)
    with pytest.raises(ValueError, match=f"cannot process this image .{type(error).__name__}"):
        make_proposer("selectivesearch")(colored())


@pytest.mark.parametrize("image", WRONG_IMAGES)
def test_package_rejects_invalid_images(package: PackageSelectiveSearch, image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="an image must"):
        package(image)


@pytest.mark.parametrize("missing", ["selectivesearch", "skimage.io"])
def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """The package's dependencies may be missing too: it does not declare scikit-image."""
    for name in [name for name in sys.modules if name.partition(".")[0] in ("selectivesearch", "skimage")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ValueError, match="needs the extra 'benchmark'") as caught:
        make_proposer("selectivesearch")
    assert "\n" not in str(caught.value)


def test_fingerprints_depend_on_method_and_settings(opencv: MagicMock, package: PackageSelectiveSearch) -> None:
    makers: list[Callable[[], object]] = [
        *(lambda preset=preset: make_proposer("selective_search", preset) for preset in PRESETS),
        *(lambda preset=preset: OpenCVSelectiveSearch(preset) for preset in PRESETS),
        lambda: make_proposer("selective_search", seed=1),
        PackageSelectiveSearch,
        lambda: PackageSelectiveSearch(scale=400),
        lambda: PackageSelectiveSearch(sigma=0.8),
        lambda: PackageSelectiveSearch(min_size=20),
    ]
    fingerprints = [make().fingerprint for make in makers]  # type: ignore[attr-defined]
    assert len(set(fingerprints)) == len(fingerprints)
    assert [make().fingerprint for make in makers] == fingerprints  # type: ignore[attr-defined]


@pytest.mark.parametrize("method", METHODS)
def test_proposers_can_be_pickled(opencv: MagicMock, package: PackageSelectiveSearch, method: str) -> None:
    proposer = make_proposer(method, "single")
    copy = pickle.loads(pickle.dumps(proposer))
    assert copy.fingerprint == proposer.fingerprint
    np.testing.assert_array_equal(copy(colored()).boxes, proposer(colored()).boxes)

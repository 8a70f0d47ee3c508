import numpy as np
import pytest

from proposals import Proposals, Regions, SelectiveSearch, SelectiveSearchConfig
from proposals.masks import decode_mask, encode_regions

SEARCH = SelectiveSearch(SelectiveSearchConfig.preset("single"), regions=True)


def test_regions_are_those_of_the_hierarchy(photo: np.ndarray) -> None:
    image = photo[:120, :200]
    hierarchy = SEARCH.hierarchies(image)[0]
    regions = np.arange(len(hierarchy))
    for region, counts in zip(regions.tolist(), encode_regions(hierarchy, regions, (200, 120)), strict=True):
        np.testing.assert_array_equal(decode_mask(counts, (200, 120)), hierarchy.mask(region))


def test_boxes_are_the_same_and_tight_around_their_regions(photo: np.ndarray) -> None:
    found, without = SEARCH(photo), SelectiveSearch(SEARCH.config)(photo)
    np.testing.assert_array_equal(found.boxes, without.boxes)
    assert without.regions is None
    assert found.regions is not None
    for i in range(0, len(found), 5):
        rows, columns = np.nonzero(found.regions.mask(i))
        assert found.boxes[i].tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    whole = int(np.flatnonzero((found.boxes == (0, 0, 451, 300)).all(axis=1))[0])
    assert found.regions.levels[whole] == SEARCH.hierarchies(photo)[0].levels.max()


def test_the_fingerprint_is_that_of_the_boxes() -> None:
    assert SEARCH.fingerprint == SelectiveSearch(SEARCH.config).fingerprint


@pytest.mark.parametrize("size", [(13, 7), (40, 21), (5, 3), (1, 1)])
def test_masks_of_another_size(size: tuple[int, int]) -> None:
    """Each pixel takes the region of the pixel that it lies in."""
    image = np.kron(np.random.default_rng(1).integers(0, 256, (3, 5, 3)), np.ones((7, 4, 1))).astype(np.uint8)
    config = SelectiveSearchConfig(("RGB",), ("CTSF",), (5,), minimum_size=1, sigma=0, minimum_box_side=1)
    hierarchy = SelectiveSearch(config).hierarchies(image)[0]
    assert hierarchy.superpixels == 15
    regions = np.arange(len(hierarchy))
    for region, counts in zip(regions.tolist(), encode_regions(hierarchy, regions, size), strict=True):
        columns, rows = np.arange(size[0]) * 20 // size[0], np.arange(size[1]) * 21 // size[1]
        np.testing.assert_array_equal(decode_mask(counts, size), hierarchy.mask(region)[rows][:, columns])


def test_the_run_lengths_are_cocos(photo: np.ndarray) -> None:
    coco = pytest.importorskip("pycocotools.mask")
    found = SEARCH(photo).top(40)
    assert found.regions is not None
    for i in range(40):
        mask = found.regions.mask(i)
        assert coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"] == found.regions.counts[i]
        np.testing.assert_array_equal(coco.decode(found.regions.rle(i)), mask)


@pytest.mark.parametrize("counts", [b"", b"1", b"\xff", b"o", b"a1", b"Q1o", b"1" * 3000, b"o" * 20])
def test_damaged_run_lengths(counts: bytes) -> None:
    with pytest.raises(ValueError, match="run lengths"):
        decode_mask(counts, (50, 30))


def test_regions_belong_to_boxes() -> None:
    boxes, one = np.array([[0, 0, 4, 4]], np.float32), np.ones(1, np.float32)
    for regions in (Regions(np.zeros(2), (b"", b""), (4, 4)), Regions(np.zeros(1), (b"",), (5, 4))):
        with pytest.raises(ValueError, match="regions"):
            Proposals(boxes, one, np.zeros(1, np.int16), ("a",), (4, 4), regions)
    with pytest.raises(ValueError, match="levels"):
        Regions(np.zeros(2), (b"",), (4, 4))

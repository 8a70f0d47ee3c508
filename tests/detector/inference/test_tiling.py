"""Large photos in tiles: what is cut by a seam is joined, and nothing is found twice."""

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from detector.config import PostprocessConfig
from detector.errors import InputError
from detector.inference.tiling import TiledPipeline, merge_across_seams, tiles, with_tiles
from detector.structures.detections import Detections
from detector.structures.image import Image

SIZE = (1000, 700)


class ColorPipeline:
    """Finds what it sees of each rectangle of one red value; in a whole photo, only of those of 200 pixels or more."""

    class_names, class_ids = ("box", "ball"), (1, 2)

    def __init__(self) -> None:
        self.postprocess = PostprocessConfig()
        self.seen: list[tuple[int, int]] = []

    def detect(self, image: Image, score: float) -> Detections:
        self.seen.append((image.width, image.height))
        smallest = 200 if (image.width, image.height) == SIZE else 1
        boxes, scores, labels = [], [], []
        for red in np.unique(image.pixels[:, :, 0])[1:]:
            rows, columns = np.nonzero(image.pixels[:, :, 0] == red)
            box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            if max(box[2] - box[0], box[3] - box[1]) >= smallest:
                boxes.append(box)
                scores.append(0.9 if smallest == 1 else 0.6)
                labels.append(red % 2)
        return Detections(boxes, scores, labels, self.class_names, (image.width, image.height), self.class_ids)


def photo(objects: list[tuple[int, int, int, int]]) -> Image:
    pixels = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    for number, (x1, y1, x2, y2) in enumerate(objects):
        pixels[y1:y2, x1:x2, 0] = 2 * number + 2
    return Image(pixels, "photo")


@pytest.mark.parametrize(
    "objects",
    [
        [(20, 20, 40, 50), (500, 300, 520, 330), (970, 680, 1000, 700)],
        [(230, 100, 290, 160)],  # across a seam, whole in one of the tiles
        [(150, 100, 400, 180)],  # longer than the overlap: no tile has the whole, but the whole photo
        [(200, 100, 370, 180)],  # the same, too small for the whole photo: its parts are joined
        [(200, 200, 350, 350)],  # the corner of four tiles
        [(10, 10, 990, 690)],  # larger than any tile
        [(230, 100, 290, 160), (292, 100, 352, 160), (230, 162, 290, 222)],  # neighbors stay apart
    ],
)
def test_every_object_is_found_once_and_whole(objects: list[tuple[int, int, int, int]]):
    pipeline: Any = ColorPipeline()
    found = TiledPipeline(pipeline, 256, 0.2).detect(photo(objects), 0.5)
    assert sorted(map(tuple, found.boxes.tolist())) == sorted(objects)
    assert found.image_size == SIZE
    small = [max(x2 - x1, y2 - y1) < 250 for x1, y1, x2, y2 in objects]
    if all(small):
        assert found.scores.tolist() == pytest.approx([0.9] * len(objects)), "the higher score of the looks"
    assert pipeline.seen[0] == SIZE
    assert set(pipeline.seen[1:]) == {(256, 256)}, "one tile is in memory at a time"


def test_a_part_in_a_whole_box_is_dropped():
    """Although a head at the edge of a tile is no such part of the box as the tile would show."""
    person, head, other = (100, 100, 300, 500), (180, 110, 256, 190), (290, 300, 400, 400)
    boxes = np.array([person, head, other], np.float32)
    views = np.array([(0, 0, 1000, 700), (0, 0, 256, 256), (200, 200, 400, 456)])
    cut = np.array([False, True, True])
    kept, scores, rows = merge_across_seams(boxes, np.array([0.6, 0.9, 0.8]), np.zeros(3, int), views, cut, 0.3)
    assert (rows.tolist(), scores.tolist()) == ([0, 2], [0.6, 0.8])
    assert kept.tolist() == [list(person), list(other)]
    assert merge_across_seams(boxes, np.array([0.4, 0.9, 0.8]), np.zeros(3, int), views, cut, 0.3)[2].tolist() == [
        0,
        1,
        2,
    ]


def test_classes_meet_only_in_agnostic_nms():
    """Two boxes at one place, of two classes, that two tiles see."""

    class Both(ColorPipeline):
        def detect(self, image: Image, score: float) -> Detections:
            found = super().detect(image, score)
            return Detections.merge(
                [
                    found,
                    Detections(found.boxes, found.scores, 1 - found.labels, self.class_names, found.image_size, (1, 2)),
                ]
            )

    pipeline: Any = Both()
    image = photo([(230, 100, 290, 160)])
    assert sorted(TiledPipeline(pipeline, 256, 0.2).detect(image, 0.5).labels.tolist()) == [0, 1]
    pipeline.postprocess = PostprocessConfig(agnostic_nms=True)
    assert len(TiledPipeline(pipeline, 256, 0.2).detect(image, 0.5)) == 1


def test_a_photo_of_one_tile_is_seen_once():
    pipeline: Any = ColorPipeline()
    TiledPipeline(pipeline, 1000, 0.2).detect(photo([(1, 2, 30, 40)]), 0.5)
    assert pipeline.seen == [SIZE]


@pytest.mark.parametrize("overlap", [0.0, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("size", [(1000, 700), (256, 4000), (257, 256), (100, 90)])
def test_tiles_cover_the_photo_and_overlap(size: tuple[int, int], overlap: float):
    seen = np.zeros(size[::-1], int)
    found = list(tiles(*size, 256, overlap))
    for x1, y1, x2, y2 in found:
        assert (x2 - x1, y2 - y1) == (min(256, size[0]), min(256, size[1]))
        seen[y1:y2, x1:x2] += 1
    assert seen.min() >= 1
    columns = sorted({x1 for x1, *_ in found})
    assert all(b - a <= 256 * (1 - overlap) + 1 for a, b in pairwise(columns))


@pytest.mark.parametrize(
    ("tile", "overlap"), [(31, None), (2.5, None), (256, -0.1), (256, 0.95), (256, "x"), (None, 0.2)]
)
def test_wrong_tiles(tile: Any, overlap: Any):
    with pytest.raises(InputError, match=r"tile|overlap"):
        with_tiles(SimpleNamespace(), tile, overlap)  # type: ignore[arg-type]

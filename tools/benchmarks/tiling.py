"""Small objects in photos of 12 megapixels made of scaled-down scenes: a look at the whole, and tiles."""

import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PillowImage

from benchmarks.measuring import Report, Task, run_fresh
from detector.data.ground_truth import GroundTruth
from detector.data.reading import find_photos, read_data_set
from detector.inference.assembly import load_pipeline
from detector.inference.tiling import with_tiles
from detector.structures.class_names import same_classes
from detector.structures.detections import Detections
from detector.structures.image import Image, read_image
from proposals.boxes import box_iou

SIZE = (4000, 3000)
"""Width and height of the photos."""
SMALL = 32.0
"""Objects whose box has less than the area of a square of this side are small, as in COCO."""
_SCENE, _SCORE, _IOU, _MOST = 400, 0.1, 0.5, 10_000
_MEMORY = """
import sys
import numpy as np
from detector.inference.assembly import load_pipeline
from detector.inference.tiling import with_tiles
from detector.structures.image import Image
tile, width, height = map(int, sys.argv[2:])
noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
with_tiles(load_pipeline(sys.argv[1] or None, "cpu"), tile or None).detect(Image(noise, "noise"))
result = 0
"""


def benchmark_tiles(
    annotations: Path, model: Path | None, tile: int, photos: int, threads: int, size: tuple[int, int] = SIZE
) -> Report:
    """Recall of small objects, and peak memory, with and without tiles.

    Args:
        annotations: COCO's JSON with its photos near it.
        tile: side of the tiles in pixels.
        photos: number of photos, each of other scenes.
        size: width and height of the photos in pixels.

    Raises:
        InputError: the data set or the model cannot be used.
    """
    pipeline = load_pipeline(model, "cpu").with_settings(max_detections=_MOST)
    data = read_data_set("coco", annotations=annotations).known_to(pipeline.class_names, "the model")
    folder = find_photos(annotations, data.truth.files)
    looks = {"whole photo": with_tiles(pipeline, None), f"and tiles of {tile}": with_tiles(pipeline, tile)}
    objects, found, seconds = 0, dict.fromkeys(looks, 0), {name: list[float]() for name in looks}
    for number in range(photos):
        image, boxes, labels = large_photo(data.truth, folder, number, size)
        small = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) < SMALL**2
        objects += int(small.sum())
        names = [data.truth.class_names[label] for label in labels[small]]
        for name, look in looks.items():
            start = time.perf_counter()
            detections = look.detect(image, _SCORE)
            seconds[name].append(time.perf_counter() - start)
            found[name] += count_found(detections, boxes[small], names)
    rows = [{"objects": objects, **{name: count / max(1, objects) for name, count in found.items()}}]
    sizes = (size, (2 * size[0], size[1]))
    memory = {
        f"{width}x{height}, {'tiles' if side else 'whole'}": run_fresh(
            _MEMORY, model or "", side, width, height, threads=threads
        )[1]
        for width, height in sizes
        for side in (0, tile)
    }
    title = f"share of the objects below {SMALL:g} pixels found at score {_SCORE:g}, IoU {_IOU:g}"
    subject = {"data": str(annotations), "photos": f"{photos} of {size[0]}x{size[1]} pixels", "model": str(model)}
    tasks = [Task(name, lambda: None, seconds=times) for name, times in seconds.items()]
    return Report(subject, tasks, threads, tables={title: rows}, peak_memory=memory)


def large_photo(
    truth: GroundTruth, folder: Path, number: int, size: tuple[int, int]
) -> tuple[Image, np.ndarray, np.ndarray]:
    """A photo of scenes in rows, each reduced to a width of 400 pixels, with the (N, 4) boxes and (N,) labels in it."""
    pixels = np.full((size[1], size[0], 3), 128, np.uint8)
    boxes, labels, rows = [np.zeros((0, 4))], [np.zeros(0, np.int64)], truth.rows_by_image()
    x = y = row_height = 0
    index = number * (size[0] // _SCENE) * (size[1] // 300)
    while True:
        scene = read_image(folder / truth.files[index % len(truth.files)])
        factor = _SCENE / scene.width
        height = round(scene.height * factor)
        if x + _SCENE > size[0]:
            x, y, row_height = 0, y + row_height, 0
        if y + height > size[1]:
            return Image(pixels, f"photo {number}"), np.concatenate(boxes), np.concatenate(labels)
        reduced = PillowImage.fromarray(scene.pixels).resize((_SCENE, height), PillowImage.Resampling.LANCZOS)
        pixels[y : y + height, x : x + _SCENE] = np.asarray(reduced)
        objects = [row for row in rows[index % len(truth.files)] if not truth.crowd[row]]
        boxes.append(truth.boxes[objects] * factor + [x, y, x, y])
        labels.append(truth.labels[objects])
        x, row_height, index = x + _SCENE, max(row_height, height), index + 1


def count_found(detections: Detections, boxes: np.ndarray, names: list[str]) -> int:
    """How many of the objects a detection of the class covers."""
    if not len(boxes) or not len(detections):
        return 0
    same = same_classes(sorted(set(names)), detections.class_names)
    labels = np.array([detections.class_names.index(same[name]) for name in names])
    overlaps = box_iou(torch.from_numpy(boxes.astype(np.float32)), torch.tensor(detections.boxes)).numpy()
    return int(((overlaps >= _IOU) & (labels[:, None] == detections.labels)).any(axis=1).sum())

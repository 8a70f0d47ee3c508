"""An end-to-end graph that is run once and compared with the pipeline that it was exported from."""

from pathlib import Path

import numpy as np

from detector.export.end_to_end import LOWEST_SCORE, export_end_to_end
from detector.export.onnx_engine import open_session
from detector.inference.pipeline import DetectionPipeline
from detector.models.weights import Model
from detector.ops.transforms import resize
from detector.structures.image import Image
from proposals import Proposals


def export_detector(
    model: Model, path: Path, size: tuple[int, int] | None = None, regions: bool = False
) -> tuple[int, int]:
    """Writes a detector as one ONNX graph, and runs the file on an image of blurred noise.

    Args:
        model, path, size, regions: as in `export_end_to_end`.

    Returns:
        The number of the pipeline's detections in float32 that the graph finds too, the boxes to a pixel and the scores
        to 0.01, and of all of them.

    Raises:
        InputError: as `export_end_to_end`; also if the file cannot be run.
    """
    export_end_to_end(model, path, size, regions)
    width, height = size or (400, 300)
    random = np.random.default_rng(0)
    pixels = resize(random.integers(0, 256, (6, 8, 3), dtype=np.uint8), (width, height))
    session = open_session(path)
    pipeline = DetectionPipeline(model, "cpu", source=None if regions else "multibox", precision="float32")
    if regions:
        low = random.random((100, 2)) * 0.6
        boxes = (np.concatenate((low, low + 0.1 + 0.3 * low), axis=1) * (width, height, width, height)).astype(
            np.float32
        )
        proposals = Proposals(boxes, np.ones(100, np.float32), np.zeros(100, np.int16), ("random",), (width, height))
        expected = pipeline.detect_proposals(Image(pixels, "noise"), proposals, LOWEST_SCORE)
        found = session.run(None, {"image": pixels, "regions": boxes})
    else:
        expected = pipeline.detect(Image(pixels, "noise"), LOWEST_SCORE)
        found = session.run(None, {"image": pixels})
    boxes, scores, labels = found
    near = (np.abs(expected.boxes[:, None] - boxes) <= 1).all(axis=2)
    near &= (np.abs(expected.scores[:, None] - scores) <= 0.01) & (expected.labels[:, None] == labels)
    return int(near.any(axis=1).sum()), len(expected)

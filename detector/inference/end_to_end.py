"""An end-to-end graph that is run once and compared with the pipeline that it was exported from."""

from pathlib import Path

import numpy as np

from detector.export.end_to_end import LOWEST_SCORE, export_end_to_end
from detector.export.onnx_engine import open_session
from detector.inference.pipeline import DetectionPipeline
from detector.models.weights import Model
from detector.ops.transforms import resize
from detector.structures.image import Image


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
    spots = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    image = Image(resize(spots, size or (400, 300)), "noise")
    pipeline = DetectionPipeline(
        model, "cpu", source="selective_search" if regions else "multibox", precision="float32"
    )
    proposals = pipeline.propose(image, pipeline.encode(image))
    expected = pipeline.detect_proposals(image, proposals, LOWEST_SCORE)
    given = {"regions": proposals.boxes} if regions else {}
    boxes, scores, labels = open_session(path).run(None, {"image": image.pixels, **given})
    near = (np.abs(expected.boxes[:, None] - boxes) <= 1).all(axis=2)
    near &= (np.abs(expected.scores[:, None] - scores) <= 0.01) & (expected.labels[:, None] == labels)
    return int(near.any(axis=1).sum()), len(expected)

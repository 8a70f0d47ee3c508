"""The templates of the page, and one HTML file of a photo for readers without a server."""

import base64
from pathlib import Path

import jinja2
import numpy as np

from detector.errors import InputError
from detector.explorer import panels
from detector.explorer.controls import make_controls
from detector.explorer.image_cache import Session, reduced
from detector.explorer.pictures import encoded
from detector.explorer.stages import Explanation, explain
from detector.inference.pipeline import DetectionPipeline
from detector.storage.run_store import writing
from detector.structures.image import Image
from proposals.files import atomic_write

_HERE = Path(__file__).parent
_LEVELS, _BOXES = 30, 100
"""Regions of the hierarchy's level, and boxes by rank, that the file shows."""
_REGIONS = 3
"""Number of the highest-scoring regions that the file shows."""
_LOW_SCORE = 0.1
"""Lowest score of the candidates before and after box regression and NMS."""


def templates() -> jinja2.Environment:
    """The page's templates, with filters for pictures and durations."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["source"] = _data_url
    environment.filters["duration"] = panels.duration_text
    return environment


def write_explanation(detector: DetectionPipeline, image: Image, path: Path, score: float = 0.5) -> None:
    """Writes one HTML file that shows how the detections of a photo come about, stage by stage, and loads nothing.

    Args:
        score: lowest score of the detections.

    Raises:
        InputError: the file cannot be written.
    """
    photo, _ = reduced(image)
    session = Session("", image.name, (image.width, image.height), explain(detector, photo), None)
    content = (
        templates()
        .get_template("explanation.html")
        .render(
            session=session,
            controls=make_controls(session.explanation),
            shown=_panels(session.explanation, score),
            style=(_HERE / "static/explorer.css").read_text(encoding="utf-8"),
        )
    )
    with writing(path, InputError), atomic_write(path) as temporary:
        temporary.write_text(content, encoding="utf-8")


def _panels(explanation: Explanation, score: float) -> dict[str, list[panels.Panel]]:
    """The panels of each stage, by the ids of `templates/stages.html`."""
    shown = {
        "proposals": [panels.show_proposals(explanation, _BOXES, -1)],
        "region": [
            panels.show_region(explanation, region, -1)
            for region, _ in make_controls(explanation)["regions"][:_REGIONS]
        ],
        "regression": [panels.show_regression(explanation, _LOW_SCORE)],
        "suppression": [
            panels.show_suppression(explanation, _LOW_SCORE, explanation.detector.postprocess.nms_iou, voting=True)
        ],
        "detections": [panels.show_detections(explanation, score)],
    }
    if explanation.groupings:
        first = next(grouping for grouping in explanation.groupings if grouping.used)
        shown["segmentation"] = [panels.show_segmentation(explanation, first.k)]
        shown["levels"] = [panels.show_levels(explanation, first.space, first.similarity, first.k, _LEVELS)]
    return shown


def _data_url(pixels: np.ndarray) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(encoded(pixels)).decode()

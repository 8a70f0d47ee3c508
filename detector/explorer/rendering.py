"""The templates of the page, and one HTML file of a photo for readers without a server."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from detector.errors import InputError
from detector.explorer import panels
from detector.explorer.image_cache import Session, reduced
from detector.explorer.pictures import encoded
from detector.explorer.regions import notable_regions
from detector.explorer.stages import STAGES, Explanation, explain
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
_STAGE_NAMES = dict(
    zip(STAGES, ("network, whole photo", "proposals", "scores of all regions", "post-processing"), strict=True)
)
_SCORES = tuple(round(0.01 * i, 2) for i in (1, 2, 3, 5, *range(10, 100, 5), 97, 99))
_IOUS = tuple(round(0.05 * i, 2) for i in range(21))


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


def make_controls(explanation: Explanation) -> dict[str, Any]:
    """What the page's template shows above the stages and in their forms.

    Returns:
        Sliders (values and initial position) and choices (values and texts) by name; `stages`: name, seconds and share
        of each stage; `seconds` in all; number of `detections`; `voting`: whether the detector votes on boxes.
    """
    groupings, proposals = explanation.groupings, explanation.proposals
    config = explanation.detector.postprocess
    total = sum(explanation.seconds.values())
    used = {grouping.space: grouping.used for grouping in groupings}
    most_superpixels = max((grouping.hierarchy.superpixels for grouping in groupings), default=1)
    regions = []
    for region in notable_regions(explanation):
        scores = explanation.scored.scores[region]
        label = int(scores.argmax())
        text = f"{explanation.class_names[label]} {scores[label]:.2f} at {panels.box_text(proposals.boxes[region])}"
        regions.append((region, text))
    return {
        "stages": [(_STAGE_NAMES[name], seconds, seconds / total) for name, seconds in explanation.seconds.items()],
        "seconds": total,
        "detections": len(explanation.detections()),
        "spaces": [(space, f"{space} (used)" if used[space] else space) for space in used],
        "similarities": [(name, name) for name in dict.fromkeys(grouping.similarity for grouping in groupings)],
        "ks": [(k, k) for k in dict.fromkeys(f"{grouping.k:g}" for grouping in groupings)],
        "levels": _counts(most_superpixels, 30),
        "boxes": _counts(len(proposals), 100),
        "sources": [(-1, "all"), *enumerate(map(panels.source_text, proposals.source_names))],
        "regions": regions,
        "labels": [(-1, "its best class"), *enumerate(explanation.class_names)],
        "low_score": _slider(_SCORES, 0.1),
        "score": _slider(_SCORES, 0.5),
        "nms_iou": _slider(_IOUS, config.nms_iou),
        "voting": config.voting_iou is not None and explanation.scored.box_deltas is not None,
    }


def _slider(values: Sequence[float], initial: float) -> dict[str, Any]:
    """A slider through ascending values that starts at the value nearest to `initial`."""
    return {"values": values, "position": min(range(len(values)), key=lambda i: abs(values[i] - initial))}


def _counts(most: int, initial: int) -> dict[str, Any]:
    """A slider through whole numbers from 1 to `most` in growing steps, with `initial` among them."""
    most = max(1, most)
    initial = min(initial, most)
    return _slider(np.unique([*np.geomspace(1, most, 80).round().astype(int), initial]).tolist(), initial)

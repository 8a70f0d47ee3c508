"""A detection stage by stage: `explain` runs a detector and keeps every stage, `panels` and `pictures` draw them,
`server` shows them as a page in the browser, and `write_explanation` as a file."""

from pathlib import Path

from detector.errors import InputError
from detector.explorer.stages import Candidates, Explanation, Grouping, explain
from detector.inference.pipeline import DetectionPipeline
from detector.structures.image import Image
from proposals.extras import needs_extra

__all__ = ["Candidates", "Explanation", "Grouping", "explain", "write_explanation"]


def write_explanation(detector: DetectionPipeline, image: Image, path: Path, score: float = 0.5) -> None:
    """Writes one HTML file that shows how the detections of a photo come about, stage by stage, and loads nothing.

    Args:
        score: lowest score of the detections.

    Raises:
        InputError: the extra `explore` is not installed, or the file cannot be written.
    """
    try:
        from detector.explorer.rendering import write_page
    except ModuleNotFoundError as error:
        if error.name != "fastapi":
            raise
        raise InputError(needs_extra("the explanation", "explore")) from None
    write_page(detector, image, path, score)

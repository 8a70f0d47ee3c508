"""Whether an exported file gives what the model gives."""

from pathlib import Path

import torch

from detector.export.graph import ImageGraph
from detector.export.onnx_engine import OnnxEngine
from detector.models.weights import Model


def largest_difference(model: Model, path: Path, size: tuple[int, int] | None = None) -> float:
    """Runs an exported file on an image of noise, and compares its votes with the model's in float32.

    Args:
        size: (width, height) that the file is for; None: any.

    Returns:
        The largest difference, in parts of the range of the model's votes.

    Raises:
        InputError: the file is not of this model, or cannot be run.
    """
    width, height = size or (320, 256)
    image = torch.randint(0, 256, (1, 3, height, width), generator=torch.Generator().manual_seed(0)).float()
    with torch.no_grad():
        expected = ImageGraph(model.network).eval()(image)[0]  # type: ignore[arg-type]
        if path.suffix == ".onnx":
            found = OnnxEngine(model, path)(image).score_maps
        else:
            found = torch.export.load(path).module()(image)[0]
    return float((found - expected).abs().max() / (expected.max() - expected.min()))

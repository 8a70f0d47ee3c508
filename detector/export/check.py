"""Comparison of an exported file with its model."""

from pathlib import Path

import torch

from detector.export.graph import ImageGraph
from detector.export.onnx_engine import OnnxEngine
from detector.models.weights import Model


def largest_difference(model: Model, path: Path, size: tuple[int, int] | None = None) -> float:
    """Runs an exported file on an image of noise and compares its score maps with the model's in float32.

    Args:
        size: (width, height) that the file was exported for; None for any.

    Returns:
        The largest absolute difference, as a share of the range of the model's score maps.

    Raises:
        InputError: the file is not of this model, or cannot be run.
    """
    width, height = size or (320, 256)
    image = torch.randint(0, 256, (1, 3, height, width), generator=torch.Generator().manual_seed(0)).float()
    with torch.no_grad():
        expected = ImageGraph(model.network).eval()(image)[0]  # type: ignore[arg-type]
        if path.suffix == ".onnx":
            exported = OnnxEngine(model, path)(image).score_maps
        else:
            exported = torch.export.load(path).module()(image)[0]
    return float((exported - expected).abs().max() / (expected.max() - expected.min()))

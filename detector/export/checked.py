"""A model exported to a file that is run once and compared with the model."""

from collections.abc import Iterable
from pathlib import Path

from detector.errors import InputError
from detector.export.check import largest_difference
from detector.export.graph import export_onnx, export_torch
from detector.export.quantization import export_int8
from detector.models.weights import Model
from detector.structures.image import Image


def check_export(
    path: Path, size: tuple[int, int] | None, int8: bool, end_to_end: bool = False, regions: bool = False
) -> None:
    """Raises `InputError` unless the name and the settings of an export fit each other."""
    if regions and not end_to_end:
        raise InputError("--regions has no meaning without --end-to-end; the graph takes no regions")
    if end_to_end and path.suffix != ".onnx":
        raise InputError(f"{path}: an end-to-end graph needs a name that ends in .onnx")
    if end_to_end and int8:
        raise InputError(f"{path}: an end-to-end graph is in float32; leave int8 out")
    if path.suffix not in (".onnx", ".pt2"):
        raise InputError(f"{path}: give a name that ends in .onnx or .pt2")
    if int8 and (path.suffix != ".onnx" or size is not None):
        raise InputError(f"{path}: int8 needs a name that ends in .onnx, and images of any size (--dynamic)")


def export_model(
    model: Model, path: Path, size: tuple[int, int] | None = None, photos: Iterable[Image] | None = None
) -> float:
    """Writes a model's pass over an image as a graph, and runs the file.

    Args:
        path: ends in .onnx, or .pt2 for torch.export.
        size: (width, height) of the one image that the graph takes; None for any size and number.
        photos: to measure the ranges of a graph in int8 on; None for float32.

    Returns:
        The largest difference of the file's maps from the model's, as a share of their range.

    Raises:
        InputError: the model is not an R-FCN, the name or the size is wrong, or packages are missing.
    """
    check_export(path, size, photos is not None)
    if photos is not None:
        export_int8(model, path, photos)
    elif path.suffix == ".onnx":
        export_onnx(model, path, size)
    else:
        export_torch(model, path, size)
    return largest_difference(model, path, size)

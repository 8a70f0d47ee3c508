"""ONNX Runtime on the CPU, for machines where it is faster than PyTorch, and for int8 graphs."""

import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from detector.errors import InputError
from detector.export.graph import FORMAT, export_onnx, read_description
from detector.models.rfcn import ImageMaps
from detector.models.weights import Model, weights_hash
from proposals.extras import needs_extra


class OnnxEngine:
    """Runs an exported graph.

    Args:
        model: the model that was exported.
        path: the file; None exports the graph at first use and keeps it in the user's cache folder.

    Raises:
        InputError: onnxruntime is not installed; the file is missing, was not exported by this project, is of another
            model, or does not run in this version of ONNX Runtime.
    """

    def __init__(self, model: Model, path: Path | None = None) -> None:
        _onnxruntime()  # before a graph is exported for it
        if path is None:
            self.session = _cached_session(model)
            return
        if not path.is_file():
            raise InputError(f"{path}: no such file; make it with detector export")
        self.session = open_session(path)
        fields = read_description(self.session.get_modelmeta().custom_metadata_map, str(path))
        if fields["weights"] != weights_hash(model.network):
            raise InputError(f"{path}: the graph of another model ({len(fields['classes'])} classes); export it again")

    def __call__(self, images: Tensor) -> ImageMaps:
        """(B, 3, H, W) RGB in 0..255 -> the maps of R-FCN."""
        shape = self.session.get_inputs()[0].shape
        if shape[0] == 1 and len(images) > 1:  # exported for one image at a time
            maps = [self(image[None]) for image in images]
            return ImageMaps(torch.cat([m.features for m in maps]), torch.cat([m.score_maps for m in maps]))
        if any(isinstance(side, int) and side != given for side, given in zip(shape, images.shape, strict=True)):
            raise InputError(
                f"the graph was exported for {shape[3]}x{shape[2]} pixels, this photo becomes {images.shape[3]}x"
                f"{images.shape[2]}; export it with --dynamic"
            )
        score_maps, features = self.session.run(["score_maps", "features"], {"image": images.float().numpy()})
        return ImageMaps(torch.from_numpy(features), torch.from_numpy(score_maps))


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise InputError(needs_extra("engine onnx", "onnx")) from None
    return onnxruntime


def open_session(path: Path) -> Any:
    """An onnxruntime.InferenceSession of a file on the CPU; raises `InputError` if it cannot be run."""
    onnxruntime = _onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no base class
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: ONNX Runtime cannot use it ({reason:.200})") from None


def _cached_session(model: Model) -> Any:
    base = os.environ.get("XDG_CACHE_HOME")
    folder = (Path(base) if base else Path(os.path.expanduser("~")) / ".cache") / "inception-rcnn"
    path = folder / f"{FORMAT}-{weights_hash(model.network)}.onnx"
    if path.is_file():
        try:
            return open_session(path)
        except InputError:  # damaged, or written for another version of ONNX Runtime
            path.unlink(missing_ok=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        export_onnx(model, path)
        return open_session(path)
    except OSError:  # the cache folder cannot be written
        with tempfile.TemporaryDirectory() as temporary:
            export_onnx(model, Path(temporary) / path.name)
            return open_session(Path(temporary) / path.name)

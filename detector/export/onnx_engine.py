"""ONNX Runtime on the CPU, for machines on which it is faster than PyTorch, and for graphs in int8."""

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
        model: whose graph it is.
        path: of the file; None: the graph is exported at first use and kept in the user's cache folder.

    Raises:
        InputError: onnxruntime is not installed, or the file is missing, none of this project, of another model, or one
            that this version of ONNX Runtime cannot run.
    """

    def __init__(self, model: Model, path: Path | None = None) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise InputError(needs_extra("engine onnx", "onnx")) from None
        self._runtime = onnxruntime
        if path is None:
            self.session = self._cached(model)
            return
        if not path.is_file():
            raise InputError(f"{path}: no such file; make it with detector export")
        self.session = self._open(path)
        found = read_description(self.session.get_modelmeta().custom_metadata_map, str(path))
        if found["weights"] != weights_hash(model.network):
            raise InputError(f"{path}: the graph of another model ({len(found['classes'])} classes); export it again")

    def __call__(self, images: Tensor) -> ImageMaps:
        wanted = self.session.get_inputs()[0].shape
        if wanted[0] == 1 and len(images) > 1:  # exported for one image at a time
            parts = [self(one[None]) for one in images]
            return ImageMaps(torch.cat([p.features for p in parts]), torch.cat([p.score_maps for p in parts]))
        if any(isinstance(side, int) and side != given for side, given in zip(wanted, images.shape, strict=True)):
            raise InputError(
                f"the graph was exported for {wanted[3]}x{wanted[2]} pixels, this photo becomes {images.shape[3]}x"
                f"{images.shape[2]}; export it with --dynamic"
            )
        votes, features = self.session.run(["score_maps", "features"], {"image": images.float().numpy()})
        return ImageMaps(torch.from_numpy(features), torch.from_numpy(votes))

    def _open(self, path: Path) -> Any:
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        try:
            return self._runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no common class of their own
            reason = " ".join(str(error).split())
            raise InputError(f"{path}: ONNX Runtime cannot use it ({reason:.200})") from None

    def _cached(self, model: Model) -> Any:
        path = cache_folder() / f"{FORMAT}-{weights_hash(model.network)}.onnx"
        if path.is_file():
            try:
                return self._open(path)
            except InputError:  # damaged, or of a version that is no longer there
                path.unlink(missing_ok=True)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            export_onnx(model, path)
            return self._open(path)
        except OSError:  # no folder that can be written
            with tempfile.TemporaryDirectory() as folder:
                export_onnx(model, Path(folder) / path.name)
                return self._open(Path(folder) / path.name)


def cache_folder() -> Path:
    """Where exported graphs are kept: inception-rcnn in $XDG_CACHE_HOME, or in .cache in the user's folder."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path(os.path.expanduser("~")) / ".cache") / "inception-rcnn"

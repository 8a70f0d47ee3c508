"""BVLC GoogLeNet weights, stored as an `.npz` by Caffe layer name, into the networks of `detector.googlenet`.

The arrays are named `LAYER.weight` (OIHW) and `LAYER.bias`, for example `inception_3a/3x3_reduce.weight`. Caffe's
input is BGR in 0..255 minus the mean; here it is RGB, so the first convolution's input channels are reversed.
"""

import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from detector.errors import InputError
from detector.googlenet import TABLE_1, GoogLeNet, Trunk

_BRANCHES = {
    "1x1": "conv1x1",
    "3x3_reduce": "conv3x3_reduce",
    "3x3": "conv3x3",
    "5x5_reduce": "conv5x5_reduce",
    "5x5": "conv5x5",
    "pool_proj": "pool_proj",
}
TRUNK_LAYERS = {
    "conv1/7x7_s2": "conv1",
    "conv2/3x3_reduce": "conv2_reduce",
    "conv2/3x3": "conv2",
    **{f"inception_{m}/{b}": f"inception_{m}.{name}" for m in TABLE_1 for b, name in _BRANCHES.items()},
}
"""Caffe layer name -> module name in `Trunk`."""


def load_caffe_weights(network: Trunk | GoogLeNet, path: str | Path) -> None:
    """Copies the weights in `path` into a trunk or a whole classifier, in place.

    Raises:
        InputError: the file is missing, is no `.npz`, or lacks an array, or an array has another shape; the message
            names the file and the array.
    """
    path = Path(path)
    layers = dict(TRUNK_LAYERS)
    if isinstance(network, GoogLeNet):
        layers = {caffe: f"trunk.{name}" for caffe, name in layers.items()} | {"loss3/classifier": "classifier"}
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if not hasattr(arrays, "files"):
                raise ValueError("a single array, not an archive")
            for caffe, name in layers.items():
                module = network.get_submodule(name)
                assert isinstance(module, nn.Conv2d | nn.Linear)
                assert module.bias is not None
                _copy(module.weight, arrays, f"{caffe}.weight", path)
                _copy(module.bias, arrays, f"{caffe}.bias", path)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such weights file; give the .npz of the BVLC GoogLeNet") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a readable .npz of Caffe weights ({error})") from None


def _copy(parameter: nn.Parameter | Tensor, arrays: np.lib.npyio.NpzFile, name: str, path: Path) -> None:
    if name not in arrays.files:
        raise InputError(f"{path}: array '{name}' is missing; this is not a whole BVLC GoogLeNet")
    array = torch.from_numpy(arrays[name].astype(np.float32))
    if name == "conv1/7x7_s2.weight" and array.ndim == 4:
        array = array.flip(1)  # BGR -> RGB
    if array.shape != parameter.shape:
        raise InputError(f"{path}: array '{name}' has shape {tuple(array.shape)}, not {tuple(parameter.shape)}")
    with torch.no_grad():
        parameter.copy_(array)

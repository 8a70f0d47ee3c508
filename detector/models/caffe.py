"""Weights by Caffe layer name (BVLC's GoogLeNet), from and to the networks of this package.

The arrays are named `LAYER.weight` (OIHW) and `LAYER.bias`, for example `inception_3a/3x3_reduce.weight`, in an `.npz`
or in Caffe's own `.caffemodel`. Caffe's input is BGR in 0..255 minus the mean; here it is RGB, so the first
convolution's input channels are reversed.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from detector.errors import InputError
from detector.models.caffemodel import read_caffemodel
from detector.models.classifier import ImageClassifier
from detector.models.googlenet import TABLE_1, GoogLeNetBackbone
from proposals.files import atomic_write
from proposals.npz import read_npz

_BRANCHES = {
    "1x1": "conv1x1",
    "3x3_reduce": "conv3x3_reduce",
    "3x3": "conv3x3",
    "5x5_reduce": "conv5x5_reduce",
    "5x5": "conv5x5",
    "pool_proj": "pool_proj",
}
BACKBONE_LAYERS = {
    "conv1/7x7_s2": "conv1",
    "conv2/3x3_reduce": "conv2_reduce",
    "conv2/3x3": "conv2",
    **{f"inception_{m}/{b}": f"inception_{m}.{name}" for m in TABLE_1 for b, name in _BRANCHES.items()},
}
"""Caffe layer name -> module name in `GoogLeNetBackbone`."""

CLASSIFIER_LAYERS = {caffe: f"backbone.{name}" for caffe, name in BACKBONE_LAYERS.items()} | {
    "loss3/classifier": "classifier"
}
"""Caffe layer name -> module name in `ImageClassifier`."""

AUXILIARY_LAYERS = {
    f"loss{number}/{caffe}": f"auxiliary_{place}.{name}"
    for number, place in ((1, "4a"), (2, "4d"))
    for caffe, name in (("conv", "conv"), ("fc", "fc"), ("classifier", "classifier"))
}
"""The same for the auxiliary heads, which a file may lack."""


def read_caffe_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` or `.caffemodel`, float32, by Caffe layer name.

    Raises:
        InputError: the file is missing or cannot be read; the message names it.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            is_archive = file.read(2) == b"PK" or path.suffix == ".npz"
        if not is_archive:
            return read_caffemodel(path)
        with path.open("rb") as file:
            return {name: array.astype(np.float32) for name, array in read_npz(file).items()}
    except FileNotFoundError:
        raise InputError(f"{path}: no such weights file; give BVLC's GoogLeNet, .npz or .caffemodel") from None
    except InputError:
        raise
    except (OSError, ValueError, TypeError, MemoryError) as error:  # texts are no numbers
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a readable .npz of Caffe weights ({reason})") from None


def load_caffe_weights(network: GoogLeNetBackbone | ImageClassifier, path: str | Path) -> None:
    """Copies the weights in `path` into a backbone or a whole classifier, in place.

    Auxiliary heads are filled where the network and the file have them.

    Raises:
        InputError: the file cannot be read, lacks an array, or an array has another shape or is not finite; the
            message names the file and the array.
    """
    arrays = read_caffe_arrays(path)
    layers = dict(BACKBONE_LAYERS)
    if isinstance(network, ImageClassifier):
        layers = dict(CLASSIFIER_LAYERS)
        if network.auxiliary_4a is not None and "loss1/conv.weight" in arrays:
            layers |= AUXILIARY_LAYERS
    for caffe, name in layers.items():
        module = network.get_submodule(name)
        assert isinstance(module, nn.Conv2d | nn.Linear)
        if module.bias is None:
            raise InputError(f"{path}: weights of the BVLC GoogLeNet, which has no batch norm; this network has")
        for kind, parameter in (("weight", module.weight), ("bias", module.bias)):
            _copy(parameter, arrays, f"{caffe}.{kind}", path)


def _copy(parameter: Tensor, arrays: Mapping[str, np.ndarray], name: str, path: str | Path) -> None:
    if name not in arrays:
        raise InputError(f"{path}: array '{name}' is missing; this is not a whole BVLC GoogLeNet")
    array = torch.from_numpy(arrays[name])
    while array.ndim > parameter.ndim and array.shape[0] == 1:  # older Caffe gives every blob four dimensions
        array = array[0]
    if name == "conv1/7x7_s2.weight" and array.ndim == 4:
        array = array.flip(1)  # BGR -> RGB
    if array.shape != parameter.shape:
        raise InputError(f"{path}: array '{name}' has shape {tuple(array.shape)}, not {tuple(parameter.shape)}")
    if not torch.isfinite(array).all():
        raise InputError(f"{path}: array '{name}' holds numbers that are not finite; the file is damaged")
    with torch.no_grad():
        parameter.copy_(array)


def to_caffe_arrays(network: GoogLeNetBackbone | ImageClassifier) -> dict[str, np.ndarray]:
    """The weights of a network by Caffe layer name, float16; what `load_caffe_weights` reads."""
    layers = dict(BACKBONE_LAYERS)
    if isinstance(network, ImageClassifier):
        layers = CLASSIFIER_LAYERS | (AUXILIARY_LAYERS if network.auxiliary_4a is not None else {})
    arrays = {}
    for caffe, name in layers.items():
        module = network.get_submodule(name)
        assert isinstance(module, nn.Conv2d | nn.Linear)
        weight, bias = module.weight.detach().cpu(), module.bias
        if bias is None:
            raise InputError("a network with batch norm has no place in BVLC's layout; write .safetensors")
        if caffe == "conv1/7x7_s2":
            weight = weight.flip(1)
        arrays[f"{caffe}.weight"] = weight.half().numpy()
        arrays[f"{caffe}.bias"] = bias.detach().cpu().half().numpy()
    return arrays


def save_caffe_arrays(network: GoogLeNetBackbone | ImageClassifier, path: str | Path) -> None:
    """Writes the weights as an `.npz` by Caffe layer name, beside `path` first and then renamed."""
    arrays = to_caffe_arrays(network)
    with atomic_write(Path(path)) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]

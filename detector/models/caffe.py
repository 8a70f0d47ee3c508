"""Weights by Caffe layer name (BVLC's GoogLeNet), to and from the networks of this package.

The arrays are named `LAYER.weight` (OIHW) and `LAYER.bias`, for example `inception_3a/3x3_reduce.weight`, in an `.npz`
or in Caffe's `.caffemodel`. Caffe's input is BGR in 0..255 minus the mean; here it is RGB, so the input channels of the
first convolution are reversed.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from detector.errors import InputError
from detector.models.caffemodel import parse_caffemodel
from detector.models.classifier import ImageClassifier
from detector.models.googlenet import TABLE_1, GoogLeNetBackbone
from proposals.files import atomic_write
from proposals.npz import read_npz

MAX_BYTES = 1 << 30
"""Larger files are refused; BVLC's GoogLeNet has 53 MB with the auxiliary heads."""

_FIRST = "conv1/7x7_s2"
_BRANCHES = {
    "1x1": "conv1x1",
    "3x3_reduce": "conv3x3_reduce",
    "3x3": "conv3x3",
    "5x5_reduce": "conv5x5_reduce",
    "5x5": "conv5x5",
    "pool_proj": "pool_proj",
}
BACKBONE_LAYERS = {
    _FIRST: "conv1",
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
    f"loss{number}/{name}": f"auxiliary_{module}.{name}"
    for number, module in ((1, "4a"), (2, "4d"))
    for name in ("conv", "fc", "classifier")
}
"""The same for the auxiliary heads, which a file may lack."""


def read_caffe_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Reads the arrays of an `.npz` or `.caffemodel`, float32, by Caffe layer name.

    Raises:
        InputError: the file is missing, too large, truncated or of another kind.
    """
    path = Path(path)
    kind = ".npz" if path.suffix == ".npz" else ".caffemodel"
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES >> 20} MiB; BVLC's GoogLeNet has about 50")
        content = path.read_bytes()
        kind = ".npz" if content.startswith(b"PK") else kind
        arrays = read_npz(content) if kind == ".npz" else parse_caffemodel(content)
        return {name: array.astype(np.float32, copy=False) for name, array in arrays.items()}
    except FileNotFoundError:
        raise InputError(f"{path}: no such weights file; give BVLC's GoogLeNet, .npz or .caffemodel") from None
    except (OSError, ValueError, TypeError, MemoryError) as error:  # TypeError: an array of texts
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a readable {kind} of Caffe weights ({reason})") from None


def load_caffe_weights(network: GoogLeNetBackbone | ImageClassifier, path: str | Path) -> None:
    """Copies weights into a backbone or a whole classifier, in place.

    Auxiliary heads are filled if both the network and the file have them.

    Raises:
        InputError: the file cannot be read, lacks an array, or an array has another shape or is not finite.
    """
    arrays = read_caffe_arrays(path)
    for caffe, module in _modules(network, auxiliary="loss1/conv.weight" in arrays).items():
        if module.bias is None:
            raise InputError(f"{path}: weights of the BVLC GoogLeNet, which has no batch norm; this network has")
        for kind, parameter in (("weight", module.weight), ("bias", module.bias)):
            name = f"{caffe}.{kind}"
            if name not in arrays:
                raise InputError(f"{path}: array '{name}' is missing; this is not a whole BVLC GoogLeNet")
            array = torch.from_numpy(arrays[name])
            while array.ndim > parameter.ndim and array.shape[0] == 1:  # older Caffe gives every blob four dimensions
                array = array[0]
            if name == f"{_FIRST}.weight" and array.ndim == 4:
                array = array.flip(1)  # BGR -> RGB
            if array.shape != parameter.shape:
                shapes = f"{tuple(array.shape)}, not {tuple(parameter.shape)}"
                raise InputError(f"{path}: array '{name}' has shape {shapes}")
            if not torch.isfinite(array).all():
                raise InputError(f"{path}: array '{name}' holds numbers that are not finite; the file is damaged")
            with torch.no_grad():
                parameter.copy_(array)


def save_caffe_arrays(network: GoogLeNetBackbone | ImageClassifier, path: str | Path) -> None:
    """Writes the weights of a network by Caffe layer name, float16, to an `.npz`; `load_caffe_weights` reads them.

    Raises:
        InputError: the network has batch norm.
    """
    arrays = {}
    for caffe, module in _modules(network, auxiliary=True).items():
        if module.bias is None:
            raise InputError("Caffe's layout has no batch norm; write .safetensors")
        weight = module.weight.flip(1) if caffe == _FIRST else module.weight
        for kind, tensor in (("weight", weight), ("bias", module.bias)):
            arrays[f"{caffe}.{kind}"] = tensor.detach().cpu().half().numpy()
    with atomic_write(Path(path)) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def _modules(network: GoogLeNetBackbone | ImageClassifier, auxiliary: bool) -> dict[str, nn.Conv2d | nn.Linear]:
    """The layers of a network by Caffe layer name."""
    layers = BACKBONE_LAYERS
    if isinstance(network, ImageClassifier):
        has_auxiliary = auxiliary and network.auxiliary_4a is not None
        layers = CLASSIFIER_LAYERS | (AUXILIARY_LAYERS if has_auxiliary else {})
    return {caffe: network.get_submodule(name) for caffe, name in layers.items()}  # type: ignore[misc]

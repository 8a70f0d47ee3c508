"""Initial weights of a training."""

import logging
from pathlib import Path

from torch import Tensor, nn

from detector.errors import InputError
from detector.models.caffe import load_caffe_weights
from detector.models.files import find_model
from detector.models.googlenet import GoogLeNetBackbone
from detector.models.header import CONFIGS
from detector.models.weights import Model, load_model

log = logging.getLogger(__name__)


def load_initial_weights(network: nn.Module, init: Path | None) -> Model | None:
    """Fills a network with the weights of `init`.

    A model file of any kind gives every tensor that fits; the BVLC weights give the network's `backbone` alone.

    Returns:
        The model of a model file, otherwise None.

    Raises:
        InputError: `init` is missing, cannot be read, or has another backbone.
    """
    if init is None:
        raise InputError("a new run needs initial weights: give --init with the BVLC weights or a model file")
    init = find_model(init)
    if init.suffix != ".safetensors":
        backbone = network.get_submodule("backbone")
        if not isinstance(backbone, GoogLeNetBackbone):
            raise InputError(f"{init}: weights of the BVLC GoogLeNet, but the recipe has another backbone")
        load_caffe_weights(backbone, init)
        return None
    model = load_model(init, tuple(CONFIGS))
    loaded: dict[str, Tensor] = model.network.state_dict()
    expected = network.state_dict()
    matching = {k: v for k, v in loaded.items() if k in expected and expected[k].shape == v.shape}
    missing = next((k for k in expected if k.startswith("backbone.") and k not in matching), None)
    if missing is not None:
        raise InputError(f"{init}: has another backbone than the recipe; tensor '{missing}' is missing")
    log.info("%d of %d tensors from %s", len(matching), len(expected), init)
    network.load_state_dict(matching, strict=False)
    return model

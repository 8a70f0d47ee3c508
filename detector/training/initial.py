"""Weights that a training starts from."""

import logging
import re
from pathlib import Path

from torch import Tensor, nn

from detector.errors import InputError
from detector.models.backbone import Backbone
from detector.models.caffe import load_caffe_weights
from detector.models.files import CONFIGS
from detector.models.googlenet import GoogLeNetBackbone
from detector.models.weights import load_model

log = logging.getLogger(__name__)


def initialize_backbone(network: nn.Module, backbone: Backbone, init: Path | None) -> None:
    """Fills a network from `init`: a model file of any kind gives all tensors that fit, BVLC's weights the backbone.

    Raises:
        InputError: there is no `init`, it cannot be read, or it does not fit.
    """
    if init is None:
        raise InputError("a new run needs weights to start from: give --init with the BVLC weights or a model file")
    if init.suffix != ".safetensors":
        if not isinstance(backbone, GoogLeNetBackbone):
            raise InputError(f"{init}: weights of the BVLC GoogLeNet; the recipe's backbone is another network")
        load_caffe_weights(backbone, init)
        return
    place = next(name for name, child in network.named_children() if child is backbone)
    loaded: dict[str, Tensor] = load_model(init, tuple(CONFIGS)).network.state_dict()
    source = {re.sub(r"^(backbone|backbone)\.", f"{place}.", name): tensor for name, tensor in loaded.items()}
    own = network.state_dict()
    matching = {k: v for k, v in source.items() if k in own and own[k].shape == v.shape}
    missing = next((k for k in own if k.startswith(f"{place}.") and k not in matching), None)
    if missing is not None:
        raise InputError(f"{init}: a model of another backbone than the recipe's; '{missing}' is not in it")
    log.info("%d of %d tensors from %s", len(matching), len(own), init)
    network.load_state_dict(matching, strict=False)

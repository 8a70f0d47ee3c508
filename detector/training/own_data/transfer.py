"""From a trained detector to one of other classes: what it knows of them is kept."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from detector.data.class_names import same_classes
from detector.network import RegionClassifier
from detector.weights import Model

_NOISE = 0.001
"""Standard deviation of what tells one new class from another at the start."""


@dataclass(frozen=True)
class Transfer:
    """Which classes start from what a trained model knows: the model's class for each, None for a new one."""

    sources: dict[str, str | None]

    @property
    def known(self) -> tuple[str, ...]:
        return tuple(name for name, source in self.sources.items() if source is not None)

    @property
    def new(self) -> tuple[str, ...]:
        return tuple(name for name, source in self.sources.items() if source is None)


def match_classes(class_names: Sequence[str], model: Model) -> Transfer:
    """Which of a model's classes each of `class_names` is, by name (`detector.data.class_names.same_classes`)."""
    same = same_classes(class_names, model.class_names)
    return Transfer({name: same.get(name) for name in class_names})


def transfer_weights(network: RegionClassifier, class_names: Sequence[str], model: Model) -> None:
    """Fills a network of `class_names` from a model of other classes.

    The trunk, the background and the box offsets, which all classes share, are the model's. So are the maps of a class
    that the model knows; a new one starts as the mean of all the model's classes (something that is no background) with
    a little noise, drawn from torch's generator.

    Raises:
        RuntimeError: the model has another trunk or number of bins.
    """
    source = model.network
    assert isinstance(source, RegionClassifier)
    network.trunk.load_state_dict(source.trunk.state_dict())
    place = {name: label + 1 for label, name in enumerate(model.class_names)}
    rows = [place[name] if name is not None else None for name in match_classes(class_names, model).sources.values()]
    with torch.no_grad():
        for own, other in ((network.maps.weight, source.maps.weight), (network.maps.bias, source.maps.bias)):
            assert own is not None
            assert other is not None
            own.copy_(_rows(other, source.num_classes, network.bins**2, rows).to(own))


def _rows(values: Tensor, classes: int, bins: int, rows: Sequence[int | None]) -> Tensor:
    """Weights or biases of the maps for other classes; channels are ordered (bin, background, classes, 4 offsets)."""
    votes = values.detach().float().view(bins, classes + 5, *values.shape[1:])
    mean = votes[:, 1 : classes + 1].mean(dim=1)
    new = [mean + _NOISE * torch.randn_like(mean) if row is None else votes[:, row] for row in rows]
    offsets = votes[:, classes + 1 :].unbind(1)
    return torch.stack((votes[:, 0], *new, *offsets), dim=1).flatten(0, 1)

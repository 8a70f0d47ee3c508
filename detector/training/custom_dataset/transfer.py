"""From a trained detector to one of other classes: what it knows of them is kept."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from detector.models.rfcn import RFCN
from detector.models.weights import Model
from detector.structures.class_names import same_classes

_NOISE = 0.001
"""Standard deviation of what tells one new class from another at the start."""


@dataclass(frozen=True)
class Transfer:
    """What becomes of the classes that a trained model knows.

    Attributes:
        sources: for each class to learn, the model's class that it starts from; None for a new one.
        others: the model's other classes. They are kept as kinds of background: where all photos show an object of the
            classes to learn, nothing else could tell it from what is not on them.
    """

    sources: dict[str, str | None]
    extra_background_classes: tuple[str, ...]

    @property
    def known(self) -> tuple[str, ...]:
        return tuple(name for name, source in self.sources.items() if source is not None)

    @property
    def new(self) -> tuple[str, ...]:
        return tuple(name for name, source in self.sources.items() if source is None)


def match_classes(class_names: Sequence[str], model: Model) -> Transfer:
    """Which of a model's classes each of `class_names` is, by name (`detector.structures.class_names.same_classes`)."""
    every = (*model.class_names, *model.extra_background_classes)
    same = same_classes(class_names, every)
    extra_background_classes = tuple(name for name in every if name not in same.values())
    return Transfer({name: same.get(name) for name in class_names}, extra_background_classes)


def transfer_weights(network: RFCN, class_names: Sequence[str], model: Model) -> None:
    """Fills a network of `class_names`, and of the others that `match_classes` finds, from a model of other classes.

    The backbone, the background and the box deltas, which all classes share, are the model's. So are the maps of a
    class that the model knows; a new one starts as the mean of all the model's classes with a little noise, drawn
    from torch's generator.

    Raises:
        RuntimeError: the model has another backbone or number of bins.
    """
    source = model.network
    assert isinstance(source, RFCN)
    network.backbone.load_state_dict(source.backbone.state_dict())
    transfer = match_classes(class_names, model)
    place = {name: row for row, name in enumerate((*model.class_names, *model.extra_background_classes), start=1)}
    rows = [
        None if name is None else place[name]
        for name in (*transfer.sources.values(), *transfer.extra_background_classes)
    ]
    with torch.no_grad():
        for own, other in (
            (network.score_conv.weight, source.score_conv.weight),
            (network.score_conv.bias, source.score_conv.bias),
        ):
            assert own is not None
            assert other is not None
            own.copy_(_rows(other, len(place), network.bins**2, rows).to(own))


def _rows(values: Tensor, classes: int, bins: int, rows: Sequence[int | None]) -> Tensor:
    """Weights or biases of the maps for other classes; channels are ordered (bin, background, classes, 4 deltas)."""
    votes = values.detach().float().view(bins, classes + 5, *values.shape[1:])
    mean = votes[:, 1 : classes + 1].mean(dim=1)
    new = [mean + _NOISE * torch.randn_like(mean) if row is None else votes[:, row] for row in rows]
    box_deltas = votes[:, classes + 1 :].unbind(1)
    return torch.stack((votes[:, 0], *new, *box_deltas), dim=1).flatten(0, 1)

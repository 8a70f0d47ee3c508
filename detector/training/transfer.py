"""Transfer of a trained R-FCN's weights to other classes."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from detector.models.rfcn import RFCN
from detector.models.weights import Model
from detector.structures.class_names import same_classes
from proposals.multibox.network import MultiBoxHead

_NOISE = 0.001
"""Standard deviation of the noise by which new classes differ before the training."""


@dataclass(frozen=True)
class Transfer:
    """The source class of each new class.

    Attributes:
        sources: for each new class, the model's class that it starts from; None if the model has no such class.
        extra_background_classes: the model's remaining classes. They are kept as kinds of background, because if every
            photo shows an object of the new classes, nothing else tells these objects from the model's other classes.
    """

    sources: dict[str, str | None]
    extra_background_classes: tuple[str, ...]


def match_classes(class_names: Sequence[str], model: Model) -> Transfer:
    """Matches `class_names` to a model's classes by name (`detector.structures.class_names.same_classes`)."""
    available = (*model.class_names, *model.extra_background_classes)
    matches = same_classes(class_names, available)
    extra_background_classes = tuple(name for name in available if name not in matches.values())
    return Transfer({name: matches.get(name) for name in class_names}, extra_background_classes)


def transfer_weights(network: RFCN, class_names: Sequence[str], model: Model) -> None:
    """Fills a network of `class_names` from a model, and its extra background classes, if it has any, with those of
    `match_classes`.

    The backbone, the background and the box deltas, which all classes share, are the model's, and so are the score maps
    of the classes that it has. A new class starts as the mean of the model's classes plus a little noise from torch's
    generator. Maps for another number of bins are area-weighted means of the model's. A MultiBox head may have other
    grids than the model's (`transfer_multibox`).

    Raises:
        RuntimeError: the model has another backbone.
    """
    source = model.network
    assert isinstance(source, RFCN)
    network.backbone.load_state_dict(source.backbone.state_dict())
    transfer = match_classes(class_names, model)
    extra = transfer.extra_background_classes if network.extra_background_classes else ()
    available = (*model.class_names, *model.extra_background_classes)
    rows = [None if name is None else 1 + available.index(name) for name in (*transfer.sources.values(), *extra)]
    with torch.no_grad():
        for name, parameter in network.score_conv.named_parameters():
            scores, box_deltas = source.split_maps(source.score_conv.get_parameter(name).detach().float(), dim=0)
            scores = _rebin(_select_classes(scores, rows), network.bins)
            box_deltas = _rebin(box_deltas, network.delta_bins or network.bins)
            parameter.copy_(network.join_maps(scores, box_deltas, dim=0).to(parameter))
    if network.multibox is not None and source.multibox is not None:
        transfer_multibox(network.multibox, source.multibox)


def transfer_multibox(head: MultiBoxHead, source: MultiBoxHead) -> None:
    """Fills a head of the grid form from one that has other grids and is otherwise the same.

    A grid of both heads keeps its layer and its priors. A new grid starts with the layer of the nearest grid, since a
    layer predicts boxes in units of its cells, and without priors.
    """
    if dataclasses.replace(source.config, grids=head.config.grids) != head.config or head.config.form != "grid":
        return
    head.reduce.load_state_dict(source.reduce.state_dict())
    head.mix.load_state_dict(source.mix.state_dict())
    grids = source.config.grids
    known = dict(zip(grids, source.priors.split(_priors(source)), strict=True))
    for grid, layer, priors in zip(head.config.grids, head.predict, head.priors.split(_priors(head)), strict=True):
        same_kind = [g for g in grids if (g == 1) == (grid == 1)]
        nearest = min(same_kind, key=lambda g: abs(math.log(g / grid)), default=None)
        if nearest is not None:
            layer.load_state_dict(source.predict[grids.index(nearest)].state_dict())
        priors.copy_(known.get(grid, torch.zeros_like(priors)))


def _priors(head: MultiBoxHead) -> list[int]:
    """Number of priors of each grid."""
    return [g * g * head.config.cell_priors(g) for g in head.config.grids]


def _select_classes(maps: Tensor, rows: Sequence[int | None]) -> Tensor:
    """The maps (bins * bins, 1 + classes, ...) of other classes, of which `rows` says the row in `maps`, or None for a
    new class."""
    mean = maps[:, 1:].mean(dim=1)
    selected = [mean + _NOISE * torch.randn_like(mean) if row is None else maps[:, row] for row in rows]
    return torch.stack((maps[:, 0], *selected), dim=1)


def _rebin(maps: Tensor, bins: int) -> Tensor:
    """(n * n, ...) -> (bins * bins, ...): each new bin is the mean of the old ones that it covers, by area."""
    old = math.isqrt(len(maps))
    if old == bins:
        return maps
    edges, old_edges = torch.linspace(0, 1, bins + 1), torch.linspace(0, 1, old + 1)
    low, high = torch.maximum(edges[:-1, None], old_edges[:-1]), torch.minimum(edges[1:, None], old_edges[1:])
    share = (high - low).clamp(min=0) * bins  # (bins, old), rows sum to 1
    return torch.einsum("ai,bj,ij...->ab...", share, share, maps.unflatten(0, (old, old))).flatten(0, 1)

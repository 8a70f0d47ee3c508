"""MultiBox as a detector's source of boxes: on the backbone of a region classifier, or a network of its own."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from detector.config import MultiBoxModelConfig
from detector.errors import InputError
from detector.inference.rfcn_scorer import ImageFeatures, RFCNFeatures, RFCNScorer, make_scorer
from detector.models.files import find_model
from detector.models.rfcn import RFCN
from detector.models.weights import load_model, weights_hash
from detector.ops.devices import resolve_device
from detector.ops.precision import fast_dtype
from detector.structures.image import Image
from proposals import Proposals, Proposer, SelectiveSearch, SelectiveSearchConfig, UnionProposer, merge_proposals
from proposals.multibox.network import MultiBox
from proposals.multibox.proposer import MultiBoxProposer
from proposals.types import checked_image


class SharedMultiBox:
    """Proposals of a region classifier's MultiBox head, from the features on which regions are classified.

    Args:
        limit: number of boxes.

    Raises:
        InputError: the model has no MultiBox head.
    """

    def __init__(self, scorer: RFCNScorer, limit: int) -> None:
        if scorer.network.multibox is None:
            raise InputError("the model has no MultiBox head; use Selective Search")
        self.scorer, self.limit = scorer, limit

    @property
    def fingerprint(self) -> str:
        content = f"multibox {weights_hash(self.scorer.network)} {self.scorer.config.input} {self.limit}"
        return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()

    def __call__(self, image: np.ndarray) -> Proposals:
        return self.scorer.encode(Image(checked_image(image), "image")).propose(self.limit)


CachedProposals = Mapping[int, Proposals]
"""Proposals for an image that are known already, by the `id` of the proposer."""


def propose(proposer: Proposer, image: Image, views: Sequence[ImageFeatures]) -> Proposals:
    """Proposals for an image that models have looked at already: a backbone that did its pass is not run again."""
    return propose_batch(proposer, [image], [views], [{}])[0]


def propose_batch(
    proposer: Proposer,
    images: Sequence[Image],
    views: Sequence[Sequence[ImageFeatures]],
    known: Sequence[CachedProposals],
) -> list[Proposals]:
    """The same for several images: their views, and what is known of their proposals (`propose_ahead`)."""
    if isinstance(proposer, UnionProposer):
        found = [propose_batch(one, images, views, known) for one in proposer.proposers]
        return [merge_proposals(own, proposer.limit, proposer.overlap) for own in zip(*found, strict=True)]
    if isinstance(proposer, SharedMultiBox):
        own = [v for seen in views for v in seen if isinstance(v, RFCNFeatures) and v.scorer is proposer.scorer]
        if len(own) == len(images):
            return proposer.scorer.propose(own, proposer.limit)
    if isinstance(proposer, MultiBoxProposer):
        return proposer.propose([image.pixels for image in images])
    return [
        before[id(proposer)] if id(proposer) in before else proposer(image.pixels)
        for image, before in zip(images, known, strict=True)
    ]


def propose_ahead(proposer: Proposer, image: Image) -> dict[int, Proposals]:
    """The proposals of those sources that need no network, which may be made on other threads."""
    if isinstance(proposer, UnionProposer):
        parts = [propose_ahead(one, image) for one in proposer.proposers]
        return {key: found for part in parts for key, found in part.items()}
    if isinstance(proposer, SharedMultiBox | MultiBoxProposer):
        return {}
    return {id(proposer): proposer(image.pixels)}


def without_network(proposer: Proposer) -> Proposer | None:
    """The first of a proposer's sources that needs no network; None: all do."""
    if isinstance(proposer, UnionProposer):
        return next((own for own in map(without_network, proposer.proposers) if own is not None), None)
    return None if isinstance(proposer, SharedMultiBox | MultiBoxProposer) else proposer


def multibox_proposer(
    model: str | Path | None, limit: int, preset: str | None = None, seed: int = 0, device: str = "auto"
) -> Proposer:
    """MultiBox, alone or merged with Selective Search at doubled superpixels (GoogLeNet, section 8).

    Args:
        model, limit: as in `load_multibox`.
        preset: of Selective Search, with `seed`; None: MultiBox alone.

    Raises:
        InputError: the model cannot be used, has no MultiBox, or there is no such device.
        ValueError: an unknown preset.
    """
    multibox = load_multibox(model, limit, resolve_device(device))
    if preset is None:
        return multibox
    return union(multibox, SelectiveSearchConfig.preset(preset, seed=seed))


def union(multibox: Proposer, config: SelectiveSearchConfig, limit: int | None = None) -> UnionProposer:
    """MultiBox merged with Selective Search, whose superpixels are doubled; at most `limit` boxes."""
    doubled = replace(config, superpixel_scale=2 * config.superpixel_scale)
    return UnionProposer([multibox, SelectiveSearch(doubled, torch.get_num_threads())], limit)


def load_multibox(model: str | Path | None, limit: int, device: torch.device) -> Proposer:
    """MultiBox of a model file, or of the model that comes with the package.

    Args:
        model: a file, or the name of an installed model: a region classifier with a MultiBox head, or a network of
            its own.
        limit: number of boxes.

    Raises:
        InputError: the file cannot be used, or the model has no MultiBox.
    """
    loaded = load_model(model, ("regions", "multibox"))
    dtype = fast_dtype(str(device))
    if isinstance(loaded.network, MultiBox) and isinstance(loaded.config, MultiBoxModelConfig):
        return MultiBoxProposer(loaded.network.to(device), loaded.config.size, limit, dtype)
    assert isinstance(loaded.network, RFCN)
    if loaded.network.multibox is None:
        raise InputError(f"{find_model(model)}: the model has no MultiBox head; train one, or use Selective Search")
    scorer = make_scorer(loaded, device, dtype)
    assert isinstance(scorer, RFCNScorer)
    return SharedMultiBox(scorer, limit)

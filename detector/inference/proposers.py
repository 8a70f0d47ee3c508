"""Where a detector's proposals come from: Selective Search, a MultiBox head on its backbone, a separate MultiBox."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from detector.config import MultiBoxModelConfig
from detector.errors import InputError
from detector.inference.rfcn_scorer import ImageFeatures, RegionScorer, RFCNFeatures, RFCNScorer, make_scorer
from detector.models.files import find_model
from detector.models.weights import load_model, weights_hash
from detector.ops.devices import resolve_device
from detector.ops.precision import fast_dtype
from detector.structures.image import Image
from proposals import Proposals, Proposer, SelectiveSearch, SelectiveSearchConfig, UnionProposer, merge_proposals
from proposals.multibox.network import MultiBox
from proposals.multibox.proposer import MultiBoxProposer
from proposals.types import checked_image


class SharedMultiBox:
    """Proposals of an R-FCN model's MultiBox head, from the features that its scores come from.

    Args:
        scorer: of a model with a MultiBox head (`first_with_multibox`).
        limit: number of boxes.
    """

    def __init__(self, scorer: RFCNScorer, limit: int) -> None:
        self.scorer, self.limit = scorer, limit

    @property
    def fingerprint(self) -> str:
        content = f"multibox {weights_hash(self.scorer.network)} {self.scorer.config.input} {self.limit}"
        return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()

    def __call__(self, image: np.ndarray) -> Proposals:
        return self.scorer.encode(Image(checked_image(image), "image")).propose(self.limit)


CachedProposals = Mapping[int, Proposals]
"""Proposals for an image that were made ahead, by the `id` of their proposer."""


def propose_batch(
    proposer: Proposer,
    images: Sequence[Image],
    features: Sequence[Sequence[ImageFeatures]],
    cached: Sequence[CachedProposals],
) -> list[Proposals]:
    """Proposals for several images.

    Args:
        features: of each image by each model; a MultiBox head on one of these models reuses them.
        cached: proposals of each image that were made ahead (`propose_ahead`).
    """
    if isinstance(proposer, UnionProposer):
        by_source = [propose_batch(source, images, features, cached) for source in proposer.proposers]
        return [merge_proposals(parts, proposer.limit) for parts in zip(*by_source, strict=True)]
    if isinstance(proposer, SharedMultiBox):
        reusable = [
            encoded
            for by_model in features
            for encoded in by_model
            if isinstance(encoded, RFCNFeatures) and encoded.scorer is proposer.scorer
        ]
        if len(reusable) == len(images):
            return proposer.scorer.propose(reusable, proposer.limit)
    if isinstance(proposer, MultiBoxProposer):
        return proposer.propose([image.pixels for image in images])
    return [
        made_ahead[id(proposer)] if id(proposer) in made_ahead else proposer(image.pixels)
        for image, made_ahead in zip(images, cached, strict=True)
    ]


def with_scorers(proposer: Proposer, scorers: Mapping[RFCNScorer, RFCNScorer]) -> Proposer:
    """The proposer with these scorers for its MultiBox heads in place of the ones that they are keyed by."""
    if isinstance(proposer, UnionProposer):
        return UnionProposer([with_scorers(part, scorers) for part in proposer.proposers], proposer.limit)
    if isinstance(proposer, SharedMultiBox) and proposer.scorer in scorers:
        return SharedMultiBox(scorers[proposer.scorer], proposer.limit)
    return proposer


def sources(proposer: Proposer) -> list[Proposer]:
    """The proposers that a proposer merges, at any depth; itself if it is not a union."""
    if isinstance(proposer, UnionProposer):
        return [source for part in proposer.proposers for source in sources(part)]
    return [proposer]


def propose_ahead(proposer: Proposer, image: Image) -> dict[int, Proposals]:
    """Proposals of the sources that need no network; may run on any thread."""
    return {id(source): source(image.pixels) for source in _without_network(proposer)}


def without_network(proposer: Proposer) -> Proposer | None:
    """The first of a proposer's sources that needs no network; None if all need one."""
    return next(_without_network(proposer), None)


def _without_network(proposer: Proposer) -> Iterator[Proposer]:
    return (source for source in sources(proposer) if not isinstance(source, SharedMultiBox | MultiBoxProposer))


def first_with_multibox(scorers: Sequence[RegionScorer]) -> RFCNScorer:
    """The first scorer with a MultiBox head.

    Raises:
        InputError: no scorer has one.
    """
    for scorer in scorers:
        if isinstance(scorer, RFCNScorer) and scorer.network.multibox is not None:
            return scorer
    raise InputError("no model here has a MultiBox head; take boxes from selective_search")


def multibox_proposer(
    model: str | Path | None, limit: int, preset: str | None = None, seed: int = 0, device: str = "auto"
) -> Proposer:
    """MultiBox, alone or merged with Selective Search at doubled superpixels (GoogLeNet, section 8).

    Args:
        model, limit: as in `load_multibox`.
        preset: of Selective Search, with `seed`; None: MultiBox alone.

    Raises:
        InputError: the model cannot be used or has no MultiBox, or the device cannot be used.
        ValueError: the preset is unknown.
    """
    multibox = load_multibox(model, limit, resolve_device(device))
    if preset is None:
        return multibox
    return multibox_union(multibox, SelectiveSearchConfig.preset(preset, seed=seed))


def multibox_union(multibox: Proposer, config: SelectiveSearchConfig, limit: int | None = None) -> UnionProposer:
    """MultiBox merged with Selective Search at doubled superpixels; at most `limit` boxes."""
    doubled = replace(config, superpixel_scale=2 * config.superpixel_scale)
    return UnionProposer([multibox, SelectiveSearch(doubled, torch.get_num_threads())], limit)


def load_multibox(model: str | Path | None, limit: int, device: torch.device) -> Proposer:
    """Loads MultiBox.

    Args:
        model: a file, or the name of an installed model: an R-FCN model with a MultiBox head, or a separate MultiBox
            network; None: the installed default model.
        limit: number of boxes.

    Raises:
        InputError: the file cannot be used, or the model has no MultiBox.
    """
    loaded = load_model(model, ("regions", "multibox"))
    dtype = fast_dtype(str(device))
    if isinstance(loaded.network, MultiBox) and isinstance(loaded.config, MultiBoxModelConfig):
        return MultiBoxProposer(loaded.network.to(device), loaded.config.size, limit, dtype)
    try:
        return SharedMultiBox(first_with_multibox([make_scorer(loaded, device, dtype)]), limit)
    except InputError as error:
        raise InputError(f"{find_model(model)}: {error}, or train a MultiBox head") from None

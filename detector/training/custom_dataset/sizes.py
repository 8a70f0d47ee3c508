"""The size of the network's input and the smallest proposal, chosen from the sizes of the objects."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from detector.config import InputConfig, ModelConfig
from detector.data.annotations import Sample
from detector.ops.transforms import SIDE_MULTIPLE
from detector.training.custom_dataset.plan import Settings

_SMALL = 25
"""Percentage of the objects that count as small."""
_SEEN_SIDE = 48
"""Pixels of the input for a small object (the root of its area): three cells of the feature maps."""
_MAX_SIDE = 800
"""Largest short side that is chosen; a step takes 2.8 times as long as at 480 pixels."""
_SMALLEST = 2
"""Percentage of the objects that may be narrower than the smallest proposal allows."""
_PROPOSED_SIDE = 0.7
"""Short side of the smallest proposal, as part of an object's."""
_MIN_PROPOSED_SIDE = 4


def choose_sizes(config: ModelConfig, samples: Sequence[Sample], settings: Settings) -> tuple[ModelConfig, list[str]]:
    """The configuration of a model for the objects in photos.

    The input grows until three of four objects have 48 pixels, at most to a short side of 800. Selective Search keeps
    smaller boxes if objects are narrow. With `keep` neither changes, because the old classes are used to both.

    Args:
        config: of the model to start from.
        settings: a given `size` is the input's.

    Returns:
        The configuration, and its changes in words, a line each.
    """
    notes: list[str] = []
    sides = np.concatenate([s.annotations.boxes[:, 2:] - s.annotations.boxes[:, :2] for s in samples])
    size = settings.size or config.input.short_side
    if len(sides) and not settings.keep:
        smallest = max(_MIN_PROPOSED_SIDE, int(_PROPOSED_SIDE * np.percentile(sides.min(axis=1), _SMALLEST)))
        if smallest < config.proposals.minimum_box_side:
            proposals = dataclasses.replace(config.proposals, minimum_box_side=smallest)
            config = dataclasses.replace(config, proposals=proposals)
            notes.append(f"proposals of at least {smallest} pixels, because some objects are narrow")
        photo_sides = np.repeat([min(s.annotations.image_size) for s in samples], [len(s.annotations) for s in samples])
        small = float(np.percentile(np.sqrt(sides.prod(axis=1)) / photo_sides, _SMALL))  # of a photo's short side
        needed = min(_MAX_SIDE, SIDE_MULTIPLE * math.ceil(_SEEN_SIDE / small / SIDE_MULTIPLE))
        if settings.size is None and needed > size:
            size = needed
            notes.append(f"an input of {size} pixels, because a quarter of the objects are small")
        if small * size < _SEEN_SIDE / 2:
            tile = round(small * float(np.median(photo_sides)) * size / _SEEN_SIDE)
            notes.append(
                f"a quarter of the objects have less than {math.ceil(small * size)} pixels of the input: expect low "
                f"accuracy, or train on crops of about {tile} pixels and detect with --tile {tile}"
            )
    if size != config.input.short_side:
        long_side = round(config.input.long_side * size / config.input.short_side)
        config = dataclasses.replace(config, input=InputConfig(size, long_side))
    return config, notes

"""The result of each detector stage for each annotated object, which explains misses."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from detector.data.ground_truth import column
from proposals.types import reduce_by_fields

COVERED = 0.5
"""A proposal or a region with this IoU or more covers an object."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ObjectTraces:
    """Proposals and scores of each object of a ground truth, in its order. Immutable: the arrays are read-only copies.

    Attributes:
        proposal_overlaps: (N,) float64, highest IoU with a proposal.
        sources: (N,) int64, source of that proposal as an index into `source_names`; -1 if there is none.
        source_names: of proposals, such as `selective_search` and `multibox`.
        region_scores: (N,) float64, highest score of the object's class among the regions, moved by box regression,
            that cover it (IoU of at least 0.5), before non-maximum suppression; 0 if there is no such region.

    Raises:
        InputError: the columns have different lengths or are not numbers.
    """

    proposal_overlaps: npt.NDArray[np.float64]
    sources: npt.NDArray[np.int64]
    source_names: tuple[str, ...]
    region_scores: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        kinds = {"proposal_overlaps": np.float64, "sources": np.int64, "region_scores": np.float64}
        for name, dtype in kinds.items():
            object.__setattr__(self, name, column(name, getattr(self, name), dtype, (len(self.sources),)))

    __reduce__ = reduce_by_fields

    def __len__(self) -> int:
        return len(self.sources)

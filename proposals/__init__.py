"""Class-agnostic box proposals: where in an image an object may be."""

from proposals.cache import ProposalCache
from proposals.config import SelectiveSearchConfig
from proposals.files import atomic_write
from proposals.selective_search import SelectiveSearch, warm_up
from proposals.types import Proposals, Proposer

__all__ = [
    "ProposalCache",
    "Proposals",
    "Proposer",
    "SelectiveSearch",
    "SelectiveSearchConfig",
    "atomic_write",
    "warm_up",
]

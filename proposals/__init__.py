"""Class-agnostic box proposals: where in an image an object may be."""

from typing import TYPE_CHECKING, Any

from proposals.files import atomic_write
from proposals.types import Proposals, Proposer

if TYPE_CHECKING:
    from proposals.cache import ProposalCache
    from proposals.config import SelectiveSearchConfig
    from proposals.selective_search import SelectiveSearch, warm_up

__all__ = [
    "ProposalCache",
    "Proposals",
    "Proposer",
    "SelectiveSearch",
    "SelectiveSearchConfig",
    "atomic_write",
    "warm_up",
]

_MODULES = {
    "ProposalCache": "cache",
    "SelectiveSearch": "selective_search",
    "SelectiveSearchConfig": "config",
    "warm_up": "selective_search",
}


def __getattr__(name: str) -> Any:
    """Imports the engine, and with it Numba, at first use: the types and file functions do without."""
    if name in _MODULES:
        import importlib

        return getattr(importlib.import_module(f"proposals.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'proposals' has no attribute '{name}'")

# ruff: noqa: F401
"""Class-agnostic box proposals: where in an image an object may be."""

import importlib
from typing import TYPE_CHECKING, Any

from proposals.files import atomic_write
from proposals.types import Proposals, Proposer

if TYPE_CHECKING:
    from proposals.batch import FileProposals, propose_files
    from proposals.cache import ProposalCache
    from proposals.config import PRESETS, SelectiveSearchConfig
    from proposals.evaluation import Coverage, ProposalEvaluation
    from proposals.export import export_proposals
    from proposals.hierarchy import Hierarchy
    from proposals.selective_search import SelectiveSearch, warm_up
    from proposals.union import UnionProposer, merge_proposals

_MODULES = {
    "batch": ("FileProposals", "propose_files"),
    "cache": ("ProposalCache",),
    "config": ("PRESETS", "SelectiveSearchConfig"),
    "evaluation": ("Coverage", "ProposalEvaluation"),
    "export": ("export_proposals",),
    "hierarchy": ("Hierarchy",),
    "selective_search": ("SelectiveSearch", "warm_up"),
    "union": ("UnionProposer", "merge_proposals"),
}
__all__ = ["Proposals", "Proposer", "atomic_write", *(name for names in _MODULES.values() for name in names)]


def __getattr__(name: str) -> Any:
    """Imports a module at first use, so that the types and file functions load without OpenCV and Numba."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"proposals.{module}"), name)
    raise AttributeError(f"module 'proposals' has no attribute '{name}'")

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
    from proposals.methods import METHODS, make_proposer
    from proposals.selective_search import SelectiveSearch, warm_up
    from proposals.union import UnionProposer, merge_proposals

__all__ = [
    "METHODS",
    "PRESETS",
    "Coverage",
    "FileProposals",
    "Hierarchy",
    "ProposalCache",
    "ProposalEvaluation",
    "Proposals",
    "Proposer",
    "SelectiveSearch",
    "SelectiveSearchConfig",
    "UnionProposer",
    "atomic_write",
    "export_proposals",
    "make_proposer",
    "merge_proposals",
    "propose_files",
    "warm_up",
]

_MODULES = {
    "batch": ("FileProposals", "propose_files"),
    "cache": ("ProposalCache",),
    "config": ("PRESETS", "SelectiveSearchConfig"),
    "evaluation": ("Coverage", "ProposalEvaluation"),
    "export": ("export_proposals",),
    "hierarchy": ("Hierarchy",),
    "methods": ("METHODS", "make_proposer"),
    "selective_search": ("SelectiveSearch", "warm_up"),
    "union": ("UnionProposer", "merge_proposals"),
}


def __getattr__(name: str) -> Any:
    """Imports a module at first use, so that the types and file functions load without OpenCV and Numba."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"proposals.{module}"), name)
    raise AttributeError(f"module 'proposals' has no attribute '{name}'")

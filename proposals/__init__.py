"""Class-agnostic box proposals: where in an image an object may be."""

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
    "Coverage": "evaluation",
    "FileProposals": "batch",
    "Hierarchy": "hierarchy",
    "METHODS": "methods",
    "PRESETS": "config",
    "ProposalCache": "cache",
    "ProposalEvaluation": "evaluation",
    "SelectiveSearch": "selective_search",
    "SelectiveSearchConfig": "config",
    "export_proposals": "export",
    "UnionProposer": "union",
    "make_proposer": "methods",
    "merge_proposals": "union",
    "propose_files": "batch",
    "warm_up": "selective_search",
}


def __getattr__(name: str) -> Any:
    """Imports the engine, and with it Numba, at first use: the types and file functions do without."""
    if name in _MODULES:
        import importlib

        return getattr(importlib.import_module(f"proposals.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'proposals' has no attribute '{name}'")

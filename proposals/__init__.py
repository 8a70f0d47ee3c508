"""Class-agnostic box proposals: where in an image an object may be."""

import importlib
from typing import TYPE_CHECKING, Any

from proposals.files import atomic_write
from proposals.types import Proposals, Proposer, Regions

__version__ = "0.1.0"
"""The version of both packages; the two pyproject.toml read it here."""

if TYPE_CHECKING:  # "as" makes them public for type checkers
    from proposals.batch import FileProposals as FileProposals
    from proposals.batch import propose_files as propose_files
    from proposals.cache import ProposalCache as ProposalCache
    from proposals.config import PRESETS as PRESETS
    from proposals.config import SelectiveSearchConfig as SelectiveSearchConfig
    from proposals.evaluation import Coverage as Coverage
    from proposals.evaluation import ProposalEvaluation as ProposalEvaluation
    from proposals.export import export_proposals as export_proposals
    from proposals.hierarchy import Hierarchy as Hierarchy
    from proposals.reading import ExportedProposals as ExportedProposals
    from proposals.reading import read_proposals as read_proposals
    from proposals.selective_search import SelectiveSearch as SelectiveSearch
    from proposals.selective_search import warm_up as warm_up
    from proposals.union import UnionProposer as UnionProposer
    from proposals.union import merge_proposals as merge_proposals


_MODULES = {
    "batch": ("FileProposals", "propose_files"),
    "cache": ("ProposalCache",),
    "config": ("PRESETS", "SelectiveSearchConfig"),
    "evaluation": ("Coverage", "ProposalEvaluation"),
    "export": ("export_proposals",),
    "hierarchy": ("Hierarchy",),
    "reading": ("ExportedProposals", "read_proposals"),
    "selective_search": ("SelectiveSearch", "warm_up"),
    "union": ("UnionProposer", "merge_proposals"),
}
__all__ = ["Proposals", "Proposer", "Regions", "atomic_write", *(name for names in _MODULES.values() for name in names)]


def __getattr__(name: str) -> Any:
    """Imports a module at first use, so that the types and file functions load without OpenCV and Numba."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"proposals.{module}"), name)
    raise AttributeError(f"module 'proposals' has no attribute '{name}'")

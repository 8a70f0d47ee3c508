"""MultiBox: boxes with confidences from one pass of a network over the whole image.

Erhan et al., 'Scalable Object Detection using Deep Neural Networks' (2014); Szegedy et al., 'Scalable, High-Quality
Object Detection' (2014). What only training needs is in `proposals.multibox.loss`, `.matching` and `.priors`.
"""

from proposals.multibox.config import MultiBoxConfig, MultiBoxLossConfig
from proposals.multibox.network import MultiBox, MultiBoxHead, MultiBoxPredictions
from proposals.multibox.proposer import MultiBoxProposer, to_proposals

__all__ = [
    "MultiBox",
    "MultiBoxConfig",
    "MultiBoxHead",
    "MultiBoxLossConfig",
    "MultiBoxPredictions",
    "MultiBoxProposer",
    "to_proposals",
]

"""Which prior each object belongs to: a bipartite matching of least cost (MultiBox, section 3.2)."""

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


def match_objects(costs: Tensor) -> tuple[Tensor, Tensor]:
    """Gives each object a prior of its own, so that the sum of costs is least.

    With more objects than priors, every prior gets an object, and the objects that cost most have none.

    Args:
        costs: (K, G) of every prior for every object; what is not finite counts as very high.

    Returns:
        (M,) priors and (M,) objects, M = min(K, G), in the objects' order.
    """
    table = np.nan_to_num(costs.detach().double().cpu().numpy(), nan=1e12, posinf=1e12, neginf=-1e12)
    objects, priors = linear_sum_assignment(table.T)
    return torch.from_numpy(priors).to(costs.device), torch.from_numpy(objects).to(costs.device)

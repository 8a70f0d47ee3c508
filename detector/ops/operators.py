"""torchvision's compiled operators, without the package.

Importing torchvision as a whole takes two seconds, more than everything else together but torch itself.
"""

import functools
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch


@functools.cache
def torchvision_operators() -> Any:
    """`torch.ops.torchvision`, with its library loaded."""
    spec = find_spec("torchvision")
    folder = Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else None
    libraries = [] if folder is None else [p for p in folder.glob("_C*") if p.suffix in (".so", ".pyd", ".dylib")]
    if libraries and not hasattr(torch.ops.torchvision, "nms"):
        torch.ops.load_library(str(libraries[0]))
    if not hasattr(torch.ops.torchvision, "nms"):  # packaged in another way
        import torchvision  # noqa: F401
    return torch.ops.torchvision

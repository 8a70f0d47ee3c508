"""`detector benchmark`: runs `tools/benchmark.py` of the source checkout. An installed package has no benchmark."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from detector.errors import InputError

_CHECKOUT = Path(__file__).parents[2]
_SCRIPT = _CHECKOUT / "tools" / "benchmark.py"


def _only_in_a_checkout() -> None:
    """Measure speed and memory beside other software; works in a checkout of the source code only."""
    raise InputError(
        "the benchmark is part of the source checkout: clone the repository, run python tools/benchmark.py"
    )


_only_in_a_checkout.__name__ = "benchmark"  # Typer takes the command's name from it
benchmark = _only_in_a_checkout
_spec = spec_from_file_location("detector_benchmark", _SCRIPT)
if (_CHECKOUT / "pyproject.toml").is_file() and _SCRIPT.is_file() and _spec is not None and _spec.loader is not None:
    _module = module_from_spec(_spec)
    _spec.loader.exec_module(_module)
    benchmark = _module.benchmark

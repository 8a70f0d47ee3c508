import os
import subprocess
import sys
from pathlib import Path

import pytest

import proposals
from proposals import warm_up
from proposals.compilation import is_compiled

PACKAGE = Path(proposals.__file__).parents[1]

# Loads the kernels of one module only, so that the child process compiles little.
SCRIPT = """
import numpy as np
from proposals.compilation import is_compiled
from proposals import color
before = is_compiled()
color._normalized(np.zeros((3, 2, 2), np.uint8))
print(before, color._normalized.stats.cache_path, len(color._normalized.signatures))
"""

# Compares the compiled signatures after the warm-up and after images of all kinds.
EVERY_KIND = """
import numpy as np
from proposals import SelectiveSearch, SelectiveSearchConfig, warm_up
from proposals.compilation import _kernels
from proposals.config import COLOR_SPACES, SIMILARITIES
warm_up()
before = [len(kernel.signatures) for kernel in _kernels]
assert sum(before) >= 10
noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
noise.setflags(write=False)
every = SelectiveSearchConfig(COLOR_SPACES, SIMILARITIES, (5, 50), sigma=0, minimum_size=3, working_width=50)
for image in (noise, noise[::-1, ::2], noise[:, :, 0], noise[:1], noise[:, :1], noise[:1, :1]):
    SelectiveSearch(every)(image)
    SelectiveSearch(threads=2)(image)
print(before == [len(kernel.signatures) for kernel in _kernels])
"""


def test_warm_up_announces_only_a_compilation(monkeypatch: pytest.MonkeyPatch) -> None:
    warm_up()
    assert is_compiled()
    messages: list[str] = []
    warm_up(messages.append)
    assert messages == []
    monkeypatch.setattr("proposals.selective_search.is_compiled", lambda: False)
    warm_up(messages.append)
    assert [message.split(",")[0] for message in messages] == ["compiling Selective Search"]


def run(script: str, **environment: str) -> list[str]:
    result = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": str(PACKAGE)} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.split()


def test_warm_up_leaves_nothing_to_compile_for_any_image_or_setting() -> None:
    assert run(EVERY_KIND) == ["True"]


@pytest.mark.slow
def test_the_first_warm_up_leaves_every_kernel_compiled(tmp_path: Path) -> None:
    """Otherwise every later command would announce a compilation."""
    script = "from proposals import compilation, warm_up; warm_up(); print(compilation.is_compiled())"
    assert run(script, NUMBA_CACHE_DIR=str(tmp_path)) == ["True"]


def test_compiled_code_is_cached_on_disk(tmp_path: Path) -> None:
    before, folder, signatures = run(SCRIPT, NUMBA_CACHE_DIR=str(tmp_path))
    assert before == "False"
    assert signatures == "1"
    assert Path(folder).is_relative_to(tmp_path)
    assert list(Path(folder).glob("color._normalized-*.nbi"))

import sys
from collections.abc import Iterator
from typing import Any

import pytest

if sys.platform == "win32":  # no signals, no limits of memory, no forks
    collect_ignore_glob = ["*.py"]


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Runs commands in processes that are ready at once."""
    from tests.reliability.nursery import Nursery

    with Nursery(tmp_path_factory.mktemp("nursery")) as one:
        yield one

from collections.abc import Iterator

import pytest

from tests.reliability.nursery import Nursery


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """Runs commands in processes that are ready at once."""
    with Nursery(tmp_path_factory.mktemp("nursery")) as one:
        yield one

"""A short run with Ray; `test_ray_at_length` has those in which processes die."""

import pytest

from detector.bulk.network import DetectorSettings
from detector.bulk.pipeline import detect_many
from detector.errors import InputError
from tests.detector.run_tools import Told

pytest.importorskip("ray.data")
pytestmark = pytest.mark.ray


@pytest.mark.usefixtures("ray_here")
def test_ray_finds_what_one_process_finds(folder, alone, results, same_as, tmp_path):
    told, settings = Told(), DetectorSettings(device="cpu")
    with pytest.raises(InputError, match=r"^--workers 2: Ray has 1 cores, and a worker takes one$"):
        detect_many([str(folder)], tmp_path / "out", settings, told, workers=2, shard=4)
    outcome = detect_many([str(folder)], tmp_path / "out", settings, told, shard=4)
    assert (outcome.images, outcome.done, outcome.failed) == (11, 11, 1)
    assert told.totals == [11]
    assert len(told.errors) == 1
    same_as(results(tmp_path / "out"), alone)

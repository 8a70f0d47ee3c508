"""The profile of a detection: what it measures and reports, with one repeat."""

import json

import numpy as np
import pytest

from detector.benchmark import profile
from detector.benchmark.profile import Profile, Stage, benchmark_profile
from detector.errors import InputError
from detector.structures.image import Image

PHOTO = Image(np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8), "noise")


@pytest.fixture(scope="module")
def measured() -> Profile:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profile, "MEGAPIXELS", (0.01, 0.02))
        patch.setattr(profile, "REGIONS", (3, 2000))
        patch.setattr(profile, "BATCHES", (1, 2))
        patch.setattr(profile, "_GEMM_SIZE", 256)
        return benchmark_profile(PHOTO, repeats=1, threads=1)


def test_every_stage_is_there(measured: Profile) -> None:
    names = ["decoding", "backbone", "proposals", "regions", "NMS and voting", "drawing"]
    assert [stage.name for stage in measured.stages] == names
    assert all(stage.seconds > 0 for stage in measured.stages)
    assert measured.image_size == (120, 90)


def test_the_trunks_work_is_counted(measured: Profile) -> None:
    # At 640x480 it is GoogLeNet's with 5a and 5b at four times the cells: 2 * 1.58 G at 224x224, and more.
    assert measured.backbone["gflop"] == pytest.approx(23.8, abs=0.1)
    assert measured.backbone["gflop_per_second"] == pytest.approx(
        measured.backbone["gflop"] / measured.backbone["seconds"]
    )
    assert measured.backbone["gemm_gflop_per_second"] > 0
    seconds = list(measured.operators.values())
    assert seconds == sorted(seconds, reverse=True)
    assert any("conv" in name for name in list(measured.operators)[:3])


def test_growth_has_every_size(measured: Profile) -> None:
    assert [list(sizes) for sizes in measured.growth.values()] == [[0.01, 0.02], [3, 2000], [1, 2], [1]]
    regions = measured.growth["regions, by their number"]
    assert regions[2000] > regions[3]


def test_it_is_told_as_text_and_as_json(measured: Profile) -> None:
    table = measured.table()
    assert "NMS and voting" in table
    assert "% of it" in table
    plain = json.loads(json.dumps(measured.to_dict()))
    assert [stage["name"] for stage in plain["stages"]] == [stage.name for stage in measured.stages]
    assert plain["growth"]["detection, by threads"][0]["size"] == 1


def test_memory_that_the_system_does_not_tell_is_left_out(measured: Profile) -> None:
    lines = Profile(
        measured.environment, (1, 1), "float32", (Stage("decoding", 1.0, None),), {}, measured.backbone, {}
    ).table()  # fmt: skip
    assert "decoding             1000.0    100% \n" in lines


@pytest.mark.parametrize("name", ["repeats", "threads"])
def test_what_is_below_one_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"{name} is 0; give at least 1"):
        benchmark_profile(PHOTO, **{name: 0})

"""The settings that follow from the number of photos, the machine and the request, without training."""

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from detector.config import config_hash
from detector.data.annotations import Annotations, Sample
from detector.errors import InputError
from detector.models.weights import Model
from detector.training.custom_dataset.plan import Machine, Settings, make_plan, too_short
from detector.training.custom_dataset.split import Split
from detector.training.photos import PhotoSet

TWO_CORES = Machine("cpu", 2, 0.3)


@pytest.fixture
def split(tmp_path: Path) -> Callable[..., Split]:
    """Makes a split of that many photos, which share one file."""
    path = tmp_path / "a.png"
    path.write_bytes(b"")

    def make(photos: int, val: int, names: tuple[str, ...] = ("robot",)) -> Split:
        objects = Annotations([[0, 0, 9, 9]], [0], [False], (20, 20))
        samples = tuple(Sample(str(i), path, objects) for i in range(photos + val))
        return Split(PhotoSet(samples[:photos], names), PhotoSet(samples[photos:], names))

    return make


@pytest.mark.parametrize(("photos", "steps"), [(4, 300), (160, 1600), (400, 4000), (4000, 14800)])
def test_steps_by_the_number_of_photos(split: Callable[..., Split], start: Model, photos: int, steps: int):
    plan = make_plan(split(photos, photos // 4), start, TWO_CORES, Settings())
    assert plan.recipe.optimizer.steps == plan.steps == steps
    assert plan.recipe.eval_every * 5 >= steps > plan.recipe.eval_every * 4
    assert plan.recipe.optimizer.warmup_steps <= steps / 10


def test_two_hundred_photos_take_less_than_thirty_minutes(split: Callable[..., Split], start: Model):
    for seconds in (0.1, 0.3, 0.8, 3.0):
        plan = make_plan(split(160, 40), start, Machine("cpu", 2, seconds), Settings())
        assert plan.minutes <= 25
        assert plan.steps * seconds / 60 < plan.minutes
        assert plan.recipe.optimizer.steps == 1600  # which the slowest goes through in fewer
    assert plan.steps < 1600
    assert re.search(r"^steps .*25 minutes.*160 photos is 1600$", str(plan), re.M)


def test_requested_epochs_or_minutes(split: Callable[..., Split], start: Model):
    plan = make_plan(split(40, 10), start, Machine("cpu", 1, 30.0), Settings(epochs=20))
    assert plan.recipe.optimizer.steps == plan.steps == 800  # whatever the time
    assert plan.minutes > 400
    assert plan.budget.seconds == math.inf
    short = make_plan(split(160, 40), start, TWO_CORES, Settings(minutes=3))
    assert short.minutes <= 3
    assert short.budget.seconds < 180
    assert short.steps > 300


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"epochs": 1.5}, {"minutes": 0.0}, {"minutes": float("nan")}, {"minutes": "x"}, {"lr": -0.1},
     {"batch": 0}, {"seed": -1}, {"augment": "lots"}, {"size": 31}],
)  # fmt: skip
def test_a_wrong_setting_is_named(wrong: dict[str, object]):
    with pytest.raises(InputError, match=f"^training: .*{next(iter(wrong))}[^\n]*$"):
        Settings.checked(**wrong)


def test_epochs_and_minutes_exclude_each_other():
    with pytest.raises(InputError, match="not both"):
        Settings.checked(epochs=1, minutes=1)


def test_given_settings_reach_the_recipe(split: Callable[..., Split], start: Model):
    settings = Settings.checked(lr=0.01, seed=3, freeze="backbone", augment="strong", minutes=90)
    recipe = make_plan(split(160, 40), start, TWO_CORES, settings).recipe
    assert (recipe.optimizer.lr, recipe.seed, recipe.frozen) == (0.01, 3, "inception_5b")
    assert recipe.augmentation.mosaic > 0 < recipe.augmentation.mixup
    with pytest.raises(InputError, match="freeze: part 'head'"):
        make_plan(split(160, 40), start, TWO_CORES, Settings(freeze="head"))
    plain = make_plan(split(160, 40), start, TWO_CORES, Settings(augment="none")).recipe
    assert not plain.augmentation.flip
    assert plain.augmentation.scale == (1.0, 1.0)
    assert plain.model.input == start.config.input


def test_a_batch_divides_the_steps_and_raises_the_rate(split: Callable[..., Split], start: Model):
    plan = make_plan(split(160, 40), start, TWO_CORES, Settings(batch=4))
    assert (plan.recipe.batch, plan.steps, plan.recipe.optimizer.lr) == (4, 400, 0.00024)
    assert "steps        400, 4 photos each (10 passes)" in str(plan)


def test_less_than_a_third_of_the_rule_gives_a_warning(split: Callable[..., Split], start: Model):
    for minutes, warned in ((2, True), (8, False)):
        text = str(make_plan(split(160, 40), start, TWO_CORES, Settings(minutes=minutes)))
        assert ("\nwarning  " in text) is warned
    assert too_short(make_plan(split(160, 40), start, TWO_CORES, Settings()).recipe, 400, 5.0).endswith("--minutes 20")


def test_evaluation_takes_a_small_part_of_few_minutes(split: Callable[..., Split], start: Model):
    plan = make_plan(split(4000, 1000), start, TWO_CORES, Settings(minutes=1))
    assert plan.recipe.data.eval_limit == 150  # also on a machine that is slow when it is measured
    assert plan.steps * 0.3 > 30


def test_the_explanation(split: Callable[..., Split], start: Model):
    text = str(make_plan(split(160, 40, ("couch", "robot")), start, TWO_CORES, Settings()))
    text += str(make_plan(split(1, 1), start, Machine("cpu", 1, 0.3), Settings(minutes=0.01)))
    for line in (
        "validation   40 photos to evaluate on, 160 to train on",
        "pretrained   couch (its sofa)",
        "new          robot",
        "steps        1600, one photo each (10 passes): the rule for 160 photos",
        "time         about 9 minutes: 0.30 s per step on 2 cores",
        "steps        about 1, ",
        "the time limit is 1 second; the rule for 1 photo is",
        "warning      1 step is ",
    ):
        assert line in text


def test_the_recipe_changes_only_with_the_data(split: Callable[..., Split], start: Model):
    hashes = [
        config_hash(make_plan(split(*sizes), start, TWO_CORES, Settings()).recipe) for sizes in ((8, 2), (8, 2), (8, 3))
    ]
    assert hashes[0] == hashes[1] != hashes[2]


def test_the_short_average_of_a_short_training(split: Callable[..., Split], start: Model):
    """An average over a thousand steps would still be the start after three hundred."""
    decays = [make_plan(split(n, 1), start, TWO_CORES, Settings()).recipe.optimizer.ema_decay for n in (4, 160, 2000)]
    assert decays == sorted(decays)
    assert decays[0] ** 300 < 0.001
    assert decays[-1] <= 0.999


def test_labels_are_made_at_once_only_where_the_model_knows_all_classes(split: Callable[..., Split], start: Model):
    settings = Settings(unlabeled="more")
    for names, burn_in, begin in (
        (("couch",), 0.0, "from the first step"),
        (("couch", "robot"), 0.2, "after 20 % of the steps"),
    ):
        photos = split(8, 2, names)
        plan = make_plan(replace(photos, unlabeled=photos.train), start, TWO_CORES, settings)
        assert (plan.recipe.data.unlabeled, plan.recipe.pseudo_labels.burn_in) == ("more", burn_in)
        assert re.search(f"^unlabeled +8 photos without labels: 1 more photo in each step, {begin}$", str(plan), re.M)
        assert replace(photos, unlabeled=photos.train).digest != photos.digest

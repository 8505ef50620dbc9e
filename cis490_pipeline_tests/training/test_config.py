import json
import math
from dataclasses import asdict, dataclass

import pytest

from cis490_pipeline.errors import ConfigError
from cis490_pipeline.training.config import TrainConfig, build_config


@dataclass(frozen=True, kw_only=True)
class Sizes(TrainConfig):
    widths: tuple[int, ...] = (4, 8)
    peak_lr: float = 1e-2


@pytest.mark.parametrize("value", [math.nan, math.inf, 0.0, -1.0])
def test_a_senseless_learning_rate_is_refused(value):
    with pytest.raises(ConfigError, match="peak_lr must be between"):
        TrainConfig(peak_lr=value)
    # A subclass that changes the default keeps the bounds.
    with pytest.raises(ConfigError, match="peak_lr must be between"):
        Sizes(peak_lr=value)


def test_all_problems_are_named_at_once():
    with pytest.raises(
        ConfigError, match=r"batch_size .*got 1; max_epochs .*got 0; device .*'tpu'"
    ):
        TrainConfig(max_epochs=0, batch_size=1, device="tpu")


def test_an_epoch_of_hardly_a_window_is_refused():
    with pytest.raises(ConfigError, match="epoch_windows must be 0 or at least 4, got 3"):
        TrainConfig(epoch_windows=3)


def test_a_config_comes_back_equal_from_json():
    config = Sizes(widths=(3, 5, 7), peak_lr=1e-3, seed=4)

    assert build_config(Sizes, json.loads(json.dumps(asdict(config)))) == config


def test_an_unknown_setting_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"unknown setting 'epochs'; known are .*max_epochs"):
        build_config(TrainConfig, {"epochs": 3})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_epochs", 2.5),
        ("max_epochs", True),
        ("peak_lr", "0.1"),
        ("device", 1),
        ("widths", 4),
        ("widths", [4, "8"]),
    ],
)
def test_a_value_of_another_type_is_refused(name, value):
    with pytest.raises(ConfigError, match=f"{name} must be of type"):
        build_config(Sizes, {name: value})


def test_a_whole_number_will_do_for_a_float():
    assert build_config(TrainConfig, {"peak_lr": 1}).peak_lr == 1.0

from dataclasses import fields

import pytest

from cis490_pipeline.domain import Architecture, Variant
from cis490_pipeline.experiment.tools.tune import MAX_PARAMETERS
from cis490_pipeline.models.registry import create, model_class
from cis490_pipeline.models.search import SPACES, Choice

EVERY = pytest.mark.parametrize("architecture", list(Architecture))


def ends(part):
    return part.values if isinstance(part, Choice) else (part.low, part.high)


@EVERY
def test_every_setting_searched_is_one_of_the_architecture(architecture):
    known = {f.name for f in fields(model_class(architecture).config_type)}

    assert set(SPACES[architecture]) <= known


@EVERY
def test_the_default_settings_lie_within_the_space(architecture):
    settings = create(architecture, Variant.REALISTIC, seed=0).settings

    for name, part in SPACES[architecture].items():
        if isinstance(part, Choice):
            assert settings[name] in part.values, name
        else:
            assert part.low <= settings[name] <= part.high, name


@EVERY
@pytest.mark.parametrize("end", [0, -1])
def test_the_ends_of_the_space_are_allowed_and_small_enough(architecture, end):
    config = {name: ends(part)[end] for name, part in SPACES[architecture].items()}

    model = create(architecture, Variant.ORACLE, seed=0, config=config)

    assert model.n_parameters <= MAX_PARAMETERS


def test_a_networks_size_is_that_of_its_weights():
    model = create(Architecture.GRU, Variant.ORACLE, seed=0)

    assert model.n_parameters == sum(p.numel() for p in model._build().parameters()) > 50_000
    assert create(Architecture.GBT, Variant.ORACLE, seed=0).n_parameters == 0

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cis490_pipeline.events.contract import (
    ModelMetric,
    decode,
    encode,
    json_schema,
    leaderboard_events,
)

# Of the design, §5.
REQUIRED = {"type", "model", "accuracy"}
OPTIONAL = {
    "event_id",
    "publisher",
    "revision",
    "metric",
    "ci_low",
    "ci_high",
    "n_episodes",
    "n_windows",
    "split",
    "variant",
    "untested_profiles",
}

scores = st.floats(0, 1)
names = st.text(max_size=128)
metrics = st.builds(
    ModelMetric,
    model=names,
    accuracy=scores,
    metric=st.none() | st.just("macro_f1"),
    ci_low=st.none() | scores,
    n_windows=st.none() | st.integers(0, 2**40),
    untested_profiles=st.none() | st.dictionaries(names, st.lists(names)),
    event_id=st.none() | names,
    publisher=st.none() | names,
    revision=st.none() | st.integers(0, 2**53 - 1),
)


def row(model: str = "gbt_realistic", **changes: object) -> dict[str, object]:
    return {
        "model": model,
        "kind": "model",
        "variant": "realistic",
        "macro_f1": 0.55,
        "ci_low": 0.49,
        "ci_high": 0.61,
        "n_episodes": 31,
        "n_windows": 350,
        **changes,
    }


def board(*rows: dict[str, object]) -> dict[str, object]:
    untested = {"lab-nuc": ["exfil-burst"]}
    return {
        "split": "host",
        "split_digest": "5a" * 32,
        "untested_profiles": untested,
        "rows": [*rows],
    }


@given(events=st.lists(metrics))
def test_what_is_encoded_decodes_to_the_same(events: list[ModelMetric]) -> None:
    assert decode(encode(events)) == events


def test_unknown_values_are_left_out() -> None:
    body = encode([ModelMetric(model="gbt", accuracy=0.5)])

    assert json.loads(body) == [{"type": "model_metric", "model": "gbt", "accuracy": 0.5}]


def test_keys_of_anothers_event_are_ignored() -> None:
    body = b'[{"type": "model_metric", "model": "gbt", "accuracy": 0.5, "colour": "red"}]'

    assert decode(body) == [ModelMetric(model="gbt", accuracy=0.5)]


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b'[{"type": "model_metric", "accuracy": 0.5}]', "`model`"),
        (b'[{"type": "model_metric", "model": "gbt", "accuracy": "high"}]', r"\$\[0\].accuracy"),
        (b'[{"type": "sunshine", "model": "gbt", "accuracy": 0.5}]', r"\$\[0\].type"),
        (b'{"type": "model_metric", "accuracy": 0.5}', "`model`"),
        (b"1", "Expected `object | array`"),
    ],
    ids=["missing key", "wrong type", "unknown event", "missing key of one", "no event"],
)
def test_what_breaks_the_contract_is_refused_by_name(body: bytes, place: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=place):
        decode(body)


def test_schema_has_the_designs_keys_and_asks_for_the_old_ones() -> None:
    schema = json_schema()["$defs"]["ModelMetric"]

    assert set(schema["properties"]) == REQUIRED | OPTIONAL
    assert set(schema["required"]) == REQUIRED


def test_event_of_a_leaderboard_has_exactly_the_designs_keys() -> None:
    (event,) = json.loads(encode(leaderboard_events(board(row()))))

    # Who publishes it, and in which order, is added when it is published.
    assert event.keys() == (REQUIRED | OPTIONAL) - {"publisher", "revision"}


def test_event_carries_the_rows_numbers() -> None:
    (event,) = json.loads(encode(leaderboard_events(board(row()))))

    identity = event.pop("event_id")
    assert identity.startswith("5a5a5a5a5a5a/host/gbt_realistic/")
    assert event == {
        "type": "model_metric",
        "model": "gbt_realistic",
        "accuracy": 0.55,
        "metric": "macro_f1",
        "ci_low": 0.49,
        "ci_high": 0.61,
        "n_episodes": 31,
        "n_windows": 350,
        "split": "host",
        "variant": "realistic",
        "untested_profiles": {"lab-nuc": ["exfil-burst"]},
    }


def test_every_model_has_one_event_in_the_boards_order() -> None:
    events = leaderboard_events(board(row("b"), row("a")))

    assert [event.model for event in events] == ["b", "a"]


def test_probes_and_models_without_a_score_have_none() -> None:
    rows = board(row("probe_majority", kind="probe"), row("cnn_oracle", macro_f1=None))

    assert leaderboard_events(rows) == []


def test_same_numbers_published_again_are_the_same_events() -> None:
    ids = [[e.event_id for e in leaderboard_events(board(row()))] for _ in range(2)]

    assert ids[0] == ids[1]


def test_other_numbers_are_other_events() -> None:
    ids = {leaderboard_events(board(row(macro_f1=v)))[0].event_id for v in (0.55, 0.56)}

    assert len(ids) == 2

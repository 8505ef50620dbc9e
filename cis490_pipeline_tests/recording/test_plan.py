import re
from pathlib import Path

import pytest

from cis490_pipeline.errors import ConfigError
from cis490_pipeline.recording.blocks import treatments
from cis490_pipeline.recording.guest.benign import BENIGN
from cis490_pipeline.recording.guest.mimics import MIMICS
from cis490_pipeline.recording.plan import LOOKALIKES, read_plan
from cis490_pipeline.recording.schedule import SHAM_ACTIVITY, schedule
from cis490_pipeline_tests.recording.plans import SAMPLES, made_plan, plan_fields, write_plan


def test_a_plan_is_read_with_its_defaults(tmp_path):
    plan = read_plan(write_plan(tmp_path / "plan.toml", plan_fields()))

    assert plan == made_plan()
    assert plan.host[0].ram_mib == 512
    assert plan.timing.lead_s == 30.0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"episodes": 0}, "`int` >= 1 - at `$.episodes`"),
        ({"episode": 3}, "unknown field `episode`"),
        ({"format": 2}, "Invalid enum value 2"),
        ({"host": []}, "length >= 1 - at `$.host`"),
        ({"host": [{"name": "../a"}]}, "matching regex"),
        ({"host": [{"name": "a", "ram_mib": 64}]}, "`int` >= 128 - at `$.host[0].ram_mib`"),
        ({"host": [{"name": "a"}, {"name": "a"}]}, "host names must differ, twice: a"),
        ({"host": [{"name": "a", "disk": "ide"}]}, "disk 'ide' needs machine 'pc', not 'q35'"),
        ({"host": [{"name": "a", "aio": "native"}]}, "aio 'native' needs cache 'none'"),
        ({"host": [{"name": "a", "disk": "none", "filesystem": "ext4"}]}, "'ext4' needs a disk"),
        ({"host": [{"name": "a", "neighbours": 4}]}, "`int` <= 3 - at `$.host[0].neighbours`"),
        ({"host": [{"name": "a", "lookalikes": ["chess"]}]}, "unknown look-alikes chess"),
        ({"blocks": 30}, "episodes must be at least 60, not 40, for every one of 2 hosts"),
        ({"lookalikes": ["chess"]}, "unknown look-alikes chess; known are backup"),
        ({"lookalike_strength": [2.0, 1.0]}, "lookalike_strength must ascend, got [2.0, 1.0]"),
        ({"lookalike_strength": [0.01, 1.0]}, "`float` >= 0.1"),
        ({"profile": []}, "no profile is given"),
        ({"seed": -1}, "`int` >= 0"),
    ],
)
def test_faults_of_a_plan_name_the_place_and_what_was_wanted(tmp_path, changed, message):
    path = write_plan(tmp_path / "plan.toml", plan_fields(**changed))

    with pytest.raises(ConfigError, match=re.escape(message)) as raised:
        read_plan(path)

    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("only_on", "message"),
    [
        (["c"], "profile cpu-saturate-sample: only_on names hosts that the plan lacks: c"),
        (["b"], "host a: every profile is kept for others by only_on"),
    ],
)
def test_profiles_kept_for_some_hosts_leave_each_host_one(tmp_path, only_on, message):
    fields = plan_fields()
    fields["profile"] = [{**fields["profile"][0], "only_on": only_on}]

    with pytest.raises(ConfigError, match=message):
        read_plan(write_plan(tmp_path / "plan.toml", fields))


def test_several_contradictions_are_named_at_once(tmp_path):
    fields = plan_fields(host=[{"name": "a", "disk": "ide"}, {"name": "a"}])

    with pytest.raises(ConfigError, match=r"disk .ide.*names must differ"):
        read_plan(write_plan(tmp_path / "plan.toml", fields))


@pytest.mark.parametrize(
    "named",
    [
        {"kind": "real"},
        {"kind": "synth"},
        {"sha256": "a" * 64},
        {"path": "/samples/mirai"},
        {"binary": "mirai"},
        {"url": "x"},
        {"parameters": [{"path": "/samples/mirai"}]},
    ],
)
def test_a_plan_that_names_a_real_sample_is_refused(tmp_path, named):
    fields = plan_fields()
    fields["profile"][2] |= named
    path = write_plan(tmp_path / "plan.toml", fields)

    with pytest.raises(ConfigError, match=r"profile 3 \(io-walk-sample\) names a real sample"):
        read_plan(path)


def test_a_file_that_is_not_toml_is_named(tmp_path):
    (tmp_path / "plan.toml").write_text("episodes = [")

    with pytest.raises(ConfigError, match=r"plan\.toml: not TOML"):
        read_plan(tmp_path / "plan.toml")


def test_every_profile_and_lookalike_has_its_activity_in_the_guest():
    assert {*SAMPLES} | {"armed", "infecting", "dormant", SHAM_ACTIVITY} == {*MIMICS}
    assert {*LOOKALIKES} == {*BENIGN}
    assert {t.activity for t in treatments(made_plan())} == {*SAMPLES}


def test_equal_plans_have_equal_digests_and_others_differ():
    assert made_plan().digest == made_plan().digest
    assert made_plan().digest != made_plan(seed=6).digest


def test_the_plan_of_the_documentation_is_a_plan(tmp_path):
    page = (Path(__file__).parents[2] / "docs/how-to/record.md").read_text(encoding="utf-8")
    [block] = re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "plan.toml").write_text(block)
    plan = read_plan(tmp_path / "plan.toml")
    infected = [run for run in schedule(plan) if run.treatment]

    assert {run.host.name for run in infected} == {host.name for host in plan.host}
    assert {run.treatment.profile.name for run in infected} == {p.name for p in plan.profile}

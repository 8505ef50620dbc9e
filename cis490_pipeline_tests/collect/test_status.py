"""What an agent says of itself is true."""

import pytest

from cis490_pipeline.collect import status
from cis490_pipeline.domain import is_host_id

S = 1_000_000_000


def test_lateness_is_the_value_that_99_of_100_do_not_exceed() -> None:
    late = status.Lateness()
    assert late.p99_ms() is None
    for value in range(1, 201):
        late.add(value * 1_000_000)

    assert late.p99_ms() == 198.0


def test_only_the_latest_ten_minutes_count() -> None:
    late = status.Lateness()
    late.add(10**12)
    for _ in range(600):
        late.add(1_000_000)

    assert late.p99_ms() == 1.0


def test_processor_time_is_the_share_of_a_core_since_the_last_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = {"wall": 5 * S, "cpu": S}
    monkeypatch.setattr("time.monotonic_ns", lambda: times["wall"])
    monkeypatch.setattr("time.process_time_ns", lambda: times["cpu"])
    use = status.OwnUse()
    times["wall"] += S // 2
    at_once = use.cpu_percent()
    times["wall"], times["cpu"] = 15 * S, S + S // 100

    assert (at_once, use.cpu_percent()) == (None, 0.1)


def test_memory_is_that_of_this_process() -> None:
    rss = status.OwnUse().rss_bytes()

    assert rss is not None
    assert 1 << 20 < rss < 1 << 36


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("garage-pi", "garage-pi"),
        ("Küche.lan", "K-che.lan"),
        ("_x", "x"),
        ("", "device"),
        ("..", "device"),
        ("a" * 200, "a" * 63),
    ],
)
def test_a_device_goes_by_its_hosts_name_in_the_form_of_a_host_id(host: str, name: str) -> None:
    assert status.device_name(host) == name
    assert is_host_id(name)


def test_the_boot_has_an_id() -> None:
    assert status.boot_id() == status.boot_id() != ""

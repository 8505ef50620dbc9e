import pytest

from cis490_pipeline.dashboard.access.rules import Access

TOKEN = "x" * 16


@pytest.mark.parametrize(
    ("access", "known", "unknown"),
    [
        (
            Access(),
            ["127.0.0.1:8447", "localhost:8447", "[::1]:8447", "LOCALHOST:8447"],
            ["lab-pi:8447", "192.168.0.9:8447"],
        ),
        (
            Access(host="0.0.0.0", token=TOKEN),
            ["127.0.0.1:8447", "192.168.0.9:8447", "localhost:8447", "[fd00::1]:8447"],
            ["lab-pi:8447", "192.168.0.9"],
        ),
        (
            Access(host="192.168.0.9", token=TOKEN),
            ["192.168.0.9:8447"],
            ["192.168.0.8:8447", "localhost:8447"],
        ),
        (
            Access(host="0.0.0.0", token=TOKEN, names=frozenset({"lab-pi", "dash.lab:443"})),
            ["lab-pi:8447", "Lab-Pi:8447", "dash.lab:443"],
            ["lab-pi:1", "dash.lab:8447", "other:8447"],
        ),
    ],
    ids=["loopback", "wildcard", "one address", "names"],
)
def test_hosts_that_are_ours(access, known, unknown):
    assert [h for h in known if not access.knows_host(h, 8447)] == []
    assert [h for h in unknown if access.knows_host(h, 8447)] == []


def test_the_port_may_be_left_out_where_it_is_the_protocols_own():
    assert Access(token=TOKEN, tls=True).knows_host("localhost", 443)
    assert Access().knows_host("localhost", 80)
    assert not Access().knows_host("localhost", 443)


def test_origins_are_compared_with_the_host_that_was_asked():
    access = Access()

    assert access.knows_origin("http://127.0.0.1:8447", "127.0.0.1:8447")
    assert access.knows_origin("http://Localhost:8447", "localhost:8447")
    assert not access.knows_origin("http://localhost:8447", "127.0.0.1:8447")
    assert not access.knows_origin("ftp://127.0.0.1:8447", "127.0.0.1:8447")
    assert not access.knows_origin("http://127.0.0.1:8447/x", "127.0.0.1:8447")


def test_without_a_token_nobody_has_one():
    assert not Access().is_token("")
    assert Access(token=TOKEN).presented(f"bearer  {TOKEN} ") == TOKEN
    assert [Access().presented(h) for h in ("", "Bearer", f"Basic {TOKEN}", TOKEN)] == [""] * 4

"""Guessing the token: what is counted, who waits, and that no route says anything meanwhile."""

import json

import pytest
from yarl import URL

from cis490_pipeline.dashboard.access import door as door_module
from cis490_pipeline.dashboard.access.guard import Limits
from cis490_pipeline.dashboard.access.rate import RateLimit
from cis490_pipeline.dashboard.access.rules import COOKIE, Access
from cis490_pipeline_tests.dashboard.serving import METRIC, dashboard, now

TOKEN = "correct-horse-battery-staple"
LOCKED = Access(token=TOKEN)
JSON = {"Content-Type": "application/json"}
ROUTES = ["/", "/healthz", "/events", "/publish", "/login"]
BEARERS = ROUTES[:-1]


class Clock:
    def __init__(self):
        self.s = 0.0

    def __call__(self):
        return self.s


def limited(clock, each=10, together=100):
    return Limits(
        wrong_tokens=RateLimit(1 / 6, each, clock),
        all_wrong_tokens=RateLimit(1.0, together, clock),
    )


async def ask(client, route, token, cookie=None):
    """Present a token or a cookie as each route takes it; returns what varies of the answer."""
    headers = {"Authorization": f"Bearer {token}"} if token and route != "/login" else {}
    if cookie:
        headers["Cookie"] = f"{COOKIE}={cookie}"
    if route == "/login":
        answer = await client.post(route, data={"token": token}, allow_redirects=False)
    elif route == "/publish":
        answer = await client.post(route, data=json.dumps(METRIC), headers=headers | JSON)
    else:
        answer = await client.get(route, headers=headers)
    async with answer:
        body = b"" if answer.content_type == "text/event-stream" else await answer.read()
        varying = {k: v for k, v in answer.headers.items() if k != "Date"}
        return answer.status, varying, body


@pytest.mark.parametrize("route", ROUTES)
def test_after_wrong_tokens_the_right_one_has_to_wait_as_long_as_is_said(route):
    clock = Clock()

    async def test():
        async with dashboard(LOCKED, limited(clock)) as client:
            wrong = [(await ask(client, route, f"guess-{i}"))[0] for i in range(50)]
            assert wrong[10:] == [429] * 40
            assert 429 not in wrong[:10]

            status, headers, _ = await ask(client, route, TOKEN)
            assert (status, headers["Retry-After"]) == (429, "6")
            clock.s += 6
            status, _, _ = await ask(client, route, TOKEN)
            assert status in {200, 303}

    now(test)


@pytest.mark.parametrize("route", ROUTES)
def test_no_route_tells_a_right_token_from_a_wrong_one_while_an_address_waits(route):
    async def test():
        async with dashboard(LOCKED, limited(Clock())) as client:
            for i in range(10):
                await ask(client, BEARERS[i % 4], f"guess-{i}")

            assert await ask(client, route, TOKEN) == await ask(client, route, "guess")

    now(test)


@pytest.mark.parametrize("route", ["/", "/healthz", "/events"])
def test_a_cookie_made_with_a_guess_is_a_guess(route):
    async def test():
        async with dashboard(LOCKED, limited(Clock())) as client:
            for i in range(10):
                made = Access(token=f"guess-number-{i:03d}").new_session()
                assert (await ask(client, route, "", made))[0] in {200, 401}

            # Right, but of a dashboard that this one does not remember, as one that was guessed.
            assert (await ask(client, route, "", LOCKED.new_session()))[0] == 429

    now(test)


def test_who_is_logged_in_stays_so_while_others_guess():
    async def test():
        async with dashboard(LOCKED, limited(Clock())) as client:
            _, headers, _ = await ask(client, "/login", TOKEN)
            cookie = headers["Set-Cookie"].partition(";")[0].partition("=")[2]
            client.session.cookie_jar.clear()
            for i in range(20):
                await ask(client, "/healthz", f"guess-{i}")
            assert (await ask(client, "/", TOKEN))[0] == 429

            assert (await ask(client, "/", "", cookie))[0] == 200
            assert (await ask(client, "/publish", "", cookie))[0] == 401

    now(test)


def test_asking_without_a_token_is_no_guess():
    async def test():
        async with dashboard(LOCKED, limited(Clock())) as client:
            for _ in range(20):
                assert (await ask(client, "/", ""))[0] == 401
                assert (await ask(client, "/healthz", ""))[0] == 200
                assert (await ask(client, "/events", "", "old.cookie"))[0] == 401

            assert (await ask(client, "/", TOKEN))[0] == 200

    now(test)


def test_a_cookie_that_is_no_good_is_taken_back_so_that_it_counts_once():
    async def test():
        async with dashboard(LOCKED, limited(Clock())) as client:
            stale = Access(token="the-token-before-this").new_session()
            client.session.cookie_jar.update_cookies({COOKIE: stale}, URL(client.make_url("/")))
            for _ in range(20):
                assert (await ask(client, "/", ""))[0] == 401

            assert (await ask(client, "/", TOKEN))[0] == 200

    now(test)


@pytest.fixture
def from_address(monkeypatch):
    """Requests come from the address that this is set to."""
    address = ["127.0.0.1"]
    monkeypatch.setattr(door_module, "address_of", lambda _: address[0])
    return lambda text: address.__setitem__(0, text)


def test_many_addresses_together_learn_no_more_and_who_had_the_token_goes_on(from_address):
    async def test():
        async with dashboard(LOCKED, limited(Clock(), together=30)) as client:
            from_address("192.0.2.1")
            assert (await ask(client, "/healthz", TOKEN))[0] == 200
            for i in range(60):
                from_address(f"198.51.100.{i}")
                status, _, _ = await ask(client, "/events", f"guess-{i}")
                assert status == (401 if i < 30 else 429)

            from_address("203.0.113.9")
            assert (await ask(client, "/events", TOKEN))[0] == 429
            from_address("192.0.2.1")
            assert (await ask(client, "/events", TOKEN))[0] == 200

    now(test)


def test_a_host_that_has_many_addresses_counts_as_one(from_address):
    async def test():
        async with dashboard(LOCKED, limited(Clock())) as client:
            for i in range(10):
                from_address(f"2001:db8::{i:x}")
                await ask(client, "/events", f"guess-{i}")

            from_address("2001:db8::ffff")
            assert (await ask(client, "/events", TOKEN))[0] == 429
            from_address("2001:db8:0:1::1")
            assert (await ask(client, "/events", TOKEN))[0] == 200

    now(test)

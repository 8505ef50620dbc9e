"""What somebody who can reach the dashboard may try: getting in, and getting something out."""

import asyncio
import json
import re

import pytest

from cis490_pipeline.dashboard.access.guard import Limits
from cis490_pipeline.dashboard.access.rate import RateLimit
from cis490_pipeline.dashboard.access.rules import Access, Session
from cis490_pipeline.errors import ConfigError
from cis490_pipeline_tests.dashboard.serving import METRIC, dashboard, now, publish, stream

TOKEN = "correct-horse-battery-staple"
LOCKED = Access(token=TOKEN)
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "127.0.0.1",
        "127.0.0.1:1",
        "127.0.0.1.evil.example:{port}",
        "localhost:{port}@evil.example",
        "",
        "[::1",
        "192.168.0.9:{port}",
        "localhost:{port}/x",
        "a b",
    ],
)
def test_a_name_that_was_bound_to_this_machine_is_not_answered(host):
    async def test():
        async with dashboard() as client:
            named = host.replace("{port}", str(client.server.port))
            for path in ("/", "/events", "/healthz", "/static/app.js"):
                answer = await client.get(path, headers={"Host": named})

                assert answer.status in {400, 421}, path
                assert b"retry" not in await answer.read()

    now(test)


def test_two_hosts_are_none():
    async def test():
        async with dashboard() as client:
            port = client.server.port
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(
                b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nHost: evil.example\r\n\r\n" % port
            )
            assert re.search(rb" 4(00|21) ", await reader.readline())
            writer.close()

    now(test)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://127.0.0.1.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
def test_a_page_of_another_site_is_not_answered(headers):
    async def test():
        async with dashboard() as client:
            for method, path in (("POST", "/publish"), ("GET", "/events"), ("POST", "/login")):
                body = json.dumps(METRIC) if method == "POST" else None
                answer = await client.request(method, path, data=body, headers=JSON | headers)

                assert answer.status == 403, path
            assert client.hub.state.snapshot() == []

    now(test)


def test_no_other_site_is_told_it_may_read_what_is_here():
    async def test():
        async with dashboard() as client:
            answer = await client.options(
                "/publish", headers={"Origin": str(client.make_url("/"))[:-1]}
            )
            assert answer.status == 405
            for path in ("/", "/healthz", "/static/app.js"):
                headers = (await client.get(path)).headers
                assert not [name for name in headers if name.startswith("Access-Control")]

    now(test)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.9", "lab.example", ""])
def test_other_machines_are_not_let_in_without_a_token(host):
    with pytest.raises(ConfigError, match="CIS490_DASHBOARD_TOKEN"):
        Access(host=host)


def test_a_token_that_can_be_guessed_is_refused_and_not_repeated():
    with pytest.raises(ConfigError, match="has 7 characters") as raised:
        Access(host="0.0.0.0", token="hunter2")
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Basic {TOKEN}",
        TOKEN,
        "Bearer \u00e9",
    ],
)
def test_without_the_token_nothing_is_taken_and_nothing_shown(header):
    async def test():
        async with dashboard(LOCKED) as client:
            headers = {} if header is None else {"Authorization": header}
            assert (await publish(client, METRIC, **headers)).status == 401
            assert (await client.get("/events", headers=headers)).status == 401
            page = await client.get("/", headers=headers)
            assert page.status == 401
            assert 'action="/login"' in await page.text()
            assert await (await client.get("/healthz", headers=headers)).json() == {"status": "ok"}
            assert client.hub.state.snapshot() == []

    now(test)


@pytest.mark.parametrize("path", ["/", "/events", "/healthz"])
def test_a_token_in_the_address_is_no_token(path):
    async def test():
        async with dashboard(LOCKED) as client:
            answer = await client.get(f"{path}?token={TOKEN}&access_token={TOKEN}")

            assert answer.status == 401 or await answer.json() == {"status": "ok"}

    now(test)


async def log_in(client, token, **headers):
    return await client.post(
        "/login", data={"token": token}, headers=headers, allow_redirects=False
    )


def test_the_form_gives_a_cookie_that_scripts_and_other_sites_cannot_use():
    async def test():
        async with dashboard(LOCKED) as client:
            answer = await log_in(client, TOKEN, Origin=str(client.make_url("/"))[:-1])

            assert answer.status == 303
            cookie = answer.headers["Set-Cookie"]
            assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
            assert TOKEN not in cookie
            assert (await client.get("/")).status == 200
            async with stream(client) as reader:
                await reader.until("status")

    now(test)


def test_a_cookie_is_no_leave_to_publish():
    async def test():
        async with dashboard(LOCKED) as client:
            await log_in(client, TOKEN)

            assert (await publish(client, METRIC)).status == 401

    now(test)


def test_a_session_outlives_a_restart_and_not_another_token():
    session = LOCKED.new_session()

    assert Access(token=TOKEN).session(session) is Session.GOOD
    assert Access(token=TOKEN + "x").session(session) is Session.FORGED
    assert Access().session(session) is Session.NONE


def test_a_session_ends():
    hours = [0.0]
    access = Access(token=TOKEN, clock=lambda: hours[0] * 3600)
    session = access.new_session()

    hours[0] = 11.9
    assert access.session(session) is Session.GOOD
    hours[0] = 12.1
    assert access.session(session) is Session.ENDED


def test_a_cookie_cannot_be_made_or_lengthened():
    until, proof = LOCKED.new_session().split(".")
    forged = [
        "",
        ".",
        until,
        f"{int(until) + 1}.{proof}",
        f"{until}.{proof[:-1]}",
        f"{until}.{'0' * 96}",
        f"{until}.0{proof[1:]}" if proof[0] != "0" else f"{until}.1{proof[1:]}",
    ]
    forged += [f"{until}.é", "9" * 5000 + ".a", f" {until}.{proof}", f"٣{until}.{proof}"]

    assert [cookie for cookie in forged if LOCKED.session(cookie) is Session.GOOD] == []


@pytest.mark.parametrize(
    "limits", [Limits(requests=RateLimit(0.001, 5)), Limits(bytes_in=RateLimit(0.001, 500))]
)
def test_a_flood_is_slowed(limits):
    async def test():
        async with dashboard(limits=limits) as client:
            answers = [await publish(client, METRIC) for _ in range(12)]

            statuses = [answer.status for answer in answers]
            assert statuses[0] == 200
            assert statuses[-1] == 429
            assert answers[-1].headers["Retry-After"] == "1"

    now(test)


SECRETS = (TOKEN, "site-packages", "Traceback", "aiohttp", "cis490_pipeline/")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/nothing"),
        ("GET", "/healthz"),
        ("GET", "/schema/events-v1.json"),
        ("GET", "/static/app.js"),
        ("GET", "/static/login.html"),
        ("GET", "/static/nothing.js"),
        ("DELETE", "/publish"),
        ("PUT", "/"),
        ("POST", "/login"),
        ("POST", "/publish"),
        ("GET", "/events"),
    ],
)
def test_every_answer_is_guarded_and_tells_no_secret(method, path):
    async def test():
        async with dashboard(LOCKED) as client:
            answer = await client.request(method, path)

            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "http" not in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["X-Frame-Options"] == "DENY"
            assert answer.headers["Server"] == "cis490"
            text = str(answer.headers) + await answer.text()
            assert [secret for secret in SECRETS if secret in text] == []

    now(test)


@pytest.mark.parametrize(
    "path",
    [
        "/static/../server.py",
        "/static/%2e%2e/server.py",
        "/static/..%2f..%2fserver.py",
        "/static//etc/passwd",
        "/static/vendor/vendored.json",
        "/static/",
        "/static/app.js%00.css",
    ],
)
def test_only_the_pages_files_are_served(path):
    async def test():
        async with dashboard() as client:
            port = client.server.port
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            assert re.search(rb" 4\d\d ", await reader.readline())
            writer.close()

    now(test)


def test_what_was_sent_comes_back_as_data_and_cut():
    async def test():
        async with dashboard() as client:
            kind = "<script>alert(1)</script>" * 1000
            answer = await client.post("/publish", json={"type": kind})

            assert answer.content_type == "application/json"
            assert len((await answer.json())["error"]) <= 300

    now(test)


def test_line_breaks_in_a_name_add_nothing_to_a_stream():
    async def test():
        async with dashboard() as client, stream(client) as reader:
            await reader.until("status")
            name = "a\n\nevent: reset\ndata: {}\r\n\u2028"

            await publish(client, METRIC | {"model": name})

            assert (await reader.events(1))[0]["model"] == name
            assert [t.event for t in reader.seen].count("reset") == 1

    now(test)

"""``cis490 dashboard``: serve the live dashboard."""

import asyncio
import os
import signal
import ssl
from collections.abc import Callable
from pathlib import Path

import click

from cis490_pipeline.config import Settings
from cis490_pipeline.dashboard.access.guard import Limits
from cis490_pipeline.dashboard.access.rules import Access
from cis490_pipeline.dashboard.server.app import DEFAULT_PORT, Dashboard, open_hub, serve
from cis490_pipeline.domain import Address
from cis490_pipeline.errors import ConfigError

STATE_NAME = "dashboard/state.jsonl"
_PEM = click.Path(exists=True, dir_okay=False)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=DEFAULT_PORT, show_default=True)
@click.option(
    "--name",
    "names",
    metavar="NAME[:PORT]",
    multiple=True,
    help="Further host name of the dashboard, such as that of a proxy; may be repeated.",
)
@click.option("--data", metavar="PLACE", help="Where all artefacts are, including the state.")
@click.option(
    "--state",
    "state_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"File of the dashboard's state; default: DATA/{STATE_NAME}.",
)
@click.option("--fresh", is_flag=True, help="Start with an empty state.")
@click.option("--browsers", type=click.IntRange(1, 10_000), default=200, show_default=True)
@click.option("--tls-cert", type=_PEM, help="PEM file, for https.")
@click.option("--tls-key", type=_PEM, help="PEM file, for https.")
def dashboard(
    host: str,
    port: int,
    names: tuple[str, ...],
    data: str | None,
    state_file: Path | None,
    fresh: bool,
    browsers: int,
    tls_cert: str | None,
    tls_key: str | None,
) -> None:
    """Serve the live dashboard until interrupted.

    It shows what is published to it. Listening on an address other than loopback needs a token in
    CIS490_DASHBOARD_TOKEN.
    """
    settings = Settings.load(data=data)
    tls = _tls(tls_cert, tls_key)
    access = Access(
        host=host,
        token=settings.dashboard_token,
        names=frozenset(name.lower() for name in names),
        tls=tls is not None,
    )
    path = state_file or _state_file(settings)
    hub, journal = open_hub(path, fresh=fresh)
    assert journal is not None, "a path was given"
    if journal.n_skipped:
        click.echo(
            f"{path}: {journal.n_skipped} lines hold no event of this version and are left out",
            err=True,
        )
    try:
        served = Dashboard(access=access, hub=hub, limits=Limits(browsers=browsers))
        # Reset only after listening: a dashboard that cannot listen must keep its state.
        forget = journal.reset if fresh else lambda: None
        asyncio.run(_until_stopped(served, port, tls, forget))
        # Reached only if it listened.
        forget()
    finally:
        journal.close()


async def _until_stopped(
    served: Dashboard, port: int, tls: ssl.SSLContext | None, listening: Callable[[], None]
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        if os.name == "posix":
            loop.add_signal_handler(number, stop.set)
    scheme = "https" if tls else "http"
    host = f"[{served.access.host}]" if ":" in served.access.host else served.access.host

    def ready(port: int) -> None:
        listening()
        click.echo(f"dashboard at {scheme}://{host}:{port}/ (stop it with Ctrl-C)", err=True)

    await serve(served, port, tls=tls, ready=ready, stop=stop)


def _state_file(settings: Settings) -> Path:
    # Object storage cannot append to a file.
    folder = settings.cache if isinstance(settings.data, Address) else settings.data
    return folder / STATE_NAME


def _tls(cert: str | None, key: str | None) -> ssl.SSLContext | None:
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise ConfigError("--tls-cert and --tls-key belong together: give both, or neither")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(cert, key)
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(f"{cert}, {key}: no certificate with its key: {error}") from error
    return context

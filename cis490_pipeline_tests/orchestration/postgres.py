"""A PostgreSQL server of one's own, in a temporary folder, on a port of its own."""

import contextlib
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

USER = DATABASE = "dagster"


@contextlib.contextmanager
def postgres() -> Iterator[dict[str, str]]:
    """Start a server; the variables that dagster.lab.yaml reads it by."""
    tools = _tools()
    # Not below pytest's folder, which only its owner may enter: the server refuses to be root.
    folder = Path(tempfile.mkdtemp(prefix="cis490-postgres-"))
    account = _account()
    if account:
        shutil.chown(folder, **{key: account[key] for key in ("user", "group")})
    password = secrets.token_hex(16)
    words = folder / "password"
    words.write_text(password)
    words.chmod(0o644)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])

    def run(tool: str, *arguments: str) -> None:
        # A file, not a pipe: the server would hold a pipe open.
        with (folder / f"{tool}.log").open("ab") as log:
            done = subprocess.run(
                [tools / tool, *arguments],
                cwd=folder,
                env={**os.environ, "PGPASSWORD": password},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=120,
                **account,
            )
        assert done.returncode == 0, (folder / f"{tool}.log").read_text(errors="replace")

    data = ("-D", str(folder / "data"))
    run("initdb", *data, "-U", USER, "--auth=scram-sha-256", "--pwfile", str(words), "-E", "UTF8")
    options = f"-c listen_addresses=127.0.0.1 -p {port} -c unix_socket_directories= -c fsync=off"
    try:
        run("pg_ctl", *data, "-o", options, "-l", str(folder / "server.log"), "-w", "start")
        run("createdb", "-h", "127.0.0.1", "-p", port, "-U", USER, DATABASE)
        yield {
            "DAGSTER_PG_HOST": "127.0.0.1",
            "DAGSTER_PG_PORT": port,
            "DAGSTER_PG_USERNAME": USER,
            "DAGSTER_PG_PASSWORD": password,
            "DAGSTER_PG_DB": DATABASE,
        }
    finally:
        with contextlib.suppress(AssertionError):
            run("pg_ctl", *data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder, ignore_errors=True)


def _tools() -> Path:
    """Folder of the server's programs; Debian keeps them off the path."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=_major)
    if not versions:
        pytest.fail(
            "PostgreSQL's initdb and pg_ctl are missing (Debian: apt-get install postgresql)"
        )
    return versions[-1].parent


def _major(path: Path) -> float:
    return float(path.parts[-3])


def _account() -> dict[str, str | list[str]]:
    """Whom the server runs as: it refuses root."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    user = "postgres" if "postgres" in names else "nobody"
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}

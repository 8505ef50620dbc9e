"""Settings of a run: flags over environment over ``cis490.toml`` over defaults."""

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

from cis490_pipeline.domain import Address, Architecture
from cis490_pipeline.domain.cluster_address import cluster_address
from cis490_pipeline.errors import ConfigError

FILE_NAME: Final = "cis490.toml"
FILE_ONLY: Final = frozenset({"models"})
"""Settings that are tables, which only the file can hold."""
# The smallest of the ranges that numpy, torch and XGBoost accept.
_MAX_SEED: Final = 2**31 - 1


def available_processors() -> int:
    """Return how many processors this process may use: in a container, often fewer than exist."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_cache() -> Path:
    """Return where copies of remote files are kept: below ``XDG_CACHE_HOME``, or ``~/.cache``."""
    told = os.environ.get("XDG_CACHE_HOME", "")
    # As its specification says, a relative path there is to be ignored.
    return (Path(told) if Path(told).is_absolute() else Path("~/.cache").expanduser()) / "cis490"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What every command and asset is told."""

    store: Path | Address = Path("data/sample")
    """Receiver store that episodes are read from: a folder, or an address such as `s3://lab/store`."""
    data: Path | Address = Path("data")
    """Where all files made go to: a folder, or an address."""
    cache: Path = field(default_factory=default_cache)
    """Folder for local copies of what lies at an address."""
    seed: int = 0
    """Of training and resampling."""
    split_seed: int = 0
    """Of dealing episodes to sides; apart from ``seed``, so that further seeds share one split."""
    train_hosts: tuple[str, ...] = ("elliott-thinkpad",)
    """Hosts the host split trains on; all others are held out."""
    workers: int = field(default_factory=available_processors)
    """Processes for work by episode."""
    dask_address: str | None = None
    """Dask scheduler that work by episode is sent to: ``tls://HOST:PORT``, or ``tcp://`` on
    loopback; ``None`` uses processes of this machine."""
    dask_tls_ca: Path | None = None
    """Certificate (PEM) of the authority of the Dask cluster; needed for ``tls://``."""
    dask_tls_certificate: Path | None = None
    """Certificate (PEM) that the Dask cluster knows this client by; needed for ``tls://``."""
    dask_tls_key: Path | None = None
    """Private key (PEM) of that certificate; needed for ``tls://``."""
    threads: int = 1
    """Threads of each numeric library in training; results depend on it."""
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Settings of architectures that differ from their defaults, by architecture and name; in
    ``cis490.toml`` a table ``[models.gru]``."""
    dashboard_url: str | None = None
    """Address that events are published to, or several with commas between them (a list in
    ``cis490.toml``); ``None`` publishes nothing."""
    dashboard_token: str | None = field(default=None, repr=False)
    older_dashboard: bool = False
    """Whether events go to the older dashboard: one a request, and six types alone."""
    failure_url: str | None = None
    """Address that a failed run of Dagster's is posted to, as JSON; ``None`` posts nothing."""

    @property
    def dashboards(self) -> tuple[str, ...]:
        """Every address that events are published to, in the order given."""
        return tuple(self.dashboard_url.split(",")) if self.dashboard_url else ()

    @classmethod
    def load(cls, **flags: Any) -> Self:
        """Gather the settings from everywhere they can be given.

        Parameters
        ----------
        **flags : by field name; ``None`` is not given. They win over ``CIS490_<NAME>`` in the
            environment (empty is not given), which wins over ``cis490.toml`` in the working
            folder, which wins over the defaults.

        Raises
        ------
        ConfigError
            Naming every value that is wrong, and where it came from.
        """
        problems: list[str] = []
        given = _from_file(Path(FILE_NAME), problems)
        given |= _from_environment(os.environ)
        given |= _from_flags(flags, problems)
        values: dict[str, Any] = {}
        for name, (value, origin) in given.items():
            try:
                values[name] = _READERS[name](value)
            except ValueError as wrong:
                problems.append(f"{origin}: {wrong}")
        if problems:
            raise ConfigError("; ".join(problems))
        return cls(**values)


_Given = dict[str, tuple[Any, str]]
"""Values by field name, each with where it came from."""


def _from_file(path: Path, problems: list[str]) -> _Given:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as wrong:
        problems.append(f"{path}: {wrong}")
        return {}
    except RecursionError:
        problems.append(f"{path}: nested too deep")
        return {}
    problems.extend(
        f"{path}: {name} is no setting; there are {', '.join(_READERS)}"
        for name in sorted(table.keys() - _READERS.keys())
    )
    return {name: (table[name], f"{path}: {name}") for name in table if name in _READERS}


def _from_environment(environment: Mapping[str, str]) -> _Given:
    variables = {name: f"CIS490_{name.upper()}" for name in _READERS if name not in FILE_ONLY}
    return {
        name: (environment[variable], variable)
        for name, variable in variables.items()
        if environment.get(variable, "").strip()
    }


def _from_flags(flags: Mapping[str, Any], problems: list[str]) -> _Given:
    problems.extend(
        f"{name} is no setting; there are {', '.join(_READERS)}"
        for name in sorted(flags.keys() - _READERS.keys())
    )
    return {
        name: (value, f"--{name.replace('_', '-')}")
        for name, value in flags.items()
        if value is not None and name in _READERS
    }


def _path(value: object) -> Path:
    if not isinstance(value, str | Path) or not str(value).strip():
        raise ValueError(f"must be a path, got {value!r}")
    text = str(value)
    if "\0" in text or text != text.encode("utf-8", "replace").decode():
        # Reports, records and Dagster's storage are UTF-8 and name it.
        raise ValueError(
            f"must be a path in UTF-8 and without NUL, got {text!r}; rename the folder"
        )
    # Not the value: an address may hold a password that somebody took for a part of it.
    if "://" in text:
        raise ValueError("must be a folder of this machine, got an address")
    return Path(value).expanduser()


def _place(value: object) -> Path | Address:
    if isinstance(value, Address):
        return value
    return Address.parse(value) if isinstance(value, str) and "://" in value else _path(value)


def _whole_number(low: int, high: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        text = str(value).strip()
        # A TOML boolean is an int to Python, and 1.0 a number, but neither was meant.
        if isinstance(value, bool) or not text.isascii() or not text.isdecimal():
            raise ValueError(f"must be a whole number of at least {low}, got {value!r}")
        number = int(text) if len(text) < 20 else high + 1
        if not low <= number <= high:
            raise ValueError(f"must be from {low} to {high}, got {text}")
        return number

    return read


def _names(value: object) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise ValueError(f"must be names with commas between them, got {value!r}")
    names = tuple(sorted({part.strip() for part in parts} - {""}))
    if not names:
        raise ValueError(f"must name at least one host, got {value!r}")
    return names


def _models(value: object) -> dict[str, dict[str, Any]]:
    if not isinstance(value, Mapping):
        raise ValueError(f"must be tables such as [models.gru], got {value!r:.60}")
    known = {str(architecture) for architecture in Architecture}
    for name, settings in value.items():
        if name not in known:
            raise ValueError(f"{name!r} is no architecture; there are {', '.join(sorted(known))}")
        if not isinstance(settings, Mapping):
            raise ValueError(f"{name} must be a table of settings, got {settings!r:.60}")
        if taken := sorted(settings.keys() & {"seed", "threads"}):
            raise ValueError(f"{name}.{taken[0]} is a setting of its own: put it at the top")
    return {name: dict(settings) for name, settings in value.items()}


def _address(value: object) -> str:
    text = value.strip() if isinstance(value, str) else ""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"must be an http:// or https:// address, got {value!r}")
    return text


def _cluster(value: object) -> str:
    return cluster_address(value if isinstance(value, str) else repr(value))


def _addresses(value: object) -> str:
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list) or not parts:
        raise ValueError(f"must be an http:// or https:// address, got {value!r}")
    # Each once: a dashboard is acknowledged for by its address.
    return ",".join(dict.fromkeys(_address(part) for part in parts))


def _secret(value: object) -> str:
    text = value.strip() if isinstance(value, str) else ""
    # Its value stays out of the message: messages end up in logs.
    if not text or not text.isascii() or not text.isprintable():
        raise ValueError("must be printable ASCII text")
    return text


def _truth(value: object) -> bool:
    known = {"true": True, "1": True, "false": False, "0": False}
    text = str(value).strip().lower()
    if text not in known:
        raise ValueError(f"must be true or false, got {value!r}")
    return known[text]


_READERS: Final[dict[str, Callable[[object], Any]]] = {
    "store": _place,
    "data": _place,
    "cache": _path,
    "seed": _whole_number(0, _MAX_SEED),
    "split_seed": _whole_number(0, _MAX_SEED),
    "train_hosts": _names,
    "workers": _whole_number(1, 1024),
    "dask_address": _cluster,
    "dask_tls_ca": _path,
    "dask_tls_certificate": _path,
    "dask_tls_key": _path,
    "threads": _whole_number(1, 1024),
    "models": _models,
    "dashboard_url": _addresses,
    "dashboard_token": _secret,
    "older_dashboard": _truth,
    "failure_url": _address,
}

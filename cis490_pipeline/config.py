"""Settings of a run: flags over environment over ``cis490.toml`` over defaults."""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Self, cast, get_args, get_type_hints

import msgspec
from msgspec import Meta

from cis490_pipeline.domain import CHANNELS, Address, Architecture, is_episode_id
from cis490_pipeline.domain.catalogue import DEFAULT_FEATURES, FlatKind
from cis490_pipeline.domain.cluster_address import cluster_address
from cis490_pipeline.domain.hosts import http_address
from cis490_pipeline.domain.terms import Setting
from cis490_pipeline.errors import ConfigError

FILE_NAME: Final = "cis490.toml"
FILE_ONLY: Final = frozenset({"models", "calibrate_on", "quarantine"})
"""Settings that are tables, which only the file can hold."""


def available_processors() -> int:
    """Return the number of processors available to this process, which a container may limit."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_cache() -> Path:
    """Return the folder for copies of remote files: in ``XDG_CACHE_HOME``, or ``~/.cache``."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification says to ignore a relative path.
    return (Path(given) if Path(given).is_absolute() else Path("~/.cache").expanduser()) / "cis490"


def _path(value: object) -> Path:
    if not isinstance(value, str | Path) or not str(value).strip():
        raise ValueError(f"must be a path, got {value!r}")
    text = str(value)
    if "\0" in text or text != text.encode("utf-8", "replace").decode():
        # Reports, records and Dagster's storage are UTF-8 and name it.
        raise ValueError(
            f"must be a path in UTF-8 and without NUL, got {text!r}; rename the folder"
        )
    # The message omits the value: an address may contain a password.
    if "://" in text:
        raise ValueError("must be a folder of this machine, got an address")
    return Path(value).expanduser()


def _place(value: object) -> Path | Address:
    if isinstance(value, Address):
        return value
    return Address.parse(value) if isinstance(value, str) and "://" in value else _path(value)


def _names(value: object) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise ValueError(f"must be names with commas between them, got {value!r}")
    return tuple(sorted({part.strip() for part in parts} - {""}))


def _some_names(value: object) -> tuple[str, ...]:
    if names := _names(value):
        return names
    raise ValueError(f"must name at least one host, got {value!r}")


def _features(value: object) -> FlatKind:
    if value in (kinds := get_args(FlatKind)):
        return cast(FlatKind, value)
    raise ValueError(f"must be one of {', '.join(kinds)}, got {value!r:.60}")


def _models(value: object) -> dict[str, dict[str, Setting]]:
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


def _episodes(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise ValueError(f"must be a table of episode ids by host, got {value!r:.60}")
    for host, episode in value.items():
        if not isinstance(episode, str) or not is_episode_id(episode):
            raise ValueError(f"{host}: {episode!r:.60} is no episode id")
    return dict(value)


def _quarantine(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise ValueError(f"must be a table of reasons by channel, got {value!r:.60}")
    known = {channel.name for channel in CHANNELS}
    for name, reason in value.items():
        if isinstance(reason, Mapping) and name not in known:
            # TOML reads guest.load_1m without quotes as a table within a table.
            raise ValueError(f'{name} must be a channel in quotes, such as "guest.load_1m"')
        if name not in known:
            raise ValueError(f"{name!r:.60} is no channel; there are {', '.join(sorted(known))}")
        if not isinstance(reason, str) or not reason.strip():
            raise ValueError(f"{name} needs its reason in words, got {reason!r:.60}")
    return {name: value[name].strip() for name in sorted(value)}


def _cluster(value: object) -> str:
    return cluster_address(value if isinstance(value, str) else repr(value))


def _addresses(value: object) -> str:
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list) or not parts:
        raise ValueError(f"must be an http:// or https:// address, got {value!r}")
    # Without duplicates: acknowledgements are stored by address.
    return ",".join(dict.fromkeys(http_address(part) for part in parts))


def _secret(value: object) -> str:
    text = value.strip() if isinstance(value, str) else ""
    # The message omits the value, since messages end up in logs.
    if not text or not text.isascii() or not text.isprintable():
        raise ValueError("must be printable ASCII text")
    return text


Place = Annotated[Path | Address, _place]
Folder = Annotated[Path, _path]
# The smallest of the ranges that numpy, torch and XGBoost accept.
Seed = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Count = Annotated[int, Meta(ge=1, le=1024)]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of every command and asset."""

    store: Place = Path("data/sample")
    """Receiver store that episodes are read from: a folder, or an address such as `s3://lab/store`."""
    data: Place = Path("data")
    """Where all artefacts are written: a folder, or an address."""
    cache: Folder = field(default_factory=default_cache)
    """Folder for local copies of data at an address."""
    seed: Seed = 0
    """Seed of training and resampling."""
    split_seed: Seed = 0
    """Seed of the split; apart from ``seed``, so that further seeds share one split."""
    train_hosts: Annotated[tuple[str, ...], _some_names] = ("elliott-thinkpad",)
    """Hosts on the train side of recipe ``host``; all others are held out."""
    val_hosts: Annotated[tuple[str, ...], _names] = ()
    """Hosts on the val side of recipe ``host``; where none is named, it is chosen among the train
    hosts."""
    features: Annotated[FlatKind, _features] = DEFAULT_FEATURES
    """What ``gbt`` and ``mlp`` get of a window: ``summary`` (five statistics of each channel) or
    ``history`` (these, linear means within the window, and the 20 s before it)."""
    workers: Count = field(default_factory=available_processors)
    """Processes for per-episode work."""
    dask_address: Annotated[str | None, _cluster] = None
    """Dask scheduler for per-episode work: ``tls://HOST:PORT``, or ``tcp://`` on
    loopback; ``None`` uses processes of this machine."""
    dask_tls_ca: Annotated[Path | None, _path] = None
    """CA certificate (PEM) of the Dask cluster; needed for ``tls://``."""
    dask_tls_certificate: Annotated[Path | None, _path] = None
    """Client certificate (PEM) for the Dask cluster; needed for ``tls://``."""
    dask_tls_key: Annotated[Path | None, _path] = None
    """Private key (PEM) of that certificate; needed for ``tls://``."""
    threads: Count = 1
    """Threads of each numeric library in training; results depend on it."""
    parallel_models: Annotated[int, Meta(ge=0, le=1024)] = 0
    """Models of a split trained at the same time, each in a process of ``threads`` threads; changes
    no result. 0: as many as processors and memory allow, or one of small data or on a GPU."""
    models: Annotated[Mapping[str, Mapping[str, Setting]], _models] = field(default_factory=dict)
    """Non-default settings of architectures, by architecture and name; in ``cis490.toml`` a table
    ``[models.gru]``."""
    calibrate_on: Annotated[Mapping[str, str], _episodes] = field(default_factory=dict)
    """Clean episode that each host's calibration record is made from, by host; a table in
    ``cis490.toml``. For other hosts it is their earliest sound clean-only episode. Where any is
    named, reports also measure each model against the records, and its alarm is fitted on them."""
    quarantine: Annotated[Mapping[str, str], _quarantine] = field(default_factory=dict)
    """Channels that no model, probe or check sees, each with its reason; a table in
    ``cis490.toml``. For channels that show the recorder: see ``cis490 controls``."""
    dashboard_url: Annotated[str | None, _addresses] = None
    """Dashboards that events are published to, separated by commas (a list in ``cis490.toml``);
    ``None`` publishes nothing."""
    dashboard_token: Annotated[str | None, _secret] = field(default=None, repr=False)
    older_dashboard: bool = False
    """Whether the dashboard is the older one: one event per request, six types only."""
    failure_url: Annotated[str | None, http_address] = None
    """Address that failed Dagster runs are posted to as JSON; ``None`` posts nothing."""

    @property
    def dashboards(self) -> tuple[str, ...]:
        """Addresses that events are published to, in the given order."""
        return tuple(self.dashboard_url.split(",")) if self.dashboard_url else ()

    @classmethod
    def load(cls, **flags: Any) -> Self:
        """Load the settings from flags, environment, ``cis490.toml`` and defaults.

        Parameters
        ----------
        **flags : values by field name; ``None`` means not given. Flags override ``CIS490_<NAME>``
            in the environment (empty means not given), which overrides ``cis490.toml`` in the
            working folder, which overrides the defaults.

        Raises
        ------
        ConfigError
            Naming every invalid value and its origin.
        """
        problems: list[str] = []
        kinds = get_type_hints(cls, include_extras=True)
        table = _table(Path(FILE_NAME), problems)
        given = {name: (value, f"{FILE_NAME}: {name}") for name, value in table.items()}
        for name in kinds.keys() - FILE_ONLY:
            variable = f"CIS490_{name.upper()}"
            if (text := os.environ.get(variable, "")).strip():
                given[name] = text, variable
        given |= {
            name: (value, f"--{name.replace('_', '-')}")
            for name, value in flags.items()
            if value is not None
        }
        values: dict[str, Any] = {}
        for name, (value, origin) in given.items():
            if name not in kinds:
                known = ", ".join(kinds)
                problems.append(f"{origin} is no setting; there are {known}")
                continue
            try:
                values[name] = _read(kinds[name], value)
            except ValueError as wrong:
                problems.append(f"{origin}: {wrong}")
        if problems:
            raise ConfigError("; ".join(problems))
        return cls(**values)


def _table(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as wrong:
        problems.append(f"{path}: {wrong}")
    except RecursionError:
        problems.append(f"{path}: nested too deep")
    return {}


def _read(kind: Any, value: object) -> Any:
    """Return a value as its annotation says: by the function in it, or by its type and bounds."""
    first = next(iter(getattr(kind, "__metadata__", ())), None)
    if callable(first):
        return first(value)
    try:
        return msgspec.convert(
            msgspec.json.decode(value) if isinstance(value, str) else value, kind
        )
    except msgspec.DecodeError:
        wanted = "true or false"
        if isinstance(first, Meta):
            wanted = f"a whole number from {first.ge} to {first.le}"
        raise ValueError(f"must be {wanted}, got {value!r:.60}") from None

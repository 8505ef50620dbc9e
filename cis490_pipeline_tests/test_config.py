import ctypes
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from cis490_pipeline.config import Settings
from cis490_pipeline.domain import Address
from cis490_pipeline.errors import ConfigError


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder and no variable of ours."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "STORE",
        "DATA",
        "CACHE",
        "SEED",
        "WORKERS",
        "THREADS",
        "DASK_ADDRESS",
        "DASK_TLS_CA",
        "DASK_TLS_CERTIFICATE",
        "DASK_TLS_KEY",
        "DASHBOARD_URL",
        "DASHBOARD_TOKEN",
        "OLDER_DASHBOARD",
    ):
        monkeypatch.delenv(f"CIS490_{name}", raising=False)
    return tmp_path


def test_defaults_need_nothing() -> None:
    settings = Settings.load()

    assert (settings.store, settings.data) == (Path("data/sample"), Path("data"))
    assert (settings.seed, settings.threads, settings.dashboard_url) == (0, 1, None)
    assert settings.workers >= 1


def test_store_and_data_may_be_addresses(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIS490_STORE", "s3://lab/store/")
    monkeypatch.setenv("XDG_CACHE_HOME", str(bare))

    settings = Settings.load(data="file:///mnt/lab")

    assert (settings.store, settings.data) == (
        Address("s3", "lab/store"),
        Address("file", "/mnt/lab"),
    )
    assert settings.cache == bare / "cis490"
    assert Settings.load(cache="~/copies").cache == Path("~/copies").expanduser()
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert Settings.load().cache == Path("~/.cache/cis490").expanduser()


def test_flags_win_over_environment_over_file_over_defaults(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bare / "cis490.toml").write_text('seed = 1\nthreads = 1\nworkers = 1\nstore = "lab"\n')
    monkeypatch.setenv("CIS490_SEED", "2")
    monkeypatch.setenv("CIS490_THREADS", "2")
    monkeypatch.setenv("CIS490_STORE", " ")

    settings = Settings.load(seed=3, data=None)

    assert (settings.seed, settings.threads, settings.workers) == (3, 2, 1)
    assert (settings.store, settings.data) == (Path("lab"), Path("data"))


def test_the_kind_of_features_comes_from_each_place_and_is_one_of_two(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Settings.load().features == "summary"
    (bare / "cis490.toml").write_text('features = "history"\n')
    assert Settings.load().features == "history"
    monkeypatch.setenv("CIS490_FEATURES", "summary")
    assert Settings.load().features == "summary"
    assert Settings.load(features="history").features == "history"
    with pytest.raises(ConfigError, match="--features: must be one of summary, history, got 'te"):
        Settings.load(features="tensor")


def test_every_fault_is_told_with_where_it_came_from(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bare / "cis490.toml").write_text('workers = true\nsped = 3\ndata = ""\n')
    monkeypatch.setenv("CIS490_SEED", "-1")
    monkeypatch.setenv("CIS490_DASHBOARD_URL", "dashboard:8447")
    monkeypatch.setenv("CIS490_DASK_ADDRESS", "tcp://10.0.0.5:8786")

    with pytest.raises(ConfigError) as refused:
        Settings.load(threads=0, store="s3://me:hunter2@lab", cache="s3://lab", colour="red")

    for told in (
        "cis490.toml: workers: must be a whole number from 1 to 1024, got True",
        "cis490.toml: sped is no setting",
        "cis490.toml: data: must be a path",
        "CIS490_SEED: must be a whole number from 0 to 2147483647, got '-1'",
        "CIS490_DASHBOARD_URL: must be an http:// or https:// address, got 'dashboard:8447'",
        "CIS490_DASK_ADDRESS: must be tls://HOST:PORT, or tcp://HOST:PORT on loopback",
        "--threads: must be a whole number from 1 to 1024, got 0",
        "--store: s3:// must name a place alone",
        "--cache: must be a folder of this machine, got an address",
        "colour is no setting",
    ):
        assert told in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_whether_the_dashboard_is_the_older_one_is_true_or_false(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bare / "cis490.toml").write_text("older_dashboard = true\n")

    assert Settings.load().older_dashboard
    monkeypatch.setenv("CIS490_OLDER_DASHBOARD", "false")
    assert not Settings.load().older_dashboard
    monkeypatch.setenv("CIS490_OLDER_DASHBOARD", "maybe")
    with pytest.raises(ConfigError, match="CIS490_OLDER_DASHBOARD: must be true or false, got"):
        Settings.load()


@pytest.mark.parametrize("content", [b"seed = ", b"\xff"])
def test_unreadable_file_is_named(bare: Path, content: bytes) -> None:
    (bare / "cis490.toml").write_bytes(content)

    with pytest.raises(ConfigError, match=r"^cis490\.toml: "):
        Settings.load()


@pytest.mark.parametrize("seed", [2**31, 1.0, "1e3", "9" * 5000, True])
def test_seed_that_a_library_would_refuse_is_refused_first(seed: object) -> None:
    with pytest.raises(ConfigError, match="--seed: must be"):
        Settings.load(seed=seed)


def test_token_shows_neither_in_settings_nor_in_messages() -> None:
    settings = Settings.load(dashboard_token="hunter2", dashboard_url="https://dash.example")

    assert settings.dashboard_token == "hunter2"
    assert "hunter2" not in repr(settings)
    with pytest.raises(ConfigError, match="printable ASCII") as refused:
        Settings.load(dashboard_token="hunter2\n3")
    assert "hunter2" not in str(refused.value)


_MAPPED_FOR_1_MIB = """
import ctypes
import numpy as np
from cis490_pipeline.compute.process import keep_freed_memory

class Mallinfo(ctypes.Structure):
    _fields_ = [(str(i), ctypes.c_size_t) for i in range(10)]

    n_mapped = property(lambda self: getattr(self, "3"))

read = ctypes.CDLL(None).mallinfo2
read.restype = Mallinfo
keep_freed_memory()
before = read().n_mapped
array = np.ones(1 << 20, dtype=np.uint8)
print(read().n_mapped - before)
"""


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or not hasattr(ctypes.CDLL(None), "mallinfo2"),
    reason="asks glibc from 2.33 on; other C libraries are left alone",
)
@pytest.mark.parametrize(
    ("told", "mapped"), [({}, "0"), ({"MALLOC_MMAP_THRESHOLD_": "131072"}, "1")]
)
def test_large_arrays_are_not_mapped_anew_unless_the_environment_says_so(
    told: dict[str, str], mapped: str
) -> None:
    free = {k: v for k, v in os.environ.items() if "MALLOC" not in k and k != "GLIBC_TUNABLES"}

    done = subprocess.run(
        [sys.executable, "-c", _MAPPED_FOR_1_MIB],
        env=free | told,
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == mapped


def test_settings_of_architectures_come_from_tables_of_the_file(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bare / "cis490.toml").write_text("[models.gru]\nhidden = 32\n[models.mlp]\nwidths = [8, 8]\n")
    monkeypatch.setenv("CIS490_MODELS", "gru")

    assert Settings.load().models == {"gru": {"hidden": 32}, "mlp": {"widths": [8, 8]}}


def test_channels_in_quarantine_come_with_their_reasons_from_the_file(bare: Path) -> None:
    assert Settings.load().quarantine == {}

    (bare / "cis490.toml").write_text('[quarantine]\n"guest.load_1m" = " steps at shams "\n')

    assert Settings.load().quarantine == {"guest.load_1m": "steps at shams"}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("models = 3", "must be tables such as"),
        ("calibrate_on = 3", "must be a table of episode ids by host, got 3"),
        ("[calibrate_on]\nkiosk = 3", "kiosk: 3 is no episode id"),
        ("[calibrate_on]\nkiosk = 'first'", "kiosk: 'first' is no episode id"),
        ("quarantine = 3", "must be a table of reasons by channel, got 3"),
        ("[quarantine]\n'guest.load_9m' = 'x'", "'guest.load_9m' is no channel; there are guest.c"),
        ("[quarantine]\nguest.load_1m = 'x'", "guest must be a channel in quotes"),
        ("[quarantine]\n'guest.load_1m' = ' '", "guest.load_1m needs its reason in words, got ' '"),
        ("[quarantine]\n'guest.load_1m' = 1", "guest.load_1m needs its reason in words, got 1"),
        ("[models.svm]\nc = 1", "'svm' is no architecture; there are cnn, gbt, gru"),
        ("[models]\ngru = 3", "gru must be a table of settings"),
        ("[models.gru]\nseed = 3", "gru.seed is a setting of its own"),
    ],
)
def test_table_of_no_architecture_is_refused(bare: Path, content: str, told: str) -> None:
    (bare / "cis490.toml").write_text(content)

    with pytest.raises(ConfigError, match=told):
        Settings.load()


@pytest.mark.parametrize("name", ["a\0b", os.fsdecode(b"d\xff")])
def test_a_path_that_no_report_can_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="--data: must be a path in UTF-8 and without NUL"):
        Settings.load(data=name)

import pytest

from cis490_pipeline.domain.cluster_address import cluster_address


@pytest.mark.parametrize(
    "address",
    [
        "tcp://127.0.0.1:8786",
        "tcp://127.8.9.1:1",
        "tcp://localhost:8786",
        "tcp://[::1]:8786",
        "tls://scheduler.lab:8786",
        "tls://10.0.0.5:8786",
        "tls://[2001:db8::5]:8786",
    ],
)
def test_loopback_and_tls_are_taken(address: str) -> None:
    assert cluster_address(f" {address} ") == address


@pytest.mark.parametrize(
    "address",
    [
        "tcp://10.0.0.5:8786",
        "tcp://scheduler.lab:8786",
        "tcp://0.0.0.0:8786",
        "tcp://[::]:8786",
        "tcp://localhost.evil.example:8786",
        "tcp://127.0.0.1.evil.example:8786",
        "tcp://127.1:8786",
        "127.0.0.1:8786",
        "ws://127.0.0.1:8786",
        "ucx://127.0.0.1:8786",
        "inproc://127.0.0.1/1/1",
        "tcp://127.0.0.1",
        "tls://scheduler.lab",
        "tls://scheduler.lab:0",
        "tls://:8786",
        "tls://scheduler.lab:99999",
        "tls://scheduler.lab:8786/path",
        "tls://scheduler.lab:8786?security=none",
        "tls://[::1:8786",
        "tls://",
        "",
    ],
)
def test_anything_else_is_refused_with_what_is_wanted(address: str) -> None:
    with pytest.raises(ValueError, match="must be tls://HOST:PORT, or tcp://HOST:PORT on loopback"):
        cluster_address(address)


def test_a_password_is_not_repeated() -> None:
    with pytest.raises(ValueError, match="a user or a password") as refused:
        cluster_address("tls://me:hunter2@scheduler.lab:8786")

    assert "hunter2" not in str(refused.value)

"""Dask cluster connection: address, TLS, and validation of the workers."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cis490_pipeline.compute.dask_worker import Expectation, found_unfit
from cis490_pipeline.compute.installed import installed
from cis490_pipeline.domain.cluster_address import cluster_address
from cis490_pipeline.errors import ClusterError, ConfigError

if TYPE_CHECKING:
    from distributed import Client
    from distributed.security import Security

_TLS_FILES: Final = ("ca", "certificate", "key")


@dataclass(frozen=True, kw_only=True)
class DaskCluster:
    """Connection settings of a cluster, and what its workers must match."""

    address: str
    """Scheduler address: ``tls://HOST:PORT``, or ``tcp://`` on loopback."""
    ca: Path | None = None
    """CA certificate that signed those of scheduler and workers; for ``tls://``."""
    certificate: Path | None = None
    """Client certificate signed by the same CA; for ``tls://``."""
    key: Path | None = None
    """Private key of the client certificate; for ``tls://``."""
    run: str = ""
    """Run name used in task keys, as shown on Dask's dashboard."""
    fingerprint: Callable[[], str] | None = None
    """Fingerprint of the input files as a process sees them; its ``str`` names them. Must pickle,
    and return the same value on every worker as here."""
    patience_s: float = 60.0
    """Timeout for the scheduler, and for a first worker, s."""

    def __post_init__(self) -> None:
        try:
            cluster_address(self.address)
        except ValueError as wrong:
            raise ConfigError(f"Dask address: {wrong}") from None

    def security(self) -> "Security | None":
        """Build Dask's TLS configuration; None on loopback without TLS.

        Raises `ConfigError` if one of the three files is not set or does not exist.
        """
        if not self.address.startswith("tls:"):
            return None
        from distributed.security import Security

        for name in _TLS_FILES:
            path = getattr(self, name)
            if path is None or not path.is_file():
                state = "none was given" if path is None else f"{path} is no file"
                raise ConfigError(
                    f"Dask address {self.address}: TLS needs three PEM files, and of the {name} "
                    f"{state}; set dask_tls_ca, dask_tls_certificate and dask_tls_key"
                )
        return Security(
            tls_ca_file=str(self.ca),
            tls_client_cert=str(self.certificate),
            tls_client_key=str(self.key),
            require_encryption=True,
        )

    @contextmanager
    def client(self) -> Iterator["Client"]:
        """Connect for the duration of the block.

        Raises `ClusterError` if the scheduler is unreachable or refuses the connection.
        """
        try:
            from distributed import Client
        except ImportError as missing:
            raise ConfigError(
                "a Dask address is set, but Dask is not installed: "
                "pip install 'cis490_pipeline[dask]'"
            ) from missing
        security = self.security()
        try:
            client = Client(
                self.address,
                security=security,
                timeout=self.patience_s,
                set_as_default=False,
                name="cis490",
            )
        except (OSError, TimeoutError) as error:
            raise ClusterError(
                f"no Dask scheduler at {self.address}: {error}; start it, or unset dask_address"
            ) from error
        try:
            yield client
        finally:
            client.close()

    def threads(self, client: "Client") -> int:
        """Count the threads of all workers.

        Raises `ClusterError` if a worker is reached over a network without TLS: a third party there
        could inject code or results.
        """
        threads: dict[str, int] = client.nthreads()
        for address in threads:
            _require_safe("a worker", address)
        return sum(threads.values())

    def expectation(self, client: "Client") -> Expectation:
        """Validate scheduler and workers; return the expectation for workers that join later.

        Raises `ClusterError` if no worker appears, one differs from this process in a version or in
        its input files, or one is reached without TLS.
        """
        _require_safe("the scheduler", client.scheduler_info()["address"])
        try:
            client.wait_for_workers(1, timeout=self.patience_s)
        except TimeoutError as error:
            raise no_worker(self) from error
        self.threads(client)
        seen = self.fingerprint() if self.fingerprint is not None else ""
        expected = Expectation(uuid.uuid4().hex, installed(), self.fingerprint, seen)
        answers = client.run(found_unfit, expected, on_error="return")
        for worker, answer in sorted(answers.items()):
            if isinstance(answer, str):
                raise ClusterError(f"Dask worker {worker} {answer}")
            if isinstance(answer, Exception):
                raise ClusterError(
                    f"Dask worker {worker} cannot run this project's code: "
                    f"{type(answer).__name__}: {answer}; install the same version there"
                ) from answer
        return expected


def no_worker(cluster: DaskCluster) -> ClusterError:
    """Build the error for a cluster without workers."""
    return ClusterError(
        f"the Dask cluster at {cluster.address} had no worker for {cluster.patience_s:g} s; "
        "start one, and check why the last one ended; completed work is kept"
    )


def _require_safe(who: str, address: str) -> None:
    try:
        cluster_address(address)
    except ValueError as wrong:
        raise ClusterError(
            f"{who} of the Dask cluster listens where it should not: {wrong}; start it with "
            "--host 127.0.0.1, or with --protocol tls and certificates"
        ) from None

"""A Dask cluster that tasks are sent to: where it is, how it is reached, whom it is made of."""

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
    """How a cluster is reached, and what is asked of its workers."""

    address: str
    """Of the scheduler: ``tls://HOST:PORT``, or ``tcp://`` on loopback."""
    ca: Path | None = None
    """Certificate of the authority that signed those of scheduler and workers; for ``tls://``."""
    certificate: Path | None = None
    """Of this client, signed by the same authority; for ``tls://``."""
    key: Path | None = None
    """Private key of the client's certificate; for ``tls://``."""
    run: str = ""
    """Name of the run in the keys of its tasks, as Dask's pages show them."""
    fingerprint: Callable[[], str] | None = None
    """Says what a process sees of the files the work needs; printed, it names them. It must pickle,
    and give on each worker what it gives here."""
    patience_s: float = 60.0
    """Seconds to wait for the scheduler, and for workers while there is none."""

    def __post_init__(self) -> None:
        try:
            cluster_address(self.address)
        except ValueError as wrong:
            raise ConfigError(f"Dask address: {wrong}") from None

    def security(self) -> "Security | None":
        """Return the certificates that Dask is to use; None on loopback without TLS.

        Raises
        ------
        ConfigError
            If one of the three files is not given, or is no file.
        """
        if not self.address.startswith("tls:"):
            return None
        from distributed.security import Security

        for name in _TLS_FILES:
            path = getattr(self, name)
            if path is None or not path.is_file():
                found = "none was given" if path is None else f"{path} is no file"
                raise ConfigError(
                    f"Dask address {self.address}: TLS needs three PEM files, and of the {name} "
                    f"{found}; set dask_tls_ca, dask_tls_certificate and dask_tls_key"
                )
        return Security(
            tls_ca_file=str(self.ca),
            tls_client_cert=str(self.certificate),
            tls_client_key=str(self.key),
            require_encryption=True,
        )

    @contextmanager
    def client(self) -> Iterator["Client"]:
        """Connect, for as long as the block lasts.

        Raises
        ------
        ClusterError
            If there is no scheduler, or it refuses.
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
        """Count the workers' threads.

        Raises
        ------
        ClusterError
            If somebody in it is reached over a network without TLS: who listens there, or sits
            between, could put in code or results.
        """
        found: dict[str, int] = client.nthreads()
        for address in found:
            _require_safe("a worker", address)
        return sum(found.values())

    def expectation(self, client: "Client") -> Expectation:
        """Look at scheduler and workers, and return what every later worker must meet.

        Raises
        ------
        ClusterError
            If no worker comes, one differs from this process in a version or in what it sees, or
            one is reached without TLS.
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
    """Return the fault of a cluster without workers."""
    return ClusterError(
        f"the Dask cluster at {cluster.address} had no worker for {cluster.patience_s:g} s; "
        "start one, and look at why the last one ended; what was finished is kept"
    )


def _require_safe(who: str, address: str) -> None:
    try:
        cluster_address(address)
    except ValueError as wrong:
        raise ClusterError(
            f"{who} of the Dask cluster listens where it should not: {wrong}; start it with "
            "--host 127.0.0.1, or with --protocol tls and certificates"
        ) from None

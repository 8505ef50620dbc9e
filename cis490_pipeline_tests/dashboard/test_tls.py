import asyncio
import datetime
import ssl

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cis490_pipeline.cli.operate.dashboard import _tls
from cis490_pipeline.dashboard.access.rules import Access
from cis490_pipeline.dashboard.server.app import Dashboard, open_hub, serve
from cis490_pipeline_tests.dashboard.serving import now

TOKEN = "correct-horse-battery-staple"


@pytest.fixture
def certificate(tmp_path):
    """A certificate of localhost, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    today = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert, secret = tmp_path / "lab.crt", tmp_path / "lab.key"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert, secret


def test_over_tls_the_cookie_is_sent_over_nothing_else(certificate):
    cert, key = certificate

    async def test():
        stop, listening = asyncio.Event(), asyncio.get_running_loop().create_future()
        served = Dashboard(access=Access(token=TOKEN, tls=True), hub=open_hub(None)[0])
        serving = asyncio.create_task(
            serve(served, 0, tls=_tls(str(cert), str(key)), ready=listening.set_result, stop=stop)
        )
        url = f"https://localhost:{await listening}"
        trusted = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=str(cert)))
        async with aiohttp.ClientSession(connector=trusted) as session:
            answer = await session.post(
                f"{url}/login",
                data={"token": TOKEN},
                headers={"Origin": url},
                allow_redirects=False,
            )
            assert answer.status == 303
            assert "Secure" in answer.headers["Set-Cookie"].split("; ")
            assert (await session.get(url)).status == 200
        stop.set()
        await serving

    now(test)

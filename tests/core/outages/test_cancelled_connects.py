"""A connect that is cancelled on its way, as a shutdown does: it leaves no connection behind, and no
error that nobody retrieves.
"""

import asyncio
import datetime
import gc
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from soniq.postgres.database import Database
from soniq.settings import Settings
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

STEPS = 60
"""Turns of the event loop after which a connect is cut off, each once; one takes fewer than that
beside the turns in which it waits for the network.
"""
CUTS = 15
"""Times on a slow network at which one is, a hundredth of a second apart."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """A server's context, with a certificate that it signed itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    file: Path = tmp_path_factory.mktemp("tls") / "server.pem"
    plain = serialization.NoEncryption()
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    file.write_bytes(key.private_bytes(pem, pkcs8, plain) + made.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


@pytest.fixture(params=[True, False], ids=["tls", "plain"])
def network(
    request: pytest.FixtureRequest, database_url: str, certificate: ssl.SSLContext
) -> Iterator[Proxy]:
    """The server over TCP, with TLS and without."""
    with Proxy.to(database_url, certificate if request.param else None) as proxy:
        yield proxy


@pytest.fixture
async def complaints() -> AsyncIterator[list[dict[str, Any]]]:
    """What asyncio has to complain of."""
    met: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: met.append(context))
    yield met
    loop.set_exception_handler(None)


def reached_through(network: Proxy, url: str) -> Database:
    return Database(network.url(url), Settings(connect_timeout=20.0))


async def cut_off(connecting: "asyncio.Task[asyncpg.Connection[asyncpg.Record]]") -> None:
    """Cancel a connect; one that was faster is closed."""
    connecting.cancel()
    await asyncio.wait([connecting])
    if not connecting.cancelled():
        await connecting.result().close()


async def test_a_connect_can_be_cut_off_at_each_step(
    network: Proxy, database_url: str, complaints: list[dict[str, Any]]
) -> None:
    database = reached_through(network, database_url)
    connection = await database.connect()
    await connection.close()
    made = network.made
    for steps in range(STEPS):
        connecting = asyncio.create_task(database.connect())
        for _ in range(steps):
            await asyncio.sleep(0)
        await cut_off(connecting)
    assert network.made > made  # there was something to be cut off
    network.delay(0.01)
    for cut in range(CUTS):
        connecting = asyncio.create_task(database.connect())
        await asyncio.sleep(cut * 0.01)
        await cut_off(connecting)

    async def all_have_ended() -> bool:
        return network.open == 0

    await eventually(all_have_ended)
    gc.collect()
    await asyncio.sleep(0)
    assert complaints == []


async def test_one_that_gets_no_answer_is_given_up_within_some_seconds(
    network: Proxy, database_url: str, complaints: list[dict[str, Any]]
) -> None:
    database = reached_through(network, database_url)
    network.darken()
    for cuts in (1, 2):
        connecting = asyncio.create_task(database.connect())
        await asyncio.sleep(0.2)
        began = time.monotonic()
        for _ in range(cuts):
            connecting.cancel()
            await asyncio.sleep(0.1)
        with pytest.raises(asyncio.CancelledError):
            await connecting
        assert time.monotonic() - began < 5.0
    network.restore()
    gc.collect()
    await asyncio.sleep(0)
    assert complaints == []

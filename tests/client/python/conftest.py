import os
import pathlib
from typing import Any, Iterator

import pytest
from cascade_client import Client, RetryPolicy
from facade import AsyncFacade
from fake_server import FakeServer
from tcp_proxy import TcpProxy
from tiny_server import TinyServer
from wire_script import at

# Long enough for every test that leaves a reply or breaks its connection; the tiny model ends when it likes.
LONG = {"max_tokens": 400, "temperature": 1.0, "seed": 4, "ignore_eos": True}


@pytest.fixture(scope="session")
def server() -> Iterator[TinyServer]:
    server = TinyServer()
    yield server
    server.close()


@pytest.fixture(params=[Client, AsyncFacade], ids=["sync", "async"])
def make_client(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Both clients, in the sync one's shape."""
    clients = []

    def make(*args: Any, **named: Any) -> Any:
        clients.append(request.param(*args, **named))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def client(server: TinyServer, make_client: Any) -> Any:
    return make_client(server.address)


@pytest.fixture
def proxy(server: TinyServer) -> Iterator[TcpProxy]:
    proxy = TcpProxy(server.address)
    yield proxy
    proxy.close()


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    fake = FakeServer()
    yield fake
    fake.close()
    assert fake.unused() == []


@pytest.fixture
def fake_client(fake: FakeServer, make_client: Any) -> Any:
    return make_client(fake.address, retry=RetryPolicy(first_delay=0.01))


@pytest.fixture
def session(fake: FakeServer, fake_client: Any) -> Any:
    """Of the fake server, at position 10."""
    fake.expect("CreateSession", at(10))
    return fake_client.create_session()


@pytest.fixture(scope="session")
def project() -> pathlib.Path:
    return pathlib.Path(os.environ["CASCADE_PROJECT"])


# A test that does not run is a fault, and so is a run without tests.
_ran = {"call": 0, "skipped": 0}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _ran["call"] += report.when == "call" and not report.skipped
    _ran["skipped"] += report.skipped


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _ran["skipped"] or not _ran["call"]:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    terminalreporter.write_line(f"{_ran['call']} tests ran, {_ran['skipped']} were skipped")

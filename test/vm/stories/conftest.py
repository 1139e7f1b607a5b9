"""What the stories need is that of test/e2e, and the scripted daemon of the Python client's tests."""

import importlib.util
import pathlib
import sys

import pytest

TOP = pathlib.Path(__file__).resolve().parents[3]
sys.path[:0] = [str(TOP / folder) for folder in ("test/vm/support", "test/e2e", "contrib/python/tests", "contrib/python")]

_spec = importlib.util.spec_from_file_location("e2e_conftest", TOP / "test/e2e/conftest.py")
_e2e = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_e2e)
folder, berthd, child, start = _e2e.folder, _e2e.berthd, _e2e.child, _e2e.start

from tls_files import TlsFiles  # noqa: E402
from tls_server import TlsServer  # noqa: E402


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    return TlsFiles(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def certificate(files):
    return files.server("127.0.0.1")


@pytest.fixture
def server(certificate):
    """server(**options) starts a TlsServer."""
    started = []

    def begin(**options):
        started.append(TlsServer(certificate, **options))
        return started[-1]

    yield begin
    for each in started:
        each.stop()


@pytest.fixture
def daemon(berthd, files):
    """daemon(server, **settings): a berthd whose pool "tls" hands over connections to that server."""
    def begin(server, **settings):
        defaults = {"endpoints": [server.url], "ca": str(files.ca), "handoff": "ktls", "max_connections": 4}
        return berthd({"tls": {**defaults, **settings}})

    return begin

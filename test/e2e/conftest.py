import contextlib
import os
import pathlib
import shutil
import sys
import tempfile

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "contrib/python")]

import servers  # noqa: E402
from berthd import Berthd  # noqa: E402
from processes import Child  # noqa: E402
from upstream import Upstream  # noqa: E402


@pytest.fixture
def folder():
    """A short path, as sockets need; every user may enter."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="berth-e2e-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def berthd(folder):
    """berthd(pools, **settings) starts a daemon; it must end well."""
    with contextlib.ExitStack() as stack:
        started = []

        def start(pools=None, **options):
            place = folder / f"berthd-{len(started)}"
            place.mkdir()
            started.append(Berthd(place, pools or {}, **options))
            stack.callback(started[-1].stop)
            return started[-1]

        yield start


@pytest.fixture
def child(berthd):
    """child(function, *arguments) forks; none outlives the test, nor the daemon."""
    born = []

    def fork(function, *arguments, **options):
        born.append(Child(function, *arguments, **options))
        return born[-1]

    yield fork
    for each in born:
        each.kill()


@pytest.fixture(scope="session")
def messages():
    """messages("StatusReply") is that class of berth.v1."""
    pytest.importorskip("grpc")
    from control import load_messages
    return load_messages()


@pytest.fixture
def upstream():
    server = Upstream()
    yield server
    server.close()


@pytest.fixture
def other_upstream():
    server = Upstream()
    yield server
    server.close()


@pytest.fixture
def as_root():
    if os.getuid() != 0:
        pytest.skip("needs root, to run processes of several users")


def _server(kind):
    @pytest.fixture
    def start(folder):
        server = kind(folder)
        yield server
        server.kill()
    return start


redis = _server(servers.Redis)
memcached = _server(servers.Memcached)
sshd = _server(servers.Sshd)


@pytest.fixture
def nginx(folder):
    """nginx(**options) starts one."""
    with contextlib.ExitStack() as stack:
        def start(**options):
            server = servers.Nginx(folder, **options)
            stack.callback(server.kill)
            return server
        yield start

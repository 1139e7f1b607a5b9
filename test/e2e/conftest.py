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
import tls_files  # noqa: E402
from berthd import Berthd  # noqa: E402
from installation import make, variant  # noqa: E402
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


@pytest.fixture(scope="session")
def installed():
    """Where make install has put everything."""
    servers.need("pkg-config", "cc", "c++")
    with tempfile.TemporaryDirectory(prefix="berth-e2e-") as folder:
        done = make("install", f"DESTDIR={folder}", *variant()[0])
        assert done.returncode == 0, done.stdout
        pathlib.Path(folder).chmod(0o755)
        yield pathlib.Path(folder)


def _server(kind):
    @pytest.fixture
    def start(folder):
        server = kind(folder)
        yield server
        server.kill()
    return start


@pytest.fixture(scope="session")
def certificates():
    """Those of one authority, for all that want some."""
    with tempfile.TemporaryDirectory(prefix="berth-e2e-") as folder:
        pathlib.Path(folder).chmod(0o755)
        yield tls_files.TlsFiles(folder)


redis = _server(servers.Redis)
memcached = _server(servers.Memcached)
sshd = _server(servers.Sshd)


@pytest.fixture
def start(folder):
    """start(Server, **options) starts one."""
    started = []

    def begin(server, **options):
        place = folder / server.__name__.lower()
        place.mkdir()
        started.append(server(place, **options))
        return started[-1]

    yield begin
    for server in started:
        server.kill()


@pytest.fixture
def nginx(folder):
    """nginx(**options) starts one."""
    with contextlib.ExitStack() as stack:
        def start(**options):
            server = servers.Nginx(folder, **options)
            stack.callback(server.kill)
            return server
        yield start

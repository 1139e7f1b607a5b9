"""Programs that go on without berthd: may_be_absent, and requests with a fallback."""

import errno
import gc
import os
import socket

import pytest

import berth
from berth import _frames as frames
from berth._frames import Code

NOWHERE = "/nonexistent/lease.sock"


class Server(socket.socket):
    """Listens on a free port."""

    def __init__(self):
        super().__init__()
        self.bind(("127.0.0.1", 0))
        self.listen()
        self.url = f"tcp://127.0.0.1:{self.getsockname()[1]}"


@pytest.fixture
def server():
    with Server() as listener:
        yield listener


def talks(sock, listener):
    far, _ = listener.accept()
    with far:
        sock.sendall(b"hello")
        assert far.recv(10) == b"hello"


def ended_session(daemon, code):
    def script(peer):
        peer.greet()
        peer.send(frames.Goodbye(code, "the end"))

    s = berth.Session(daemon(script).path)
    with pytest.raises(berth.Error):
        s.lease("redis")
    return s


def test_a_program_goes_on_though_no_berthd_runs_when_it_starts(server):
    before = berth.fallbacks()
    with berth.Session(NOWHERE, may_be_absent=True) as s:
        assert s.closed and s.id == 0
        with s.lease("redis", timeout=5, fallback=server.url) as c:
            talks(c.sock, server)
            assert (c.id, c.key, c.reused, c.revoked) == (0, "redis", False, None)
            assert NOWHERE in str(c.fallback)
            assert c.sock.gettimeout() is None
            assert c.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert c.fd == -1
        with s.lease_many("redis", 3, fallback=server.url) as many:
            assert len({c.fd for c in many}) == 3
        sock = s.take("redis", fallback=server.url)
    with sock:
        assert sock.fileno() >= 0
    assert berth.fallbacks() == before + 5


def test_without_may_be_absent_no_berthd_is_an_error():
    with pytest.raises(berth.Unavailable) as refused:
        berth.Session(NOWHERE)
    assert refused.value.errno == errno.ENOENT


def test_without_a_fallback_an_absent_session_says_why_it_is():
    with berth.Session(NOWHERE, may_be_absent=True) as s:
        for call in lambda: s.lease("redis"), lambda: s.keys():
            with pytest.raises(berth.Unavailable, match=NOWHERE) as refused:
                call()
            assert refused.value.errno == errno.ENOENT


def test_what_is_no_absence_is_an_error_all_the_same(daemon):
    def script(peer):
        peer.expect(frames.Hello)
        peer.send(frames.Goodbye(Code.TOO_MANY_SESSIONS, "there are enough"))

    with pytest.raises(berth.TooManySessions):
        berth.Session(daemon(script).path, may_be_absent=True)


@pytest.mark.parametrize("how", ["a word", "no word"])
def test_a_program_goes_on_when_berthd_goes_away(daemon, server, how):
    def script(peer):
        peer.greet()
        if how == "a word":
            peer.send(frames.Goodbye(Code.SHUTTING_DOWN, "the end"))

    with berth.Session(daemon(script).path) as s:
        for _ in range(2):
            with s.lease("redis", fallback=server.url) as c:
                talks(c.sock, server)
                assert isinstance(c.fallback, berth.Error)


@pytest.mark.parametrize("code", [Code.INVALID, Code.REVOKED, Code.NOT_PERMITTED])
def test_a_session_that_ended_for_another_reason_is_not_let_off(daemon, server, code):
    s = ended_session(daemon, code)
    with pytest.raises(berth.Error) as refused:
        s.lease("redis", fallback=server.url)
    assert refused.value.code == code


def test_a_session_that_was_closed_here_is_not_absent(pool_path, server):
    s = berth.Session(pool_path)
    s.close()
    with pytest.raises(berth.Unavailable) as refused:
        s.lease("redis", fallback=server.url)
    assert refused.value.errno == errno.ENOTCONN


@pytest.fixture
def pool_path(daemon):
    def script(peer):
        peer.greet()
        peer.expect_end()

    return daemon(script).path


def test_what_berthd_refuses_is_not_dialled(daemon, server):
    codes = [Code.NOT_PERMITTED, Code.TIMED_OUT, Code.NO_SUCH_KEY, Code.UPSTREAM_DOWN, Code.QUEUE_FULL]

    def script(peer):
        peer.greet()
        for code in [*codes, Code.SHUTTING_DOWN]:
            peer.send(frames.Refusal(peer.expect(frames.LeaseRequest).request_id, code, "no"))

    with berth.Session(daemon(script).path) as s:
        for code in codes:
            with pytest.raises(berth.Error) as refused:
                s.lease("redis", fallback=server.url)
            assert refused.value.code == code
        with s.lease("redis", fallback=server.url) as c:  # who stops is as good as absent
            assert isinstance(c.fallback, berth.ShuttingDown)


def test_a_server_that_is_down_too_is_told_with_both_reasons(server):
    server.close()
    with berth.Session(NOWHERE, may_be_absent=True) as s:
        with pytest.raises(berth.UpstreamDown) as refused:
            s.lease_many("redis", 2, fallback=server.url)
    assert refused.value.errno == errno.EHOSTDOWN
    assert f"{server.url}: Connection refused; it was dialled because" in str(refused.value)
    assert NOWHERE in str(refused.value)


def test_the_timeout_bounds_the_dial():
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf:
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(deaf.getsockname())
        with berth.Session(NOWHERE, may_be_absent=True) as s, pytest.raises(berth.TimedOut):
            s.lease("redis", timeout=0.05, fallback=f"tcp://127.0.0.1:{deaf.getsockname()[1]}")
        for filler in fillers:
            filler.close()


def test_names_and_unix_sockets_are_dialled(server):
    name = f"berth-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as local, berth.Session(NOWHERE, may_be_absent=True) as s:
        local.bind("\0" + name)
        local.listen()
        with s.lease("redis", fallback=f"unix://@{name}") as c:
            talks(c.sock, local)
        with s.lease("redis", fallback=server.url.replace("127.0.0.1", "localhost")) as c:
            talks(c.sock, server)


@pytest.mark.parametrize(
    "url",
    ["", "redis", "tcp://127.0.0.1", "tcp://:6379", "tcp://a:0", "tcp://a:70000", "tcp://a:6379/x", "slot:",
     "unix://relative", "unix:///" + "x" * 200, "http://127.0.0.1:80"],
)
def test_what_is_no_server_is_refused_whether_berthd_is_there_or_not(pool_path, url):
    for session in berth.Session(pool_path), berth.Session(NOWHERE, may_be_absent=True):
        with session as s, pytest.raises(berth.InvalidRequest, match="is no server"):
            s.lease("redis", fallback=url)


def test_a_forgotten_one_is_closed(server):
    with berth.Session(NOWHERE, may_be_absent=True) as s:
        c = s.lease("redis", fallback=server.url)
        far, _ = server.accept()
        del c
        gc.collect()
        with far:
            assert far.recv(10) == b""

"""One session, one thread: opening, leasing, giving back, ending."""

import errno
import gc
import os
import pickle
import socket
import threading
import time

import pytest

import berth
from berth import _frames as frames
from berth import _session
from berth._frames import Code, Outcome
from daemon import Pool


def test_lease_is_granted_used_and_released(daemon):
    def script(peer):
        assert peer.greet() == frames.Hello(1, "a test")
        request = peer.expect(frames.LeaseRequest)
        assert (request.key, request.count, request.timeout_ms) == ("redis", 1, 5000)
        (server,) = peer.grant(request, [41], reused=True)
        with server:
            assert server.recv(6) == b"PING\r\n"
            server.sendall(b"+PONG\r\n")
            release = peer.expect(frames.Release)
            assert release == frames.Release(41, Outcome.REUSE, 0)
            assert server.recv(1) == b""  # closed before it was released
        peer.expect_end()

    with berth.Session(daemon(script).path, name="a test") as s:
        assert (s.id, s.token, s.limits.max_count) == (7, b"0123456789abcdef", 64)
        with s.lease("redis", timeout=5) as c:
            assert (c.id, c.key, c.reused) == (41, "redis", True)
            assert c.fd == c.sock.fileno() and c.sock.getblocking()
            assert not os.get_inheritable(c.fd)
            assert c.sock.family == socket.AF_UNIX and c.sock.type == socket.SOCK_STREAM
            c.sock.sendall(b"PING\r\n")
            assert c.sock.recv(7) == b"+PONG\r\n"
        assert c.fd == -1


def test_a_bare_slot_has_no_connection(daemon):
    def script(peer):
        peer.greet()
        request = peer.expect(frames.LeaseRequest)
        slots = tuple(frames.GrantedLease(id, slot=True) for id in (5, 6))
        peer.send(frames.Grant(request.request_id, slots))
        assert peer.expect(frames.Release) == frames.Release(5, Outcome.REUSE, 0)
        assert peer.expect(frames.Release) == frames.Release(6, Outcome.REUSE, 0)
        peer.expect_end()

    with berth.Session(daemon(script).path) as s:
        with s.lease_many("slot", 2) as slots:
            assert [slot.slot for slot in slots] == [True, True]
            assert [slot.fd for slot in slots] == [-1, -1]
            with pytest.raises(OSError):
                slots[0].sock.recv(1)


def test_a_slot_with_a_descriptor_breaks_the_protocol(daemon):
    def script(peer):
        peer.greet()
        request = peer.expect(frames.LeaseRequest)
        peer.send(frames.Grant(request.request_id, (frames.GrantedLease(5, slot=True),)), [0])
        peer.expect_end()

    with berth.Session(daemon(script).path) as s:
        with pytest.raises(berth.ProtocolError):
            s.lease("slot")


@pytest.fixture
def pool(daemon):
    pool = Pool()
    pool.path = daemon(pool).path
    return pool


def finish(session, pool):
    """Ends the session when the pool has seen all that was sent before."""
    session.keys()
    session.close()
    assert not pool.held and not pool.violations


def test_leaving_on_an_exception_discards(pool):
    s = berth.Session(pool.path)
    with pytest.raises(ZeroDivisionError):
        with s.lease("redis"):
            1 / 0
    finish(s, pool)
    assert pool.outcomes == [Outcome.DISCARD]


def test_discard_wins_over_the_end_of_the_block(pool):
    s = berth.Session(pool.path)
    with s.lease("redis") as c:
        c.discard()
        assert c.fd == -1
    finish(s, pool)
    assert pool.outcomes == [Outcome.DISCARD]


def test_without_with_release_and_discard_count_once(pool):
    s = berth.Session(pool.path)
    a, b = s.lease("redis"), s.lease("redis")
    a.release()
    a.discard()
    b.discard()
    b.release()
    finish(s, pool)
    assert pool.outcomes == [Outcome.REUSE, Outcome.DISCARD]


def test_forgotten_lease_is_discarded_with_a_warning(pool):
    s = berth.Session(pool.path)
    c = s.lease("redis")
    with pytest.warns(ResourceWarning, match="neither released nor discarded"):
        del c
        gc.collect()
    finish(s, pool)
    assert pool.outcomes == [Outcome.DISCARD]


def test_forgotten_session_ends_with_a_warning(pool):
    s = berth.Session(pool.path)
    with pytest.warns(ResourceWarning, match="was not closed"):
        del s
        gc.collect()


def test_socket_closed_by_the_user_is_fine(pool):
    s = berth.Session(pool.path)
    with s.lease("redis") as c:
        c.sock.close()
    finish(s, pool)
    assert pool.outcomes == [Outcome.REUSE]


def test_makefile_does_not_keep_the_socket_open(pool):
    s = berth.Session(pool.path)
    with s.lease("redis") as c:
        file = c.sock.makefile("rb")
        fd = c.fd
    with pytest.raises(OSError):
        os.fstat(fd)
    file.close()
    finish(s, pool)


def test_detached_descriptor_is_the_users(pool):
    s = berth.Session(pool.path)
    with s.lease("redis") as c:
        fd = c.sock.detach()
    os.fstat(fd)
    os.close(fd)
    finish(s, pool)


def test_a_taken_socket_is_the_callers_and_goes_back_to_nobody(daemon):
    servers = []

    def script(peer):
        peer.greet()
        request = peer.expect(frames.LeaseRequest)
        assert request.detach
        servers.extend(peer.grant(request, [5], detached=True))
        peer.expect_end()

    with berth.Session(daemon(script).path) as s:
        sock = s.take("ssh")
    gc.collect()
    assert type(sock) is socket.socket
    sock.sendall(b"hello")
    assert servers[0].recv(10) == b"hello"
    sock.close()
    with servers[0]:
        assert servers[0].recv(10) == b""


def test_a_daemon_that_cannot_detach_gets_its_connection_back(daemon):
    def script(peer):
        peer.greet()
        (server,) = peer.grant(peer.expect(frames.LeaseRequest), [5])
        with server:
            assert peer.expect(frames.Release) == frames.Release(5, Outcome.REUSE)

    with berth.Session(daemon(script).path) as s:
        with pytest.raises(berth.Error, match="too old for detached leases") as refused:
            s.take("ssh")
        assert refused.value.code == berth.Code.VERSION


def test_a_connection_for_good_that_nobody_waits_for_is_closed(daemon):
    """The wait ended before; there is no lease to give back."""

    def script(peer):
        peer.greet()
        request = peer.expect(frames.LeaseRequest)
        peer.expect(frames.Cancel)
        (server,) = peer.grant(request, [5], detached=True)
        with server:
            assert server.recv(10) == b""
        peer.send(frames.KeyList(peer.expect(frames.ListKeys).request_id, ()))

    with berth.Session(daemon(script).path) as s:
        with pytest.raises(berth.TimedOut):
            request = frames.LeaseRequest(99, "ssh", 1, detach=True)
            s._ask(request, frames.Grant, 1, time.monotonic())
        s.keys()


def test_default_timeout_of_the_socket_module_does_not_apply(pool):
    socket.setdefaulttimeout(3)
    try:
        with berth.Session(pool.path) as s, s.lease("redis") as c:
            assert c.sock.gettimeout() is None
            assert os.get_blocking(c.fd)
    finally:
        socket.setdefaulttimeout(None)


def test_leases_granted_together(pool):
    s = berth.Session(pool.path)
    with s.lease_many("redis", 3, timeout=1) as leases:
        assert len(leases) == 3 and [c.id for c in leases] == [1, 2, 3]
        for c in leases:  # in the order of their descriptors
            c.sock.sendall(b"%d" % c.id)
            assert pool.held[c.id].recv(1) == b"%d" % c.id
        assert leases[-1] is leases[2] and leases[:2] == tuple(leases)[:2]
        leases[1].discard()
    finish(s, pool)
    assert sorted(pool.outcomes) == [Outcome.DISCARD, Outcome.REUSE, Outcome.REUSE]


def test_leases_granted_together_are_discarded_together(pool):
    s = berth.Session(pool.path)
    with pytest.raises(KeyError):
        with s.lease_many("redis", 2):
            raise KeyError
    s.lease_many("redis", 4).discard()
    finish(s, pool)
    assert pool.outcomes == [Outcome.DISCARD] * 6


def test_keys_are_listed_page_by_page(daemon):
    def script(peer):
        peer.greet()
        first = peer.expect(frames.ListKeys)
        peer.send(frames.KeyList(first.request_id, ("a", "b"), True))
        second = peer.expect(frames.ListKeys)
        assert (first.after, second.after) == ("", "b")
        peer.send(frames.KeyList(second.request_id, ("c",)))
        peer.expect_end()

    with berth.Session(daemon(script).path) as s:
        assert s.keys() == ["a", "b", "c"]


# --- errors ---

ERRORS = {
    Code.INVALID: (berth.InvalidRequest, ValueError, errno.EINVAL),
    Code.VERSION: (berth.Error, OSError, errno.EPROTONOSUPPORT),
    Code.NO_SUCH_KEY: (berth.NoSuchKey, LookupError, errno.ENOENT),
    Code.NOT_PERMITTED: (berth.NotPermitted, PermissionError, errno.EACCES),
    Code.TIMED_OUT: (berth.TimedOut, TimeoutError, errno.ETIMEDOUT),
    Code.QUEUE_FULL: (berth.QueueFull, berth.Error, errno.EAGAIN),
    Code.UPSTREAM_DOWN: (berth.UpstreamDown, ConnectionError, errno.EHOSTDOWN),
    Code.SHUTTING_DOWN: (berth.ShuttingDown, berth.Error, errno.ESHUTDOWN),
    Code.CANCELLED: (berth.Cancelled, berth.Error, errno.ECANCELED),
    Code.NO_SUCH_LEASE: (berth.Error, OSError, errno.ESTALE),
    Code.REVOKED: (berth.Revoked, berth.Error, errno.EOWNERDEAD),
    Code.TOO_MANY_SESSIONS: (berth.TooManySessions, berth.Error, errno.EUSERS),
    Code.INTERNAL: (berth.Error, OSError, errno.EIO),
    Code.DISABLED: (berth.Disabled, berth.Error, errno.ENXIO),
}


def test_every_refusal_has_its_exception(daemon):
    why = frames.Why(frames.Cause.EXHAUSTED, 20, 20, holders=(frames.Holder(4121, 33, "php"),))

    def script(peer):
        peer.greet()
        for code in ERRORS:
            request = peer.expect(frames.LeaseRequest)
            peer.send(frames.Refusal(request.request_id, code, f"no: {code.name}", why))
        peer.expect_end()

    with berth.Session(daemon(script).path) as s:
        for code, (kind, base, number) in ERRORS.items():
            with pytest.raises(kind) as caught:
                s.lease("redis")
            error = caught.value
            assert isinstance(error, base) and type(error) is kind
            assert (error.code, error.errno, str(error)) == (code, number, f"no: {code.name}")
            assert error.why.cause is berth.Cause.EXHAUSTED
            assert error.why.holders[0].command == "php"
            copy = pickle.loads(pickle.dumps(error))
            assert (copy.code, copy.why, str(copy)) == (code, why, str(error))


def test_wrong_arguments_are_refused_without_a_frame(daemon):
    def script(peer):
        peer.greet()
        peer.expect_end()

    with berth.Session(daemon(script).path) as s:
        for wrong in (
            lambda: s.lease("k" * 301),
            lambda: s.lease("\udc80"),
            lambda: s.lease("k", timeout=-1),
            lambda: s.lease("k", timeout=float("nan")),
            lambda: s.lease("k", traceparent="0" * 129),
            lambda: s.lease_many("k", 0),
            lambda: s.lease_many("k", 65),
        ):
            with pytest.raises(berth.InvalidRequest):
                wrong()


@pytest.mark.parametrize(
    "timeout, sent",
    [(None, None), (0, 0), (0.0001, 1), (2.5, 2500), (float("inf"), 10**12)],
)
def test_only_a_timeout_of_zero_is_sent_as_zero(daemon, timeout, sent):
    def script(peer):
        peer.greet()
        request = peer.expect(frames.LeaseRequest)
        assert request.timeout_ms == sent
        peer.send(frames.Refusal(request.request_id, Code.QUEUE_FULL))
        peer.expect_end()

    with berth.Session(daemon(script).path) as s:
        with pytest.raises(berth.QueueFull):
            s.lease("redis", timeout)


# --- opening ---


def test_path_comes_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("BERTH_SOCKET", "/named")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert _session.default_path() == "/named"
    monkeypatch.delenv("BERTH_SOCKET")
    assert _session.default_path() == "/run/berth/lease.sock"
    (tmp_path / "berth").mkdir()
    (tmp_path / "berth" / "lease.sock").touch()
    assert _session.default_path() == str(tmp_path / "berth" / "lease.sock")
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert _session.default_path() == "/run/berth/lease.sock"


def test_no_daemon(tmp_path):
    with pytest.raises(berth.Unavailable, match="cannot reach berthd at .*none") as caught:
        berth.Session(str(tmp_path / "none"))
    assert caught.value.errno == errno.ENOENT and caught.value.code is Code.SHUTTING_DOWN
    with pytest.raises(berth.InvalidRequest, match="too long"):
        berth.Session("/" + "x" * 200)


def test_daemon_that_does_not_accept(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen(0)
        with pytest.raises(berth.TimedOut, match="did not answer Hello"):
            berth.Session(tmp_path / "s", timeout=0.01)
        # That one still fills the backlog.
        with pytest.raises(berth.TimedOut, match="does not accept"):
            berth.Session(tmp_path / "s", timeout=0.01)


def test_goodbye_instead_of_welcome(daemon):
    def script(peer):
        peer.expect(frames.Hello)
        peer.send(frames.Goodbye(Code.TOO_MANY_SESSIONS, "uid 33 has 100 sessions"))

    with pytest.raises(berth.TooManySessions, match="uid 33 has 100"):
        berth.Session(daemon(script).path)


@pytest.mark.parametrize(
    "answer, kind, words",
    [
        (frames.Welcome(2), berth.Error, "speaks version 2"),
        (frames.KeyList(1), berth.ProtocolError, "KeyList instead of Welcome"),
    ],
)
def test_strange_answers_to_hello(daemon, answer, kind, words):
    def script(peer):
        peer.expect(frames.Hello)
        peer.send(answer, [0] if isinstance(answer, frames.KeyList) else [])
        peer.expect_end()

    with pytest.raises(kind, match=words):
        berth.Session(daemon(script).path)


def test_daemon_that_hangs_up_at_once(daemon):
    with pytest.raises(berth.Unavailable, match="went away"):
        berth.Session(daemon(lambda peer: peer.expect(frames.Hello)).path)


def test_name_is_cut_at_whole_characters(daemon):
    def script(peer):
        assert peer.greet().name == "a" + "ö" * 31
        peer.expect_end()

    berth.Session(daemon(script).path, name="a" + "ö" * 40).close()


# --- ends ---


def test_goodbye_ends_the_session_with_the_daemons_words(daemon):
    def script(peer):
        peer.greet()
        peer.expect(frames.LeaseRequest)
        peer.send(frames.Goodbye(Code.SHUTTING_DOWN, "berthd stops"))

    s = berth.Session(daemon(script).path)
    for _ in range(2):
        with pytest.raises(berth.ShuttingDown, match="berthd stops"):
            s.lease("redis")
    assert s.closed
    s.close()


def test_goodbye_is_read_even_if_the_daemon_left_frames_unread(daemon):
    """The kernel reports ECONNRESET before the frames that came earlier."""

    def script(peer):
        peer.greet()
        peer.sock.recv(1, socket.MSG_PEEK)
        peer.send(frames.Goodbye(Code.INVALID, "that was wrong"))
        peer.close()

    s = berth.Session(daemon(script).path)
    with pytest.raises(berth.InvalidRequest, match="that was wrong"):
        s.lease("redis")
    s.close()


def test_lease_outlives_a_daemon_that_vanishes(daemon):
    servers = []

    def script(peer):
        peer.greet()
        servers.extend(peer.grant(peer.expect(frames.LeaseRequest), [1]))

    d = daemon(script)
    s = berth.Session(d.path)
    c = s.lease("redis")
    d.finish()
    with pytest.raises(berth.Unavailable, match="went away"):
        s.lease("redis")
    servers[0].sendall(b"still here")
    assert c.sock.recv(10) == b"still here"
    servers[0].close()
    c.release()  # quietly: the lease ended with the session
    s.close()


def test_closed_session_refuses(pool):
    s = berth.Session(pool.path)
    c = s.lease("redis")
    s.close()
    s.close()
    assert s.closed
    with pytest.raises(berth.Unavailable, match="was closed"):
        s.lease("redis")
    c.release()


def test_revoked_lease_says_so(daemon):
    def script(peer):
        peer.greet()
        (server,) = peer.grant(peer.expect(frames.LeaseRequest), [9])
        peer.send(frames.Revoked(10, Code.REVOKED, "another's"))
        peer.send(frames.Revoked(9, Code.REVOKED, "held for an hour"))
        server.close()
        peer.expect(frames.Release)
        peer.expect_end()

    with berth.Session(daemon(script).path) as s:
        with s.lease("redis") as c:
            assert c.sock.recv(1) == b""
            assert isinstance(c.revoked, berth.Revoked)
            assert str(c.revoked) == "held for an hour"


GRANT = frames.Grant(1, (frames.GrantedLease(5),))


@pytest.mark.parametrize(
    "answer, fds, words",
    [
        (GRANT, 0, "0 descriptors for 1 leases"),
        (GRANT, 2, "2 descriptors for 1 leases"),
        (frames.Grant(1, GRANT.leases * 2), 2, "2 leases instead of 1"),
        (frames.Grant(1), 0, "0 leases instead of 1"),
        (frames.Grant(1, (frames.GrantedLease(2**61),)), 1, "lease id out of range"),
        (frames.KeyList(1), 0, "KeyList instead of Grant"),
        (frames.Refusal(1), 1, "Refusal with descriptors"),
        (frames.Welcome(1), 0, "second Welcome"),
        (b"\x4a\x00", 1, "a frame that is of the unknown kind 9"),
        (b"\x1a\x7f", 1, "a frame that ends inside a field"),
        (bytes(65537), 1, "a frame that is too long"),
    ],
)
def test_daemon_that_breaks_the_protocol(daemon, answer, fds, words):
    def script(peer):
        peer.greet()
        peer.expect(frames.LeaseRequest)
        data = answer if isinstance(answer, bytes) else frames.encode_server(answer)
        peer.send_bytes(data, [peer.sock.fileno()] * fds)
        peer.expect_end()

    s = berth.Session(daemon(script).path)
    for _ in range(2):
        with pytest.raises(berth.ProtocolError, match=words) as caught:
            s.lease("redis")
        assert caught.value.errno == errno.EPROTO
    s.close()


def test_descriptor_that_is_no_socket(daemon):
    def script(peer):
        peer.greet()
        peer.expect(frames.LeaseRequest)
        with open("/dev/null") as null:
            peer.send(GRANT, [null.fileno()])
        assert peer.expect(frames.Release).outcome is Outcome.DISCARD
        peer.expect_end()

    with berth.Session(daemon(script).path) as s:
        with pytest.raises(berth.ProtocolError, match="no socket"):
            s.lease("redis")


def test_grant_that_nobody_asked_for_goes_back(daemon):
    def script(peer):
        peer.greet()
        request = peer.expect(frames.LeaseRequest)
        (server,) = peer.grant(frames.LeaseRequest(request_id=999), [5])
        with server:
            peer.send(frames.Refusal(request.request_id, Code.QUEUE_FULL))
            assert peer.expect(frames.Release) == frames.Release(5, Outcome.REUSE, 0)
            assert server.recv(1) == b""
        peer.expect_end()

    with berth.Session(daemon(script).path) as s:
        with pytest.raises(berth.QueueFull):
            s.lease("redis")


# --- a daemon that is slow ---


def test_daemon_that_does_not_answer_in_time(daemon, monkeypatch):
    monkeypatch.setattr(_session, "_GRACE_SECONDS", 0.01)

    def script(peer):
        peer.greet()
        request = peer.expect(frames.LeaseRequest)
        assert peer.expect(frames.Cancel).request_id == request.request_id
        (server,) = peer.grant(request, [5])  # too late
        server.close()
        last = peer.expect(frames.LeaseRequest)
        assert peer.expect(frames.Release) == frames.Release(5, Outcome.REUSE, 0)
        peer.send(frames.Refusal(last.request_id, Code.QUEUE_FULL))
        peer.expect_end()

    with berth.Session(daemon(script).path) as s:
        with pytest.raises(berth.TimedOut, match="did not answer in time"):
            s.lease("redis", timeout=0)
        with pytest.raises(berth.QueueFull):
            s.lease("redis")


def test_release_to_a_daemon_that_does_not_read_is_sent_later(daemon, monkeypatch):
    monkeypatch.setattr(_session, "_RELEASE_SECONDS", 0.001)
    read_on = threading.Event()

    def script(peer):
        peer.greet()
        servers = peer.grant(peer.expect(frames.LeaseRequest), range(1, 33))
        assert read_on.wait(10)
        for server in servers:
            assert server.recv(1) == b""  # each was closed: all are released
            server.close()
        ids = set()
        while len(ids) < 32:
            frame = peer.receive()
            if isinstance(frame, frames.Release):
                ids.add(frame.lease_id)
        assert ids == set(range(1, 33))
        while not isinstance(frame, frames.ListKeys):
            frame = peer.receive()
        peer.send(frames.KeyList(frame.request_id))
        peer.expect_end()

    with berth.Session(daemon(script).path) as s:
        leases = s.lease_many("redis", 32)
        nothing = frames.encode_client(frames.Cancel(12345))
        while s._line._try_send(nothing):
            pass
        leases.release()
        assert s._line._unsent
        read_on.set()
        assert s.keys() == []
        assert not s._line._unsent

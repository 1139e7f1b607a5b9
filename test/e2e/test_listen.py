"""Programs that know nothing of berthd, at the listen sockets of pools."""

import contextlib
import os
import socket
import stat
import threading

import pytest

from processes import DEADLINE_S, wait_until
from servers import redis as ask_redis
from upstream import ask, read_line

RESET = [{"send": "reset\n"}, {"expect_re": "[0-9]+ reset"}]


@pytest.fixture
def listens(berthd, upstream, folder):
    """listens(**settings) starts a daemon whose pool `up` listens at listens.path."""
    def start(daemon=None, **settings):
        pool = {"endpoints": [upstream.url], "listen": start.path, **settings}
        return berthd({"up": pool}, **(daemon or {}))

    start.path = str(folder / "up.sock")
    return start


@contextlib.contextmanager
def connected(address):
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as sock:
        sock.settimeout(DEADLINE_S)
        sock.connect(address)
        yield sock


def read_to_end(sock):
    return b"".join(iter(lambda: sock.recv(65536), b""))


def fds_return(daemon, extra=0):
    wait_until(lambda: len(daemon.fds()) == daemon.fds_at_start + extra, "descriptors are given back")


def test_a_program_talks_to_the_server_without_knowing_of_berthd(listens, upstream):
    daemon = listens()
    with connected(listens.path) as sock:
        assert [ask(sock, b"one"), ask(sock, b"two")] == [1, 1]
    wait_until(lambda: upstream.open == [], "without reset the connection is closed")
    with connected(listens.path) as sock:
        assert ask(sock) == 2
    fds_return(daemon)


def test_with_reset_the_end_of_a_program_gives_its_connection_to_the_next(listens, upstream):
    daemon = listens(reset=RESET, max_connections=1)
    for _ in range(20):
        with connected(listens.path) as sock:
            assert ask(sock) == 1
    assert upstream.accepted == 1
    fds_return(daemon, extra=1)


def test_leases_of_sessions_and_of_programs_share_the_connections(listens, upstream):
    daemon = listens(reset=RESET, max_connections=1)
    with connected(listens.path) as sock:
        assert ask(sock) == 1
    with daemon.session() as session, session.lease("up") as lease:
        assert lease.sock.family == socket.AF_INET
        assert ask(lease.sock) == 1
    with connected(listens.path) as sock:
        assert ask(sock) == 1
    assert upstream.accepted == 1


def test_a_half_close_is_carried_through_and_the_answer_still_comes(listens, upstream):
    listens(reset=RESET)
    with connected(listens.path) as sock:
        sock.sendall(b"last")
        sock.sendall(b" words\n")
        sock.shutdown(socket.SHUT_WR)
        assert read_to_end(sock) == b"1 last words\n"
    with connected(listens.path) as sock:
        assert ask(sock) == 2


def test_the_end_of_the_server_is_the_end_for_the_program(listens, upstream):
    daemon = listens(reset=RESET)
    with connected(listens.path) as sock:
        assert ask(sock) == 1
        upstream.hang_up(1)
        assert sock.recv(1) == b""
    with connected(listens.path) as sock:
        assert ask(sock) == 2
    fds_return(daemon, extra=1)


class Collector:
    """A server that reads until the end of each connection, slowly at first."""

    def __init__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self.go = threading.Event()
        self.received = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.go.wait()
                with sock:
                    self.received.append(read_to_end(sock))

    def close(self):
        self._listener.close()


@pytest.fixture
def collector():
    server = Collector()
    yield server
    server.close()


def test_what_a_program_said_before_it_left_reaches_the_server(berthd, collector, folder):
    path = str(folder / "c.sock")
    daemon = berthd({"c": {"endpoints": [collector.url], "listen": path, "reset_timeout": "20s"}})
    text = os.urandom(8 << 20)
    collector.go.set()
    with connected(path) as sock:
        sock.sendall(text)
    wait_until(lambda: collector.received == [text], "all has arrived")
    fds_return(daemon)


def test_what_a_program_said_reaches_a_server_that_reads_late(berthd, collector, folder):
    path = str(folder / "c.sock")
    daemon = berthd({"c": {"endpoints": [collector.url], "listen": path, "reset_timeout": "20s"}})
    with connected(path) as sock:
        sock.settimeout(0.3)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while True:
                sent += sock.send(bytes(65536))
    collector.go.set()
    wait_until(lambda: [len(text) for text in collector.received] == [sent], "all has arrived")
    fds_return(daemon)


def test_a_connection_whose_program_left_in_mid_reply_is_not_granted_again(listens, upstream):
    listens(reset=RESET)
    with connected(listens.path) as sock:
        sock.sendall(b"x" * 1000 + b"\n")
        sock.recv(1)
    with connected(listens.path) as sock:
        assert ask(sock) == 2


def resident_kib(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))


def test_a_program_that_never_reads_costs_little_and_delays_nobody(berthd, folder):
    path = str(folder / "flood.sock")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        daemon = berthd({"flood": {"endpoints": [url], "listen": path}})
        before = resident_kib(daemon.pid)
        with connected(path) as deaf:
            deaf.sendall(b"give me all\n")
            server, _ = listener.accept()
            with server:
                server.settimeout(0.5)
                sent = 0
                with pytest.raises(TimeoutError):
                    while sent < 64 << 20:
                        sent += server.send(bytes(1 << 16))
                with connected(path) as other, listener.accept()[0] as its_server:
                    other.sendall(b"hello")
                    assert its_server.recv(5) == b"hello"
                assert resident_kib(daemon.pid) - before < 8 << 10
        fds_return(daemon)


def test_a_program_that_says_nothing_is_dialled_for_at_once_but_where_the_pool_is_lazy(listens, upstream):
    daemon = listens()
    with connected(listens.path):
        wait_until(lambda: upstream.accepted == 1, "it has a connection")
    fds_return(daemon)


def test_a_lazy_pool_dials_with_the_first_byte(listens, upstream):
    daemon = listens(lazy=True)
    with connected(listens.path):
        wait_until(lambda: len(daemon.fds()) == daemon.fds_at_start + 1, "it is accepted")
    fds_return(daemon)
    assert upstream.accepted == 0
    with connected(listens.path) as sock:
        assert ask(sock) == 1


def test_a_lazy_pool_serves_a_program_that_has_left_before_it_was_heard(berthd, collector, folder):
    path = str(folder / "c.sock")
    daemon = berthd({"c": {"endpoints": [collector.url], "listen": path, "lazy": True}})
    collector.go.set()
    with daemon.stopped(), connected(path) as sock:
        sock.sendall(b"in passing")
    wait_until(lambda: collector.received == [b"in passing"], "it has arrived")


def test_who_is_not_allowed_meets_the_end_and_the_log_says_why(listens, as_root):
    daemon = listens(daemon={"user": False}, allow_users=["nobody"])
    with connected(listens.path) as sock:
        assert sock.recv(1) == b""
    wait_until(lambda: "pool up: closes pid" in daemon.log(), "it is logged")
    assert "allow_users" in daemon.log()


def test_over_loopback_tcp_nobody_is_asked_who_he_is(berthd, upstream, folder):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    daemon = berthd({"up": {"endpoints": [upstream.url], "listen": f"tcp://127.0.0.1:{port}", "reset": RESET,
                            "max_connections": 1, "allow_users": []}})
    for _ in range(5):
        with connected(("127.0.0.1", port)) as sock:
            assert ask(sock) == 1
    assert upstream.accepted == 1
    fds_return(daemon, extra=1)


def test_a_program_waits_its_turn_as_any_lease_does(listens, upstream):
    daemon = listens(reset=RESET, max_connections=1)
    with connected(listens.path) as first:
        assert ask(first) == 1
        with connected(listens.path) as second:
            second.sendall(b"early\n")
            with connected(listens.path):  # it leaves without a word
                pass
            assert ask(first) == 1
            first.close()
            assert read_line(second) == b"1 early"
    fds_return(daemon, extra=1)


def test_who_waits_in_vain_meets_the_end_and_the_log_says_why(listens):
    daemon = listens(max_connections=1, acquire_timeout="200ms")
    with connected(listens.path) as first:
        assert ask(first) == 1
        with connected(listens.path) as second:
            assert second.recv(1) == b""
    wait_until(lambda: "timed out after" in daemon.log(), "it is logged")
    assert "1/1 leased" in daemon.log()


def test_the_file_has_the_mode_of_the_pool_and_goes_with_the_daemon(listens):
    daemon = listens(listen_mode="0640")
    assert stat.S_IMODE(os.stat(listens.path).st_mode) == 0o640
    daemon.stop()
    assert not os.path.exists(listens.path)


def test_a_socket_that_is_passed_is_served_and_stays(berthd, upstream, folder):
    path = str(folder / "up.sock")
    with socket.socket(socket.AF_UNIX) as passed:
        passed.bind(path)
        passed.listen()
        daemon = berthd({"up": {"endpoints": [upstream.url], "listen": path}}, passed={"pool.up": passed})
        with connected(path) as sock:
            assert ask(sock) == 1
        daemon.stop()
        assert os.path.exists(path)


def test_a_reload_opens_and_closes_listen_sockets(berthd, upstream, folder):
    old, new = str(folder / "old.sock"), str(folder / "new.sock")
    pool = {"endpoints": [upstream.url], "reset": RESET}
    daemon = berthd({"up": {**pool, "listen": old}})
    with connected(old) as sock:
        assert ask(sock) == 1
        daemon.reload({"up": {**pool, "listen": [new], "listen_mode": "0600"}})
        assert not os.path.exists(old) and stat.S_IMODE(os.stat(new).st_mode) == 0o600
        assert ask(sock) == 1  # who is connected stays so
    daemon.reload({"up": {**pool, "listen": [new], "listen_mode": "0644"}})
    assert stat.S_IMODE(os.stat(new).st_mode) == 0o644
    daemon.reload({"other": {**pool, "listen": [new, old], "listen_mode": "0644"}})
    for path in (old, new):
        with connected(path) as sock:
            assert ask(sock) == 2
    fds_return(daemon, extra=2)


def test_a_reload_that_cannot_listen_changes_nothing(berthd, upstream, folder):
    path = str(folder / "up.sock")
    pool = {"endpoints": [upstream.url]}
    daemon = berthd({"up": {**pool, "listen": path}})
    fds = len(daemon.fds())
    daemon.hang_up(daemon._text({"up": {**pool, "listen": [str(folder / "b.sock"), "/nowhere/x.sock"]}}, {}),
                   "nothing has changed")
    assert "/nowhere/x.sock: its folder does not exist" in daemon.log()
    assert not os.path.exists(folder / "b.sock") and len(daemon.fds()) == fds
    with connected(path) as sock:
        assert ask(sock) == 1


def test_a_stop_ends_programs_once_their_time_is_over(listens):
    daemon = listens()
    with connected(listens.path) as sock:
        assert ask(sock) == 1
        daemon.stop()
        assert sock.recv(1) == b""


def test_bulk_is_carried_whole_both_ways_at_once(berthd, folder):
    path = str(folder / "bulk.sock")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        daemon = berthd({"bulk": {"endpoints": [url], "listen": path}})
        there, back = os.urandom(48 << 20), os.urandom(48 << 20)
        with connected(path) as program, listener.accept()[0] as server:
            received = {}

            def talk(sock, text, name):
                def send():
                    sock.sendall(text)
                    sock.shutdown(socket.SHUT_WR)
                sender = threading.Thread(target=send)
                sender.start()
                received[name] = read_to_end(sock)
                sender.join()

            other = threading.Thread(target=talk, args=(server, back, "there"))
            other.start()
            talk(program, there, "back")
            other.join()
        assert received == {"there": there, "back": back}
        fds_return(daemon)


def test_redis_behind_a_listen_socket_resets_what_a_program_leaves(berthd, redis, folder):
    path = str(folder / "redis.sock")
    daemon = berthd({"redis": {"endpoints": [redis.url], "listen": path, "max_connections": 1,
                               "reset": [{"send": "RESET\r\n"}, {"expect": "+RESET\r\n"}]}})
    with connected(path) as sock:
        ask_redis(sock, "SELECT", "5")
        ask_redis(sock, "SET", "key", "in 5")
        ask_redis(sock, "MULTI")
    with connected(path) as sock:
        assert ask_redis(sock, "GET", "key") is None
    assert redis.connections() == 1
    fds_return(daemon, extra=1)

"""The control socket: berthctl, and gRPC clients in general."""

import fcntl
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import termios
import time

import pytest

import berth
from berthd import BERTHD
from processes import DEADLINE_S, NOBODY, wait_until

grpc = pytest.importorskip("grpc")

from control import BERTHCTL, Channel, as_nobody, control, ctl, rows, run, status  # noqa: E402

LISTINGS = ["pools", "connections", "leases", "sessions", "waiters"]


def columns(daemon, listing):
    """The listing's rows as {title: cell}."""
    done = ctl(daemon, listing)
    assert (done.returncode, done.stderr) == (0, "")
    titles, *lines = [line.split() for line in done.stdout.splitlines()]
    return [dict(zip(titles, line)) for line in lines]


def pool(upstream, **settings):
    return {"echo": {"endpoints": [upstream.url], **settings}}


# ---- what berthctl shows ----


def test_status_tells_of_the_daemon_as_a_whole(berthd, upstream):
    daemon = berthd(pool(upstream))
    session = daemon.session()
    with session.lease("echo"):
        told = status(daemon)
        text = ctl(daemon, "status").stdout
    assert (told["pid"], told["uid"], told["stopping"]) == (daemon.pid, os.getuid(), False)
    assert (told["pools"], told["sessions"], told["leases"], told["waiters"]) == (1, 1, 1, 0)
    assert (told["connections"]["leased"], told["connections"]["idle"]) == (1, 0)
    assert told["control_connections"] >= 1
    assert 0 < told["slots_used"] < told["slots"]
    assert f"pid {daemon.pid}" in text and "1 leased" in text
    assert told["version"] == run("--version").stdout.split()[1]


def test_pools_tell_what_they_hold_and_have_done(berthd, upstream):
    daemon = berthd(pool(upstream, max_connections=7))
    with daemon.session().lease("echo"):
        [told] = rows(daemon, "pools")
        [row] = columns(daemon, "pools")
    assert (told["key"], told["endpoints"], told["intake"]) == ("echo", [upstream.url], "OPEN")
    assert (told["max_connections"], told["connections"]["leased"]) == (7, 1)
    assert (told["grants"], told["dials"], told["failed_dials"], told["closes"]) == ("1", "1", "0", [])
    assert (row["KEY"], row["LEASED"], row["MAX"], row["GRANTS"]) == ("echo", "1", "7", "1")


def test_closes_are_counted_by_reason(berthd, upstream):
    daemon = berthd(pool(upstream))
    session = daemon.session()
    session.lease("echo").discard()
    session.keys()
    wait_until(lambda: rows(daemon, "pools")[0]["closes"] == [{"reason": "CLOSE_DISCARDED", "count": "1"}],
               "the close is counted")


def test_connections_tell_their_state(berthd, upstream):
    daemon = berthd(pool(upstream))
    session = daemon.session()
    with session.lease("echo") as lease:
        [leased] = rows(daemon, "connections")
        [row] = columns(daemon, "connections")
    session.keys()
    wait_until(lambda: rows(daemon, "connections")[0]["state"] == "IDLE", "it is idle")
    [idle] = rows(daemon, "connections")
    assert (leased["state"], leased["lease_id"], leased["uses"]) == ("LEASED", str(lease.id), "1")
    assert (leased["endpoint"], leased["key"]) == (upstream.url, "echo")
    assert 0 < int(leased["expires_in_ms"]) <= 30 * 60 * 1000
    assert (idle["connection_id"], idle["lease_id"]) == (leased["connection_id"], "0")
    assert (row["STATE"], row["ENDPOINT"]) == ("leased", upstream.url)


def test_leases_and_sessions_tell_who(berthd, upstream):
    daemon = berthd(pool(upstream))
    session = daemon.session()
    with session.lease("echo") as lease:
        [told] = rows(daemon, "leases")
        [row] = columns(daemon, "leases")
        [who] = rows(daemon, "sessions")
        [who_row] = columns(daemon, "sessions")
    comm = open("/proc/self/comm").read().strip()
    assert (told["lease_id"], told["key"]) == (str(lease.id), "echo")
    assert (told["pid"], told["uid"], told["command"]) == (os.getpid(), os.getuid(), comm)
    assert (row["LEASE"], row["PID"]) == (str(lease.id), str(os.getpid()))
    assert (who["session_id"], who["pid"], who["command"]) == (told["session_id"], os.getpid(), comm)
    assert (who["leases"], who["waiters"], who["foreign_netns"]) == (1, 0, False)
    assert (who_row["SESSION"], who_row["NAME"], who_row["LEASES"]) == (who["session_id"], who["name"], "1")


def test_a_session_is_listed_under_the_name_that_it_gives_itself(berthd, upstream):
    daemon = berthd(pool(upstream))
    daemon.session(name="nightly import")
    [told] = rows(daemon, "sessions")
    assert told["name"] == "nightly import"


def test_waiters_tell_what_they_wait_for(berthd, upstream):
    daemon = berthd(pool(upstream, max_connections=1))
    with daemon.session().lease("echo"):
        waiting = daemon.raw()
        request = waiting.request("echo", timeout_ms=60_000)
        waiting.sync()
        [told] = rows(daemon, "waiters")
        [row] = columns(daemon, "waiters")
        assert status(daemon)["waiters"] == 1
        assert rows(daemon, "pools")[0]["waiting"] == 1
    assert (told["key"], told["request_id"], told["pid"]) == ("echo", str(request), os.getpid())
    assert (told["count"], told["missing"]) == (1, 1)
    assert 0 < int(told["expires_in_ms"]) <= 60_000
    assert (row["KEY"], row["WANTS"], row["LACKS"]) == ("echo", "1", "1")


def test_listings_of_nothing_are_empty(berthd):
    daemon = berthd()
    for listing in LISTINGS:
        assert rows(daemon, listing) == []
        assert len(ctl(daemon, listing).stdout.splitlines()) == 1


def test_listings_of_one_key(berthd, upstream, other_upstream):
    daemon = berthd({"first": {"endpoints": [upstream.url]}, "second": {"endpoints": [other_upstream.url]}})
    one, two = daemon.session(), daemon.session()
    with one.lease("first"), two.lease("second"):
        for listing in "pools", "connections", "leases", "sessions":
            assert len(rows(daemon, listing)) == 2
            assert len(rows(daemon, listing, "second")) == 1
        assert rows(daemon, "leases", "second")[0]["key"] == "second"
        assert rows(daemon, "waiters", "second") == []
    done = ctl(daemon, "leases", "secnod")
    assert (done.returncode, done.stdout) == (64, "")
    assert 'no pool serves "secnod"; did you mean "second"?' in done.stderr


def test_columns_fit_the_terminal(berthd, upstream):
    daemon = berthd({"a" * 64: {"endpoints": [upstream.url]}})
    with daemon.session().lease("a" * 64):
        for width in 80, 100, 200:
            lines = on_terminal(width, BERTHCTL, "--socket", control(daemon), "connections")
            assert len(lines) == 2
            assert all(len(line) <= width for line in lines)
            assert ("…" in lines[1]) == (width < 200)
        assert "a" * 64 in ctl(daemon, "connections").stdout


def on_terminal(width, *command):
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    with subprocess.Popen([str(word) for word in command], stdout=theirs, env=environment) as program:
        os.close(theirs)
        output = b""
        while select.select([ours], [], [], DEADLINE_S)[0]:
            try:
                output += os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
    os.close(ours)
    assert program.returncode == 0
    return output.decode().splitlines()


# ---- what can go wrong ----


def test_an_unknown_command_is_answered_with_the_nearest():
    done = run("conections")
    assert (done.returncode, done.stdout) == (64, "")
    assert "unknown command conections; did you mean connections?" in done.stderr


@pytest.mark.parametrize("words", [[], ["pools", "--jsn"], ["pools", "a", "b"], ["status", "a"], ["--socket"]])
def test_wrong_usage_is_64(words):
    done = run(*words)
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr


def test_each_command_explains_itself():
    assert run("--help").returncode == 0
    for command in "status", *LISTINGS:
        assert command in run("--help").stdout
        done = run(command, "--help")
        assert done.returncode == 0 and "--json" in done.stdout


def test_a_daemon_that_is_not_running_is_69_and_how_to_start_it(berthd, folder):
    started = time.monotonic()
    done = run("--socket", folder / "nothing.sock", "status")
    assert done.returncode == 69
    assert "berthd is not running" in done.stderr and "berthd --user" in done.stderr
    daemon = berthd()
    daemon.kill()  # leaves its socket behind
    done = ctl(daemon, "status")
    assert done.returncode == 69
    assert "berthd is not running" in done.stderr and "Connection refused" in done.stderr
    assert time.monotonic() - started < DEADLINE_S


def test_a_lease_socket_is_not_a_control_socket(berthd):
    done = run("--socket", berthd().path, "status")
    assert done.returncode == 69
    assert "not a control socket" in done.stderr


def test_where_the_socket_is_looked_for(berthd, folder):
    daemon = berthd()
    plain = {name: value for name, value in os.environ.items() if name != "BERTH_CONTROL"}
    assert run("status", env={**plain, "BERTH_CONTROL": control(daemon)}).returncode == 0
    runtime = folder / "runtime"
    runtime.mkdir()
    os.symlink(daemon.folder, runtime / "berth")
    assert run("status", env={**plain, "XDG_RUNTIME_DIR": str(runtime)}).returncode == 0
    done = run("status", env={**plain, "BERTH_CONTROL": "/nowhere", "XDG_RUNTIME_DIR": str(runtime)})
    assert done.returncode == 69 and "/nowhere" in done.stderr


def test_another_user_is_not_permitted_and_told_what_would_permit_it(as_root, berthd):
    daemon = berthd(user=False, control_socket_mode="0666")
    for command in "status", *LISTINGS:
        done = as_nobody(daemon, command)
        assert (done.returncode, done.stdout) == (77, "")
        assert f"uid {NOBODY} is no administrator" in done.stderr and "`admins`" in done.stderr
    assert ctl(daemon, "status").returncode == 0


def test_another_user_does_not_reach_the_socket_at_all_by_default(as_root, berthd):
    for daemon in berthd(user=False), berthd():
        done = as_nobody(daemon, "status")
        assert done.returncode == 77
        assert "you may not use the control socket" in done.stderr
    assert [os.stat(control(daemon)).st_mode & 0o777 for daemon in (berthd(user=False), berthd())] == [0o660, 0o600]


def test_who_is_named_in_admins_may(as_root, berthd):
    daemon = berthd(user=False, control_socket_mode="0666", admins=[NOBODY])
    assert as_nobody(daemon, "status").returncode == 0


def test_who_is_named_in_admins_at_a_reload_may_from_then_on(as_root, berthd, upstream):
    pools = pool(upstream)
    daemon = berthd(pools, control_socket_mode="0666")
    assert as_nobody(daemon, "status").returncode == 77
    daemon.reload(pools, control_socket_mode="0666", admins=["nobody"])
    assert as_nobody(daemon, "status").returncode == 0
    daemon.reload(pools, control_socket_mode="0666")
    assert as_nobody(daemon, "status").returncode == 77


def test_a_daemon_that_does_not_answer_is_75(berthd):
    daemon = berthd()
    with daemon.stopped():
        done = ctl(daemon, "status")
    assert done.returncode == 75
    assert "does not answer" in done.stderr


# ---- any gRPC client ----


class Client(Channel):
    """A gRPC client that knows admin.proto, and bytes of everything else."""

    def status(self):
        return self._call("Status", self._messages("StatusRequest")(), "StatusReply")

    def list(self, listing, **request):
        return self._call(f"List{listing}", self._messages("ListRequest")(**request), f"List{listing}Reply")

    def _call(self, method, request, reply):
        return self.method("Admin", method, reply)(request, timeout=DEADLINE_S)

    def raw(self, method, data):
        return self._channel.unary_unary(method)(data, timeout=DEADLINE_S)

    def serving(self):
        return self.raw("/grpc.health.v1.Health/Check", b"") == b"\x08\x01"

    def services(self):
        """The first answer of a reflection stream, and the stream."""
        stream = self._channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")

        def requests():
            yield b"\x3a\x00"
            time.sleep(DEADLINE_S)

        answers = stream(requests())
        return next(answers), answers


@pytest.fixture
def client(messages):
    """client(daemon) opens one."""
    opened = []

    def start(daemon):
        opened.append(Client(daemon, messages))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


def test_a_client_asks_for_the_status(berthd, client):
    daemon = berthd()
    told = client(daemon).status()
    assert (told.pid, told.uid) == (daemon.pid, os.getuid())


def test_health_and_reflection_answer(berthd, client):
    asked = client(berthd())
    assert asked.serving()
    assert b"berth.v1.Admin" in asked.services()[0]


def test_a_message_of_10_mb_is_refused_and_nothing_else_happens(berthd, client):
    daemon = berthd()
    asked = client(daemon)
    for _ in range(3):
        with pytest.raises(grpc.RpcError) as error:
            asked.raw("/berth.v1.Admin/Status", b"\x0a" + bytes(10_000_000))
        assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "larger than max" in error.value.details()
    assert asked.status().pid == daemon.pid


def test_nonsense_is_an_error_and_nothing_else_happens(berthd, client):
    daemon = berthd()
    asked = client(daemon)
    with pytest.raises(grpc.RpcError):
        asked.raw("/berth.v1.Admin/ListPools", b"\xff\xff\xff")
    with pytest.raises(grpc.RpcError) as error:
        asked.raw("/berth.v1.Admin/Nothing", b"")
    assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED
    with pytest.raises(grpc.RpcError) as error:
        asked.list("Pools", limit=1001)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert asked.status().pid == daemon.pid


def test_pages_tell_each_row_once(berthd, client, upstream):
    daemon = berthd(pool(upstream))
    asked = client(daemon)
    session = daemon.session()
    leases = [session.lease("echo") for _ in range(7)]
    for listing, field in ("Connections", "connection_id"), ("Leases", "lease_id"):
        seen, after = [], 0
        while True:
            page = asked.list(listing, limit=3, after=after)
            found = [getattr(row, field) for row in getattr(page, listing.lower())]
            assert len(found) <= 3
            seen += found
            if not page.HasField("next"):
                break
            after = page.next
        assert len(seen) == len(set(seen)) == 7
    for lease in leases:
        lease.discard()


def test_connections_leave_nothing_behind(berthd, client, messages):
    daemon = berthd()
    before = daemon.fds()
    used = status(daemon)["slots_used"]
    for _ in range(50):
        with Client(daemon, messages) as asked:
            assert asked.status().pid == daemon.pid
    wait_until(lambda: daemon.fds() == before, "their descriptors are closed")
    wait_until(lambda: status(daemon)["slots_used"] == used, "their slots are back")


def test_connections_that_say_nothing_or_nonsense_leave_nothing_behind(berthd):
    daemon = berthd()
    before = daemon.fds()
    for data in b"", b"GET / HTTP/1.1\r\n\r\n", b"\0" * 100_000, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n":
        with socket.socket(socket.AF_UNIX) as rude:
            rude.connect(control(daemon))
            rude.settimeout(DEADLINE_S)
            try:
                rude.sendall(data)
            except ConnectionError:
                pass
        wait_until(lambda: daemon.fds() == before, f"{data[:20]!r} is forgotten")


def test_a_number_is_not_used_again_soon(berthd, client, messages):
    daemon = berthd()
    before = set(daemon.fds())
    numbers = []
    for _ in range(10):
        with Client(daemon, messages) as asked:
            asked.status()
            numbers.append(max(set(daemon.fds()) - before))
        wait_until(lambda: set(daemon.fds()) == before, "it is closed")
    assert len(set(numbers)) == 10


def test_open_streams_do_not_keep_others_from_being_answered_nor_the_daemon_from_ending(berthd, client):
    daemon = berthd()
    held = []
    for _ in range(20):
        asked = client(daemon)
        try:
            held.append(asked.services()[1])
        except grpc.RpcError as error:  # no more at once
            assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert held
    assert status(daemon)["pid"] == daemon.pid
    started = time.monotonic()
    daemon.signal(signal.SIGTERM)
    assert daemon.wait() == 0
    assert time.monotonic() - started < 5


def test_a_stopping_daemon_says_so_as_long_as_it_waits(berthd, client, upstream):
    daemon = berthd(pool(upstream), drain_timeout="20s")
    asked = client(daemon)
    session = daemon.session()
    lease = session.lease("echo")
    daemon.signal(signal.SIGTERM)
    wait_until(lambda: asked.status().stopping, "it says that it stops")
    wait_until(lambda: not asked.serving(), "health says it too")
    assert len(rows(daemon, "leases")) == 1
    lease.discard()
    assert daemon.wait() == 0
    with pytest.raises(grpc.RpcError) as error:
        asked.status()
    assert error.value.code() == grpc.StatusCode.UNAVAILABLE
    assert ctl(daemon, "status").returncode == 69
    assert not os.path.exists(control(daemon))


def test_administrators_get_in_when_leases_have_taken_every_descriptor(berthd, upstream, client):
    daemon = berthd(pool(upstream, max_connections="unlimited"), fd_limit=128)
    os.chmod(control(daemon), 0o666)
    os.chmod(daemon.folder, 0o755)
    session = daemon.session()
    leases = []
    with pytest.raises(berth.TimedOut):
        for _ in range(128):
            leases.append(session.lease("echo", timeout=0.2))
    channels = [client(daemon) for _ in range(4)]
    for channel in channels:
        assert channel.status().leases == len(leases)
    for channel in channels:
        channel.close()
    wait_until(lambda: status(daemon)["control_connections"] == 1, "the channels' reserve is free again")
    refused = as_nobody(daemon, "explain", "echo")
    assert (refused.returncode, refused.stdout) == (69, ""), refused
    assert "is no administrator, and for others no descriptor is left" in daemon.log()
    for lease in leases:
        lease.discard()
    wait_until(lambda: as_nobody(daemon, "explain", "echo").returncode != 69, "others get in again")


def test_leases_go_on_while_clients_poll(berthd, upstream):
    daemon = berthd(pool(upstream))
    pollers = [subprocess.Popen(["sh", "-c", f"while '{BERTHCTL}' --socket '{control(daemon)}' pools; do :; done"],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(4)]
    try:
        session = daemon.session()
        for _ in range(300):
            with session.lease("echo"):
                pass
    finally:
        for poller in pollers:
            poller.kill()
            poller.wait()


def test_a_second_daemon_on_the_same_control_socket_is_refused(berthd, folder):
    daemon = berthd()
    other = folder / "other"
    other.mkdir()
    config = other / "berthd.toml"
    config.write_text(f'[daemon]\ncontrol_socket = "{control(daemon)}"\n')
    done = subprocess.run([BERTHD, "--user", "--runtime-dir", other, "--config", config], timeout=DEADLINE_S,
                          text=True, capture_output=True)
    assert done.returncode == 73
    assert "another process serves this socket" in done.stderr
    assert ctl(daemon, "status").returncode == 0
    assert berth.Session(daemon.path).close() is None

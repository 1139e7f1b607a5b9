"""berthd as a service: what it tells systemd, and the sockets that systemd passes to it."""

import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import time

import pytest

import berth
from berth import _frames as frames
from berthd import BERTHD, BUILD, Raw, passing, toml
from processes import DEADLINE_S, NOBODY, Program, wait_readable, wait_until
from servers import need
from test_daemon import quiet_for
from upstream import ask

pytest.importorskip("grpc")
from control import ctl  # noqa: E402

INTERVAL_S = 0.2


class Manager:
    """Hears what a service tells, as systemd does."""

    def __init__(self, folder):
        self.path = str(folder / "notify")
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(self.path)
        os.chmod(self.path, 0o666)
        self._sock.settimeout(DEADLINE_S)

    def hear(self):
        """The next message, as a dictionary."""
        return dict(line.split("=", 1) for line in self._sock.recv(4096).decode().splitlines())

    def hear_until(self, is_wanted):
        """The first message that is wanted, and how many came before it."""
        deadline = time.monotonic() + DEADLINE_S
        for passed_by in range(100_000):
            message = self.hear()
            if is_wanted(message):
                return message, passed_by
            assert time.monotonic() < deadline, f"it only says {message}"

    def hear_status(self, status):
        return self.hear_until(lambda message: message.get("STATUS") == status)

    def hears_nothing(self, seconds=0):
        return not wait_readable(self._sock, seconds)

    def forget(self):
        while not self.hears_nothing():
            self.hear()

    def environment(self, watchdog_s=None):
        told = {"NOTIFY_SOCKET": self.path}
        if watchdog_s is not None:
            told["WATCHDOG_USEC"] = str(int(watchdog_s * 1e6))
        return told

    def close(self):
        self._sock.close()


@pytest.fixture
def manager(folder):
    with contextlib.closing(Manager(folder)) as listening:
        yield listening


def pool(upstream, **settings):
    return {"echo": {"endpoints": [upstream.url], **settings}}


def bound(path, kind):
    sock = socket.socket(socket.AF_UNIX, kind)
    sock.bind(str(path))
    return sock


def listening(path, kind=socket.SOCK_STREAM):
    sock = bound(path, kind)
    sock.listen(16)
    return sock


def connect(there):
    """To a path, or to a listening socket."""
    named = isinstance(there, socket.socket)
    with socket.socket(socket.AF_UNIX, there.type if named else socket.SOCK_STREAM) as sock:
        sock.connect(there.getsockname() if named else str(there))


@pytest.fixture
def lease_socket(folder):
    with listening(folder / "lease.sock", socket.SOCK_SEQPACKET) as sock:
        yield sock


@pytest.fixture
def control_socket(folder):
    with listening(folder / "control.sock") as sock:
        yield sock


# --- what it tells ---


def test_it_is_ready_once_its_sockets_accept(folder, manager):
    program = Program(folder, BERTHD, "--user", "--runtime-dir", folder, "--config", "/dev/null",
                      environment=manager.environment())
    try:
        assert manager.hear() == {"READY": "1", "STATUS": "0 pools"}
        connect(folder / "control.sock")
        Raw(str(folder / "lease.sock")).close()
        program.signal(signal.SIGTERM)
        assert program.wait() == 0
    finally:
        program.kill()


def test_it_is_never_ready_if_a_socket_cannot_be_opened(folder, manager):
    (folder / "control.sock").write_text("precious")
    done = subprocess.run([BERTHD, "--user", "--runtime-dir", folder, "--config", "/dev/null"],
                          env={**os.environ, **manager.environment()}, capture_output=True, timeout=DEADLINE_S)
    assert done.returncode == 73
    assert manager.hears_nothing()


def test_a_reload_is_told_when_it_begins_and_when_it_has_ended(berthd, upstream, manager):
    daemon = berthd(pool(upstream), environment=manager.environment())
    assert manager.hear() == {"READY": "1", "STATUS": "1 pool"}
    before = time.monotonic_ns() // 1000
    daemon.reload({**pool(upstream), "other": {"endpoints": [upstream.url]}})
    begins = manager.hear()
    assert begins["RELOADING"] == "1" and begins["STATUS"] == "reads its configuration"
    assert before <= int(begins["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    assert manager.hear() == {"READY": "1", "STATUS": "2 pools"}
    assert manager.hears_nothing()


def test_a_reload_that_fails_ends_too_and_the_status_tells_why_until_one_succeeds(berthd, upstream, manager):
    daemon = berthd(pool(upstream), environment=manager.environment())
    manager.forget()
    daemon.hang_up("[daemon]\nlog_levl = 1\ndrain_timeout = 3\n", "nothing has changed")
    assert manager.hear()["RELOADING"] == "1"
    ended = manager.hear()
    assert ended["READY"] == "1"
    assert ended["STATUS"].startswith(f"1 pool; the last reload failed: {daemon.config}:2: ")
    assert ended["STATUS"].endswith("(and 1 more)")
    daemon.reload(pool(upstream))
    assert manager.hear()["RELOADING"] == "1"
    assert manager.hear() == {"READY": "1", "STATUS": "1 pool"}


def test_the_units_reload_command_waits_for_the_outcome_and_tells_what_is_wrong(berthd, upstream, manager):
    daemon = berthd(pool(upstream), environment=manager.environment())
    unit = (BUILD / "systemd/system/berthd.service").read_text()
    command = re.search(r"^ExecReload=.*/berthctl --socket \S+ (.*)$", unit, re.MULTILINE)[1]
    manager.forget()
    assert ctl(daemon, command).returncode == 0
    assert [manager.hear().get("RELOADING"), manager.hear().get("READY")] == ["1", "1"]
    daemon.config.write_text("[pools]\nnonsense = 1\n")
    done = ctl(daemon, command)
    assert (done.returncode, str(daemon.config) in done.stderr) == (78, True), done


def test_its_stop_is_told_with_the_time_that_it_may_take(berthd, upstream, manager):
    daemon = berthd(pool(upstream), environment=manager.environment(), drain_timeout="60s")
    lease = daemon.session().lease("echo")
    manager.forget()
    daemon.signal(signal.SIGTERM)
    said = manager.hear()
    assert said["STOPPING"] == "1" and int(said["EXTEND_TIMEOUT_USEC"]) > 60_000_000
    assert said["STATUS"] == "1 pool, 1 session, 1 lease; stops, and waits up to 60 s for leases"
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: "berthd is stopping" in daemon.log(), "the reload is refused")
    assert manager.hears_nothing()
    lease.release()
    assert daemon.wait() == 0


@pytest.mark.parametrize("address", ["/no/such/socket", "nonsense", "", "@no-such-socket"])
def test_a_bad_notify_socket_is_logged_once_and_does_no_harm(berthd, upstream, address):
    daemon = berthd(pool(upstream), environment={"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "20000"})
    daemon.reload(pool(upstream))
    with daemon.session().lease("echo") as lease:
        assert ask(lease.sock) == 1
    assert daemon.log().count(f"systemd cannot be told how berthd is: NOTIFY_SOCKET={address}: ") == 1


def test_a_manager_that_does_not_read_delays_nobody_and_hears_all_in_the_end(berthd, upstream, manager):
    daemon = berthd(pool(upstream), environment=manager.environment(watchdog_s=0.01))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as other:
        other.connect(manager.path)
        with contextlib.suppress(BlockingIOError):
            while True:
                other.send(b"OTHER=1")
    daemon.reload({**pool(upstream), "more": {"endpoints": [upstream.url]}})
    with daemon.session().lease("echo") as lease:
        assert ask(lease.sock) == 1
    manager.hear_until(lambda message: "RELOADING" in message)
    ended, _ = manager.hear_until(lambda message: message.get("READY") == "1")
    assert ended["STATUS"].startswith("2 pools")


# --- the watchdog ---


def test_the_watchdog_is_fed_while_the_loop_turns_and_not_while_it_is_stuck(berthd, manager):
    daemon = berthd(environment=manager.environment(watchdog_s=INTERVAL_S))
    for _ in range(4):
        manager.hear_until(lambda message: message.get("WATCHDOG") == "1")
    with daemon.stopped():
        manager.forget()
        assert manager.hears_nothing(3 * INTERVAL_S)
    manager.hear_until(lambda message: message.get("WATCHDOG") == "1")


def test_the_watchdog_is_fed_during_the_drain(berthd, upstream, manager):
    daemon = berthd(pool(upstream), environment=manager.environment(watchdog_s=INTERVAL_S), drain_timeout="60s")
    lease = daemon.session().lease("echo")
    daemon.signal(signal.SIGTERM)
    manager.hear_until(lambda message: "STOPPING" in message)
    for _ in range(3):
        assert manager.hear()["WATCHDOG"] == "1"
    lease.release()
    assert daemon.wait() == 0


def test_the_status_follows_what_there_is_and_is_not_repeated(berthd, upstream, manager):
    daemon = berthd(pool(upstream, max_connections=1), environment=manager.environment(watchdog_s=INTERVAL_S))
    session = daemon.session()
    lease = session.lease("echo")
    raw = daemon.raw()
    raw.request("echo", timeout_ms=60_000)
    manager.hear_status("1 pool, 2 sessions, 1 lease, 1 request waits")
    for _ in range(3):
        assert manager.hear() == {"WATCHDOG": "1"}
    raw.close()
    lease.release()
    manager.hear_status("1 pool, 1 session")


def test_without_a_watchdog_nothing_is_told_and_the_loop_sleeps(berthd, upstream, manager):
    daemon = berthd(pool(upstream), environment=manager.environment())
    assert manager.hear()["READY"] == "1"
    session = daemon.session()
    for _ in range(5):
        session.lease("echo").release()
    quiet_for(daemon, 2)
    assert manager.hears_nothing()


def test_a_watchdog_for_another_process_is_not_ours(berthd, manager):
    berthd(environment={**manager.environment(watchdog_s=0.02), "WATCHDOG_PID": "1"})
    assert manager.hear()["READY"] == "1"
    assert manager.hears_nothing(0.2)


def test_a_bad_watchdog_interval_is_logged(berthd, manager):
    daemon = berthd(environment={**manager.environment(), "WATCHDOG_USEC": "soon"})
    assert "the watchdog is off: WATCHDOG_USEC: Invalid argument" in daemon.log()


# --- sockets that are passed ---


def test_both_sockets_can_be_passed_and_stay_when_it_ends(berthd, lease_socket, control_socket, upstream):
    daemon = berthd(pool(upstream), passed={"control": control_socket, "lease": lease_socket},
                    lease_socket=lease_socket.getsockname())
    assert f"lease: listens on {daemon.path}, as passed\n" in daemon.log()
    assert f"control: listens on {control_socket.getsockname()}, as passed, and not on {daemon.folder}" in daemon.log()
    assert not list(daemon.folder.glob("*.sock"))
    connect(control_socket)
    for _ in range(2):
        with daemon.session().lease("echo") as lease:
            ask(lease.sock)
        daemon.stop()
        connect(lease_socket)
        connect(control_socket)
        daemon.start()


def test_who_connected_before_it_was_there_is_served(folder, lease_socket):
    early = Raw(lease_socket.getsockname(), hello=False)
    early.send(frames.Hello(frames.VERSION, "early"))
    program = Program(folder, *passing({"lease": lease_socket}, daemon_words(folder / "run")),
                      fds=[lease_socket.fileno()])
    try:
        early.expect(frames.Welcome)
        early.close()
        program.signal(signal.SIGTERM)
        assert program.wait() == 0
    finally:
        program.kill()


def test_one_can_be_passed_and_the_other_made(berthd, lease_socket, upstream):
    daemon = berthd(pool(upstream), passed={"lease": lease_socket})
    control = daemon.folder / "control.sock"
    connect(control)
    daemon.stop()
    assert os.path.exists(daemon.path) and not control.exists()


def test_a_passed_socket_takes_one_place_in_the_fd_budget(berthd, lease_socket, control_socket):
    """As one that is made does."""
    made = berthd()
    passed = berthd(passed={"lease": lease_socket, "control": control_socket})
    assert slots_used(made.folder / "control.sock") == slots_used(control_socket.getsockname())
    assert passed.fds_at_start == made.fds_at_start


def slots_used(control):
    done = subprocess.run([BUILD / "bin/berthctl", "--socket", control, "status", "--json"], capture_output=True,
                          check=True, timeout=DEADLINE_S)
    return json.loads(done.stdout)["slots_used"]


def test_with_all_passed_it_needs_no_folder_to_write_to(as_root, lease_socket, control_socket, folder):
    nobody = [*need("setpriv"), f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    words = [*nobody, BERTHD, "--runtime-dir", folder / "forbidden/berth", "--config", "/dev/null"]
    passed = {"lease": lease_socket, "control": control_socket}
    os.mkdir(folder / "forbidden", 0o700)
    done = subprocess.run(words, capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.returncode == 73
    assert f"folder {folder}/forbidden/berth cannot be made: Permission denied" in done.stderr
    program = Program(folder, *passing(passed, words), fds=[sock.fileno() for sock in passed.values()])
    try:
        program.ready(lambda: "ready:" in program.output())
        program.signal(signal.SIGTERM)
        assert program.wait() == 0
    finally:
        program.kill()


def test_no_program_that_it_starts_inherits_what_was_passed(berthd, lease_socket):
    daemon = berthd(passed={"lease": lease_socket})
    flags = pathlib.Path(f"/proc/{daemon.pid}/fdinfo/3").read_text()
    assert int(re.search(r"^flags:\s*(\d+)", flags, re.MULTILINE)[1], 8) & os.O_CLOEXEC


@pytest.mark.parametrize("name, make, found, right", [
    ("lease", lambda path: listening(path), "a Unix stream socket;",
     "a listening Unix sequential-packet socket, as ListenSequentialPacket= of a .socket unit"),
    ("control", lambda path: listening(path, socket.SOCK_SEQPACKET), "a Unix sequential-packet socket;",
     "a listening Unix stream socket, as ListenStream= of a .socket unit"),
    ("lease", lambda path: bound(path, socket.SOCK_SEQPACKET), "a Unix sequential-packet socket that does not listen;",
     "with Accept=no"),
    ("lease", lambda path: bound(path, socket.SOCK_DGRAM), "a Unix datagram socket that does not listen;", ""),
    ("control", lambda path: socket.create_server(("127.0.0.1", 0)), "an IPv4 stream socket;", ""),
    ("control", lambda path: open(os.devnull), "not a socket;", ""),
])
def test_a_passed_socket_that_is_not_right_is_refused(folder, name, make, found, right):
    with make(folder / "wrong.sock") as wrong:
        done = refused(folder, {name: wrong})
    assert f'descriptor 3, passed as "{name}", is {found} it must be ' in done.stderr
    assert right in done.stderr


@pytest.mark.parametrize("name", ["leases", "unknown", "berthd.socket", "socket.app"])
def test_a_name_that_means_nothing_is_refused_with_those_that_do(folder, control_socket, name):
    with listening(folder / "lease.sock", socket.SOCK_SEQPACKET) as sock:
        done = refused(folder / "run", {"control": control_socket, name: sock})
    assert f'descriptor 4 is passed as "{name}", which names no socket of berthd\'s; FileDescriptorName= of its ' \
        ".socket unit must be one of: lease, control" in done.stderr


def test_two_sockets_of_one_name_are_refused(folder, lease_socket):
    words = passing({"lease": lease_socket, "other": lease_socket}, daemon_words(folder))
    words = [word.replace(":other", ":lease") if isinstance(word, str) else word for word in words]
    done = subprocess.run(words, capture_output=True, text=True, timeout=DEADLINE_S, pass_fds=[lease_socket.fileno()])
    assert done.returncode == 73
    assert 'more than one descriptor is passed as "lease"' in done.stderr


@pytest.mark.parametrize("environment", [
    {"LISTEN_FDS": "many"}, {"LISTEN_FDS": "40"}, {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "lease:control"}])
def test_an_environment_that_does_not_fit_what_was_passed_is_refused(folder, lease_socket, environment):
    settings = [f"{name}={value}" for name, value in environment.items()]
    words = passing({"lease": lease_socket}, ["env", *settings, *daemon_words(folder)])
    done = subprocess.run(words, capture_output=True, text=True, timeout=DEADLINE_S, pass_fds=[lease_socket.fileno()])
    assert done.returncode == 73
    assert "LISTEN_FDS, LISTEN_FDNAMES: " in done.stderr


def test_what_was_passed_to_another_process_is_left_alone(berthd):
    daemon = berthd(environment={"LISTEN_FDS": "1", "LISTEN_FDNAMES": "lease", "LISTEN_PID": "1"})
    assert f"lease: listens on {daemon.path}\n" in daemon.log()


def daemon_words(folder):
    return [BERTHD, "--user", "--runtime-dir", folder, "--config", "/dev/null"]


def refused(folder, passed):
    """A start that fails: no socket of its own remains."""
    fds = [each.fileno() for each in passed.values()]
    done = subprocess.run(passing(passed, daemon_words(folder)), capture_output=True, text=True, timeout=DEADLINE_S,
                          pass_fds=fds)
    assert done.returncode == 73
    return done


def test_the_first_client_starts_it_by_its_socket(folder, upstream):
    """As systemd-socket-activate(1), which stands in for systemd here, does it."""
    path = folder / "lease.sock"
    config = folder / "berthd.toml"
    config.write_text(toml({"daemon": {}}, pool(upstream)))
    program = Program(
        folder, *need("systemd-socket-activate"), "--seqpacket", f"--listen={path}", "--fdname=lease",
        BERTHD, "--user", "--runtime-dir", folder, "--config", config)
    try:
        program.ready(lambda: f"Listening on {path}" in program.output())
        assert "ready:" not in program.output()
        with berth.Session(path) as session, session.lease("echo") as lease:
            assert ask(lease.sock) == 1
        program.signal(signal.SIGTERM)
        assert program.wait() == 0
        assert f"lease: listens on {path}, as passed\n" in program.output()
        assert path.exists()
    finally:
        program.kill()


def test_without_a_name_the_socket_is_refused_when_the_first_client_comes(folder):
    path = folder / "lease.sock"
    program = Program(folder, *need("systemd-socket-activate"), "--seqpacket", f"--listen={path}",
                      *daemon_words(folder / "run"))
    try:
        program.ready(lambda: f"Listening on {path}" in program.output())
        with pytest.raises(berth.Unavailable):
            berth.Session(path)
        assert program.wait() == 73
        assert "FileDescriptorName= of its .socket unit must be one of: lease, control" in program.output()
    finally:
        program.kill()

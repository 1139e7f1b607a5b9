"""berthd itself: its command line, its start, its end, and how quiet it is in between."""

import os
import signal
import subprocess
import time

import pytest

import berth
from berth import _frames as frames
from berthd import BERTHD, Raw, settle
from processes import wait_readable, wait_until
from upstream import ask


def run(*words, **options):
    return subprocess.run([BERTHD, *words], capture_output=True, text=True, timeout=20, **options)


def check(folder, text):
    config = folder / "berthd.toml"
    config.write_text(text)
    return run("--config", config, "--check-config"), config


def pool(upstream, **settings):
    return {"echo": {"endpoints": [upstream.url], **settings}}


def test_it_tells_its_version():
    done = run("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("berthd ") and done.stdout.count("\n") == 1


def test_it_explains_itself():
    done = run("--help")
    assert done.returncode == 0
    for word in "--config", "--check-config", "--user", "--version", "--runtime-dir":
        assert word in done.stdout


@pytest.mark.parametrize("words", [["--no-such-option"], ["--config"], ["surplus"]])
def test_wrong_usage_is_64(words):
    done = run(*words)
    assert done.returncode == 64
    assert done.stderr


def test_a_good_configuration_is_printed_in_full(folder):
    done, _ = check(folder, '[pool.redis]\nendpoints = ["tcp://127.0.0.1:6379"]\nmin_idle = 2\nallow_users = [0]\n')
    assert (done.returncode, done.stderr) == (0, "")
    assert "[pool.redis]" in done.stdout
    for line in 'min_idle = 2', 'max_connections = 20', 'acquire_timeout = "5s"', 'share = "user"':
        assert line in done.stdout
    again, _ = check(folder, done.stdout)
    assert (again.returncode, again.stdout) == (0, done.stdout)


def test_every_problem_is_told_with_file_line_and_what_would_be_right(folder):
    done, config = check(folder, "\n".join([
        "[daemon]",
        'drain_timeout = "30"',
        "[pool.redis]",
        'endpoints = ["tcp://127.0.0.1:6379"]',
        "max_conections = 5",
        "[pool.mail]",
        'endpoints = ["tcp://127.0.0.1"]',
        "metrics = true",
        "[pool.Big]",
        'endpoints = ["tcp://127.0.0.1:1"]',
        "[poool.x]",
        "",
    ]))
    assert done.returncode == 78
    assert done.stdout == ""
    problems = [line for line in done.stderr.splitlines() if "warning:" not in line]
    for line, word in [(2, "drain_timeout"), (5, 'did you mean "max_connections"?'), (7, "endpoint"),
                       (8, "not available in this version"), (9, "Big"), (11, "did you mean [pool.NAME]?")]:
        assert any(f"{config}:{line}:" in problem and word in problem for problem in problems), (line, problems)
    assert len(problems) == 6


def test_a_pool_that_nobody_may_use_is_worth_a_warning(folder):
    done, config = check(folder, '[pool.redis]\nendpoints = ["tcp://127.0.0.1:6379"]\n')
    assert done.returncode == 0
    assert f"warning: {config}:1: nobody may lease" in done.stderr


def test_a_syntax_error_is_told_with_its_line(folder):
    done, config = check(folder, "[daemon]\n\nlog_level = \n")
    assert done.returncode == 78
    assert f"{config}:3" in done.stderr


def test_a_file_that_is_not_there_is_told(folder):
    done = run("--config", folder / "missing.toml", "--check-config")
    assert done.returncode == 78
    assert f"{folder}/missing.toml" in done.stderr


def test_it_does_not_start_with_a_bad_configuration(folder):
    config = folder / "berthd.toml"
    config.write_text("[daemon]\nlog_levl = 1\n")
    done = run("--user", "--runtime-dir", folder, "--config", config)
    assert done.returncode == 78
    assert not (folder / "lease.sock").exists()


def test_a_user_daemon_needs_to_know_where_its_sockets_go():
    environment = {name: value for name, value in os.environ.items() if name != "XDG_RUNTIME_DIR"}
    done = run("--user", env=environment)
    assert done.returncode in (64, 78)
    assert "XDG_RUNTIME_DIR" in done.stderr and "--runtime-dir" in done.stderr


def test_a_user_daemon_and_its_clients_meet_in_the_runtime_dir(folder, upstream):
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(folder), "XDG_CONFIG_HOME": str(folder / "none")}
    path = folder / "berth/lease.sock"
    daemon = subprocess.Popen([BERTHD, "--user"], env=environment, stderr=subprocess.DEVNULL)
    try:
        wait_until(path.exists, "its socket")
        wait_until(lambda: can_open(path), "it accepts")
        assert os.stat(path.parent).st_mode & 0o777 == 0o700
        with berth.Session(path) as session, session.lease(upstream.url) as lease:
            assert ask(lease.sock) == 1
    finally:
        daemon.terminate()
        assert daemon.wait(20) == 0


def can_open(path):
    try:
        Raw(str(path)).close()
        return True
    except OSError:
        return False


def test_a_second_daemon_on_the_same_socket_is_refused(berthd, upstream):
    first = berthd(pool(upstream))
    with first.session().lease("echo") as lease:
        done = run("--user", "--runtime-dir", first.folder, "--config", first.config)
        assert done.returncode != 0
        assert first.path in done.stderr and "another process serves this socket" in done.stderr
        assert ask(lease.sock) == 1
    assert first.session().keys() == ["echo"]


def test_the_socket_of_a_killed_daemon_is_replaced_and_leased_connections_work_on(berthd, upstream):
    daemon = berthd(pool(upstream))
    orphan = daemon.session()
    lease = orphan.lease("echo")
    daemon.kill()
    assert os.path.exists(daemon.path)
    for _ in range(3):
        assert ask(lease.sock) == 1
    with pytest.raises(berth.Unavailable):
        orphan.lease("echo")
    with pytest.raises(berth.Unavailable):
        berth.Session(daemon.path)
    daemon.start()
    assert ask(lease.sock) == 1
    with daemon.session().lease("echo") as other:
        assert ask(other.sock) == 2
    lease.release()


def test_a_stopping_daemon_leaves_its_successors_socket_alone(berthd, upstream):
    """Somebody removed the first one's sockets, and another daemon serves there now."""
    first = berthd(pool(upstream))
    os.unlink(first.path)
    os.unlink(first.folder / "control.sock")
    command = [BERTHD, "--user", "--runtime-dir", first.folder, "--config", first.config]
    second = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: os.path.exists(first.path) and can_open(first.path), "the second one serves")
        first.signal(signal.SIGTERM)
        assert first.wait() == 0
        assert can_open(first.path)
    finally:
        second.terminate()
        assert second.wait(20) == 0


def test_something_else_in_the_sockets_place_is_left_alone(folder):
    (folder / "lease.sock").write_text("precious")
    done = run("--user", "--runtime-dir", folder, "--config", "/dev/null")
    assert done.returncode != 0
    assert "not a socket" in done.stderr
    assert (folder / "lease.sock").read_text() == "precious"


def test_sigterm_waits_for_leases_then_takes_them_away(berthd, upstream):
    daemon = berthd(pool(upstream, max_connections=1), drain_timeout="700ms")
    session, raw = daemon.session(), daemon.raw()
    lease = session.lease("echo")
    waiting = raw.request("echo", timeout_ms=20_000)
    raw.sync()
    began = time.monotonic()
    daemon.signal(signal.SIGTERM)
    refusal = raw.expect(frames.Refusal)
    assert (refusal.request_id, refusal.code) == (waiting, frames.Code.SHUTTING_DOWN)
    assert "stopping" in refusal.message
    with pytest.raises(berth.ShuttingDown):
        session.lease("echo")
    assert ask(lease.sock) == 1  # a lease stands until drain_timeout
    assert wait_readable(lease.sock)
    assert lease.sock.recv(1) == b""
    assert 0.6 < time.monotonic() - began < 10
    assert isinstance(lease.revoked, berth.Revoked)
    goodbye = raw.expect(frames.Goodbye)
    assert goodbye.code == frames.Code.SHUTTING_DOWN
    assert daemon.wait() == 0
    assert not os.path.exists(daemon.path)


def test_sigterm_ends_the_daemon_as_soon_as_the_last_lease_is_back(berthd, upstream):
    daemon = berthd(pool(upstream), drain_timeout="60s")
    session = daemon.session()
    lease = session.lease("echo")
    daemon.signal(signal.SIGTERM)
    wait_until(lambda: "stops" in daemon.log(), "it has noticed")
    assert ask(lease.sock) == 1
    lease.release()
    assert daemon.wait(10) == 0


def test_a_second_sigterm_does_not_wait(berthd, upstream):
    daemon = berthd(pool(upstream, max_connections=1), drain_timeout="60s")
    lease = daemon.session().lease("echo")
    raw = daemon.raw()
    raw.request("echo")
    raw.sync()
    daemon.signal(signal.SIGTERM)
    raw.expect(frames.Refusal)
    assert daemon.runs()
    daemon.signal(signal.SIGTERM)
    assert daemon.wait(10) == 0
    assert lease.sock.recv(1) == b""


def test_sigint_is_as_good(berthd):
    daemon = berthd()
    daemon.signal(signal.SIGINT)
    assert daemon.wait() == 0


def test_who_connects_during_the_drain_is_told(berthd, upstream):
    daemon = berthd(pool(upstream), drain_timeout="60s")
    lease = daemon.session().lease("echo")
    daemon.signal(signal.SIGTERM)
    wait_until(lambda: "stops" in daemon.log(), "it has noticed")
    with pytest.raises(berth.ShuttingDown):
        with berth.Session(daemon.path) as late:
            late.lease("echo")
    lease.release()
    assert daemon.wait(10) == 0


def test_with_nothing_due_the_loop_sleeps(berthd, upstream):
    daemon = berthd(pool(upstream, max_connections="unlimited"))
    session = daemon.session()
    for _ in range(4):
        session.lease_many("echo", 50).release()
        leases = [session.lease_many("echo", 50) for _ in range(4)]
        for batch in leases:
            batch.release()
    settle(session)
    wait_until(lambda: len(upstream.open) == 200, "200 idle connections")
    quiet_for(daemon, 3)


def quiet_for(daemon, seconds):
    """A stretch of so many seconds in which the loop is never woken comes soon."""
    deadline = time.monotonic() + seconds + 5
    since, count = time.monotonic(), daemon.wake_ups()
    while time.monotonic() - since < seconds:
        assert time.monotonic() < deadline, "the loop never rests"
        time.sleep(0.05)
        if daemon.wake_ups() != count:
            since, count = time.monotonic(), daemon.wake_ups()


def test_pools_d_is_read_too(folder):
    (folder / "pools.d").mkdir()
    (folder / "berthd.toml").write_text("[daemon]\n")
    (folder / "pools.d/10-app.toml").write_text('[pool.app]\nendpoints = ["unix:///run/app.sock"]\nallow_users = [0]\n')
    done = run("--config", folder / "berthd.toml", "--check-config")
    assert (done.returncode, done.stderr) == (0, "")
    assert "[pool.app]" in done.stdout

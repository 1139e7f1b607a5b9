"""What an administrator orders: berthctl's commands that change something."""

import json
import os
import socket
import subprocess

import pytest

import berth
from berth import _frames as frames
from processes import DEADLINE_S, wait_until
from upstream import ask

pytest.importorskip("grpc")

from control import BERTHCTL, as_nobody, control, ctl, rows  # noqa: E402


def pool(upstream, **settings):
    return {"echo": {"endpoints": [upstream.url], **settings}}


def order(daemon, *words):
    """What the command says, which must succeed."""
    done = ctl(daemon, *words)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.rstrip("\n")


def start(daemon, *words):
    """A command that does not return at once."""
    return subprocess.Popen([BERTHCTL, "--socket", control(daemon), *words], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def end(command):
    out, err = command.communicate(timeout=DEADLINE_S)
    return command.returncode, out, err


def intake(daemon):
    row, = rows(daemon, "pools", "echo")
    return row["intake"]


# ---- connections ----


def test_renew_closes_idle_connections_and_those_in_use_when_they_come_back(berthd, upstream):
    daemon = berthd(pool(upstream))
    session = daemon.session()
    with session.lease_many("echo", 2) as leases:
        numbers = [ask(lease.sock) for lease in leases]
        leases[0].release()
        wait_until(lambda: rows(daemon, "pools")[0]["connections"]["idle"] == 1, "one is idle")
        assert order(daemon, "renew", "echo") == "echo: 1 idle connection closed, 1 in use to be closed when given back"
        wait_until(lambda: upstream.open == [numbers[1]], "the idle one is closed")
    wait_until(lambda: not upstream.open, "the other is closed when it comes back")
    with session.lease("echo") as lease:
        assert not lease.reused


def test_evict_closes_so_many_idle_connections(berthd, upstream):
    daemon = berthd(pool(upstream, min_idle=3))
    wait_until(lambda: len(upstream.open) == 3, "min_idle")
    assert order(daemon, "evict", "echo", "2") == "echo: 2 idle connections closed"
    wait_until(lambda: upstream.open == [3, 4, 5], "others are dialled in their place")
    assert json.loads(order(daemon, "evict", "echo", "--json")) == {"closed": "3", "channels": False}


def test_expire_closes_what_was_idle_at_two_ticks(berthd, upstream):
    daemon = berthd(pool(upstream))
    session = daemon.session()
    with session.lease("echo"):
        pass
    assert order(daemon, "expire") == "nothing was idle since the last tick"
    assert order(daemon, "expire") == "echo: 1 idle connection closed"
    wait_until(lambda: not upstream.open, "it is closed")


# ---- leases and sessions ----


def test_a_connection_is_closed_when_its_lease_is_over(berthd, upstream):
    daemon = berthd(pool(upstream))
    session = daemon.session()
    with session.lease("echo") as lease:
        told = f"the connection of lease {lease.id} is closed when it comes back"
        assert order(daemon, "close-on-release", str(lease.id)) == told
        assert order(daemon, "close-on-release", str(lease.id)) == told + ", as was ordered before"
        assert ask(lease.sock) == 1  # its holder may go on
    done = ctl(daemon, "close-on-release", str(lease.id))
    assert (done.returncode, done.stderr) == (64, f"berthctl: there is no lease {lease.id}\n")
    with session.lease("echo") as lease:
        assert ask(lease.sock) == 2


def test_a_revoked_lease_is_over_for_its_holder_and_the_server(berthd, upstream):
    daemon = berthd(pool(upstream))
    raw = daemon.raw()
    lease_id, sock = raw.lease("echo")
    ask(sock)
    assert order(daemon, "revoke", str(lease_id)) == f"lease {lease_id} is revoked"
    told = raw.expect(frames.Revoked)
    assert (told.lease_id, told.message) == (lease_id, "an administrator has revoked it")
    assert sock.recv(1) == b""
    wait_until(lambda: not upstream.open, "the server has seen the end")
    done = ctl(daemon, "revoke", str(lease_id))
    assert (done.returncode, done.stderr) == (64, f"berthctl: there is no lease {lease_id}\n")
    sock.close()


def test_a_killed_session_is_told_and_all_it_holds_ends(berthd, upstream):
    daemon = berthd(pool(upstream, max_connections=1))
    raw, other = daemon.raw(), daemon.session()
    _, sock = raw.lease("echo")
    raw.request("echo", timeout_ms=20_000)
    raw.sync()
    session_id = next(row["session_id"] for row in rows(daemon, "sessions", "echo"))
    assert order(daemon, "kill", session_id) == \
        f"session {session_id} has ended, and with it 1 lease and 1 request that waited"
    told = raw.expect(frames.Goodbye)
    assert (told.code, told.message) == (frames.Code.REVOKED, "an administrator has ended the session")
    assert sock.recv(1) == b""
    with other.lease("echo", timeout=5) as lease:
        assert not lease.reused
    assert ctl(daemon, "kill", session_id).returncode == 64
    sock.close()


# ---- rule 17 ----


def test_a_paused_pool_lets_requests_wait_until_it_is_resumed(berthd, upstream):
    daemon = berthd(pool(upstream))
    raw = daemon.raw()
    assert order(daemon, "pause", "echo") == "echo: paused, with 0 leases out"
    assert order(daemon, "pause", "echo") == "echo: paused, with 0 leases out, as it was before"
    waiting = raw.request("echo", timeout_ms=20_000)
    raw.sync()
    assert intake(daemon) == "PAUSED"
    assert order(daemon, "resume", "echo") == "echo: open"
    assert raw.expect(frames.Grant).request_id == waiting


def test_a_disabled_pool_refuses_until_it_is_enabled(berthd, upstream):
    daemon = berthd(pool(upstream))
    session = daemon.session()
    assert order(daemon, "disable", "echo") == "echo: disabled, with 0 leases out"
    with pytest.raises(berth.Disabled, match='an administrator has disabled "echo"'):
        session.lease("echo")
    assert order(daemon, "enable", "echo") == "echo: open"
    session.lease("echo").release()


def test_drain_returns_once_the_leases_are_back(berthd, upstream):
    daemon = berthd(pool(upstream))
    session = daemon.session()
    lease = session.lease("echo")
    draining = start(daemon, "drain", "echo")
    wait_until(lambda: intake(daemon) == "DISABLED", "it grants no more")
    with pytest.raises(berth.Disabled):
        session.lease("echo")
    assert draining.poll() is None
    lease.release()
    assert end(draining) == (0, "echo: disabled, and no lease is out\n", "")
    assert order(daemon, "undrain", "echo") == "echo: open"
    session.lease("echo").release()


def test_drain_is_told_when_somebody_undoes_it(berthd, upstream):
    daemon = berthd(pool(upstream))
    lease = daemon.session().lease("echo")
    draining = start(daemon, "drain", "echo")
    wait_until(lambda: intake(daemon) == "DISABLED", "it grants no more")
    order(daemon, "undrain", "echo")
    code, out, err = end(draining)
    assert (code, out) == (75, "")
    assert err == 'berthctl: "echo" was opened or paused before all its leases came back\n'
    lease.release()


def test_drain_that_is_interrupted_leaves_the_pool_disabled(berthd, upstream):
    daemon = berthd(pool(upstream))
    lease = daemon.session().lease("echo")
    draining = start(daemon, "drain", "echo")
    wait_until(lambda: intake(daemon) == "DISABLED", "it grants no more")
    draining.kill()
    end(draining)
    assert intake(daemon) == "DISABLED"
    lease.release()


def test_drain_of_a_pool_that_leaves_the_configuration_returns_with_its_last_lease(berthd, upstream):
    daemon = berthd(pool(upstream))
    lease = daemon.session().lease("echo")
    draining = start(daemon, "drain", "echo")
    wait_until(lambda: intake(daemon) == "DISABLED", "it grants no more")
    daemon.reload({})
    assert draining.poll() is None
    lease.release()
    assert end(draining)[0] == 0


# ---- the daemon ----


def test_reload_tells_what_has_changed(berthd, upstream):
    daemon = berthd(pool(upstream))
    assert order(daemon, "reload") == "nothing has changed"
    daemon.config.write_text(f'[daemon]\nfd_reserve = 65\n[pool.new]\nendpoints = ["{upstream.url}"]\n')
    assert order(daemon, "reload").splitlines() == [
        "new pools: new", "removed pools: echo", "without effect until a restart: fd_reserve"]
    told = json.loads(order(daemon, "reload", "--json"))
    assert told["added"] == [] and told["at_restart"] == ["fd_reserve"]


def test_reload_of_a_bad_file_is_78_and_changes_nothing(berthd, upstream):
    daemon = berthd(pool(upstream))
    daemon.config.write_text("[pool.echo]\nendpoint = []\nmax_idle = 'x'\n")
    done = ctl(daemon, "reload")
    assert (done.returncode, done.stdout) == (78, "")
    assert "berthd.toml:2: " in done.stderr and 'did you mean "endpoints"' in done.stderr
    assert "berthd.toml:3: max_idle" in done.stderr
    with daemon.session().lease("echo") as lease:
        ask(lease.sock)


def test_reloads_at_once_are_all_answered(berthd, upstream):
    daemon = berthd(pool(upstream))
    commands = [start(daemon, "reload") for _ in range(8)]
    assert [end(command) for command in commands] == [(0, "nothing has changed\n", "")] * 8


def test_the_log_level_changes_at_once_and_a_wrong_one_is_named(berthd):
    daemon = berthd()
    order(daemon, "log-level", "debug")
    daemon.session().close()
    wait_until(lambda: "says hello" in daemon.log(), "the log tells more")
    done = ctl(daemon, "log-level", "loud")
    assert done.returncode == 64
    assert '"loud" is no log level; trace, debug, info, warn, error and off are' in done.stderr


def test_shutdown_waits_for_leases_and_tells_the_end(berthd, upstream):
    daemon = berthd(pool(upstream), drain_timeout="20s")
    session = daemon.session()
    lease = session.lease("echo")
    ending = start(daemon, "shutdown")
    wait_until(lambda: "stops;" in daemon.log(), "it stops")
    with pytest.raises(berth.ShuttingDown):
        session.lease("echo")
    assert ending.poll() is None
    assert ask(lease.sock)
    lease.release()
    assert end(ending) == (0, "berthd has ended; 0 closes failed\n", "")
    assert daemon.wait() == 0


def test_shutdown_now_revokes_what_is_leased(berthd, upstream):
    daemon = berthd(pool(upstream), drain_timeout="20s")
    raw = daemon.raw()
    lease_id, sock = raw.lease("echo")
    assert order(daemon, "shutdown", "--now") == "berthd has ended; 0 closes failed"
    assert raw.expect(frames.Revoked).lease_id == lease_id
    assert daemon.wait() == 0
    sock.close()


def test_a_second_shutdown_now_ends_the_waiting_of_the_first(berthd, upstream):
    daemon = berthd(pool(upstream), drain_timeout="20s")
    lease = daemon.session().lease("echo")
    first = start(daemon, "shutdown")
    wait_until(lambda: "stops;" in daemon.log(), "it stops")
    assert order(daemon, "shutdown", "--now") == "berthd has ended; 0 closes failed"
    assert end(first)[0] == 0
    assert daemon.wait() == 0
    assert lease.sock.recv(1) == b""


# ---- bad input ----


ORDERS = ["renew", "evict", "pause", "resume", "disable", "enable", "drain", "undrain", "explain"]


@pytest.mark.parametrize("command", ORDERS)
def test_an_order_for_no_such_key_is_64_and_names_the_nearest(berthd, upstream, command):
    daemon = berthd(pool(upstream))
    done = ctl(daemon, command, "ech")
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr == 'berthctl: no pool serves "ech"; did you mean "echo"?\n'


@pytest.mark.parametrize("words", [[command] for command in ORDERS] + [
    ["revoke"], ["revoke", "x"], ["revoke", "-1"], ["kill", "1.5"], ["evict", "echo", "many"], ["log-level"],
    ["shutdown", "now"], ["events", "--recent", "x"], ["reload", "echo"], ["explain", "echo", "--user"]])
def test_an_order_with_wrong_words_is_64_and_reaches_nobody(words, folder):
    done = subprocess.run([BERTHCTL, "--socket", folder / "none.sock", *words], timeout=DEADLINE_S, text=True,
                          capture_output=True)
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr and "not running" not in done.stderr


def test_who_is_no_administrator_orders_nothing(as_root, berthd, upstream):
    daemon = berthd(pool(upstream), control_socket_mode="0666")
    raw = daemon.raw()
    lease_id, sock = raw.lease("echo")
    session_id = rows(daemon, "sessions", "echo")[0]["session_id"]
    for words in [*([command, "echo"] for command in ORDERS), ["expire"], ["revoke", str(lease_id)],
                  ["kill", session_id], ["reload"], ["log-level", "debug"], ["shutdown"], ["events"]]:
        done = as_nobody(daemon, *words)
        assert (done.returncode, done.stdout) == (77, ""), words
        assert "is no administrator" in done.stderr
    assert intake(daemon) == "OPEN"
    assert ask(sock)
    assert raw.release(lease_id).code == frames.Code.OK
    sock.close()


def test_a_revoked_carried_lease_is_over_for_its_holder_at_once(berthd, upstream, folder):
    path = str(folder / "echo.sock")
    daemon = berthd(pool(upstream, listen=path, handoff="relay"))
    session = daemon.session()
    lease = session.lease("echo")
    with socket.socket(socket.AF_UNIX) as program:
        program.connect(path)
        assert ask(lease.sock) + ask(program) == 3
        for row in rows(daemon, "leases"):
            order(daemon, "revoke", row["lease_id"])
        for sock in (lease.sock, program):
            sock.settimeout(DEADLINE_S)
            assert sock.recv(1) == b""
    wait_until(lambda: not upstream.open, "the server sees the end")


def test_programs_at_listen_sockets_are_listed_and_can_be_ended(berthd, upstream, folder):
    path = str(folder / "echo.sock")
    daemon = berthd(pool(upstream, listen=path))
    with socket.socket(socket.AF_UNIX) as program:
        program.settimeout(DEADLINE_S)
        program.connect(path)
        ask(program)
        row, = [row for row in rows(daemon, "sessions") if row["name"] == path]
        assert (row["leases"], row["pid"]) == (1, os.getpid())
        order(daemon, "kill", row["session_id"])
        assert program.recv(1) == b""
    wait_until(lambda: not rows(daemon, "leases"), "its lease is over")

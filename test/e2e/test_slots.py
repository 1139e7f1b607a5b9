"""Bare slots: programs that open descriptors of their own, within the budget of berthd."""

import subprocess

import pytest

import berth
from berthd import BERTH, settle
from processes import wait_until
from upstream import ask

pytest.importorskip("grpc")

from control import ctl, rows  # noqa: E402


def pools(upstream, most="unlimited"):
    slots = {"endpoints": ["slot:"], "max_connections": most}
    return {"echo": {"endpoints": [upstream.url], "max_connections": "unlimited"}, "files": slots}


def start(daemon, *words):
    return subprocess.Popen([BERTH, *words], env=daemon.environment(), text=True, stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def hold(daemon, *words):
    """A program that has its slots, until its standard input ends."""
    program = start(daemon, "slot", *words, "--", "sh", "-c", "echo ready; read line")
    assert program.stdout.readline() == "ready\n"
    return program


def release(program):
    program.communicate(timeout=20)


def test_where_url_keys_are_allowed_slots_are_too(berthd, upstream):
    daemon = berthd({})
    done = daemon.berth("slot", "--", "sh", "-c", "echo $0 $1", "a", "b")
    assert (done.stdout, done.stderr, done.returncode) == ("a b\n", "", 0)
    assert daemon.berth("slot", "sh", "-c", "exit 7").returncode == 7


def test_a_slot_is_held_as_long_as_its_program_lives(berthd, upstream):
    daemon = berthd(pools(upstream, most=2))
    one = hold(daemon, "--key", "files")
    two = hold(daemon, "--key=files")
    third = daemon.berth("slot", "--key", "files", "--timeout", "100ms", "--", "true")
    assert third.returncode == 75
    assert f" ms: every connection is leased: 2/2 leased; oldest pid {one.pid} sh" in third.stderr
    release(one)
    assert daemon.berth("slot", "--key", "files", "--", "true").returncode == 0
    release(two)


def test_idle_connections_go_for_slots(berthd, upstream):
    daemon = berthd(pools(upstream), fd_limit=96)
    session = daemon.session()
    leases = []
    with pytest.raises(berth.TimedOut, match="no file descriptor left"):
        while True:
            leases.append(session.lease("echo", timeout=0.2))
    assert {ask(lease.sock) for lease in leases}
    for lease in leases:
        lease.release()
    settle(session)
    session.close()
    wait_until(daemon.has_no_sessions, "its descriptors are free")
    held = hold(daemon, "--key", "files", "--count", str(len(leases)))
    wait_until(lambda: len(upstream.open) <= 2, "idle ones have gone for slots")
    release(held)


def test_slots_that_cannot_be_had_are_told(berthd, upstream):
    daemon = berthd(pools(upstream, most=3), fd_limit=96)
    for words, code, text in [
        (["--key", "files", "--count", "4"], 64, 'count is 4, but max_connections of "files" is 3'),
        (["--key", "files", "--count", "0"], 64, "--count needs a number from 1 to 64"),
        (["--count", "65"], 64, "--count needs a number from 1 to 64"),
        (["--count", "64"], 64, "count is 64, but berthd has "),
        (["--key", "echo"], 64, "echo is no pool of slots; use berth exec"),
        (["--key", "nothing"], 64, 'no pool serves "nothing"'),
        (["--key"], 64, "--key needs a pool of slots"),
        (["--timeout", "soon"], 64, "--timeout needs a duration"),
        (["--fd", "3"], 64, "unknown option --fd"),
    ]:
        done = daemon.berth("slot", *words, *([] if words == ["--key"] else ["--", "true"]))
        assert (done.returncode, text in done.stderr) == (code, True), done.stderr
    assert daemon.berth("slot", "--").returncode == 64
    assert daemon.berth("slot", "no-such-program").returncode == 127


def test_a_slot_is_no_connection(berthd, upstream):
    daemon = berthd(pools(upstream))
    for words in ["exec", "files", "true"], ["pipe", "files"]:
        done = daemon.berth(*words)
        assert done.returncode == 64
        assert "files is a pool of slots, which carry no connection; use berth slot" in done.stderr
    assert "of a bare slot in" in daemon.berth("ping", "files").stdout
    with daemon.session().lease("files") as slot:
        assert slot.slot and slot.fd == -1
    assert rows(daemon, "leases") == []


def test_an_administrator_sees_and_revokes_slots(berthd, upstream):
    daemon = berthd(pools(upstream, most=2))
    session = daemon.session()
    assert "a slot is free, and would be granted" in ctl(daemon, "explain", "files").stdout
    slot = session.lease("files")
    (row,) = rows(daemon, "connections")
    assert (row["key"], row["endpoint"], row["state"]) == ("files", "slot:", "LEASED")
    assert ctl(daemon, "revoke", str(slot.id)).returncode == 0
    wait_until(lambda: slot.revoked is not None, "its holder is told")
    slot.release()
    assert rows(daemon, "leases") == []

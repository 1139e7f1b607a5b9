"""Descriptors in flight: sent to sessions that do not read. The kernel lets an unprivileged user have as many
of them as its RLIMIT_NOFILE, and then refuses to send another (ETOOMANYREFS). For berthd that means later."""

import os
import pathlib
import socket

import pytest

from berth import _frames as frames
from berthd import settle
from processes import wait_readable, wait_until
from upstream import Upstream, ask

pytestmark = pytest.mark.usefixtures("as_root")
UID = 61234  # nobody else's: the kernel counts by user
FD_LIMIT = 128
BATCH = 40


@pytest.fixture
def local_upstream(folder):
    server = Upstream(path=f"{folder}/upstream.sock")
    yield server
    server.close()


@pytest.fixture
def daemon(berthd, upstream, local_upstream):
    pools = {
        # A lease that berthd takes away leaves its descriptor in flight, so that there can be more of
        # them than berthd may have open. A TCP connection would keep its slot until it is reset.
        "taken": {"endpoints": [local_upstream.url], "max_connections": BATCH, "lease_timeout": "20ms"},
        "echo": {"endpoints": [upstream.url], "max_connections": 4},
    }
    pools = {name: {**pool, "allow_users": [0]} for name, pool in pools.items()}
    daemon = berthd(pools, uid=UID, user=False, fd_limit=FD_LIMIT)
    session = daemon.session()
    session.lease_many("echo", 2).release()
    settle(session)
    return daemon


@pytest.fixture
def deaf(daemon):
    """Sessions that ask for more than may be in flight together, and do not read."""
    deaf = [daemon.raw() for _ in range(FD_LIMIT // BATCH + 1)]
    for raw in deaf:
        raw.request("taken", count=BATCH, timeout_ms=60_000)
        assert wait_readable(raw.sock)
        unread = raw.sock.recv(frames.MAX_FRAME_BYTES, socket.MSG_PEEK)
        assert isinstance(frames.decode_server(unread), frames.Grant)
    return deaf


def is_answered(daemon, raw):
    """berthd handles what it has before it answers another; an idle connection it grants at once."""
    daemon.raw().sync()
    return wait_readable(raw.sock, 0)


def test_a_grant_that_meets_too_many_descriptors_in_flight_comes_when_others_have_read(daemon, deaf, upstream):
    waiting = [daemon.raw(), daemon.raw()]
    for raw in waiting:
        raw.request("echo", timeout_ms=60_000)
    assert not any(is_answered(daemon, raw) for raw in waiting)

    deaf[0].expect(frames.Grant)
    for raw in waiting:
        raw.expect(frames.Grant)
    assert {ask(socket.socket(fileno=raw.fds.pop())) for raw in waiting} == {1, 2}
    assert upstream.accepted == 2


def test_meanwhile_all_that_needs_no_descriptor_goes_on(daemon, deaf):
    raw = daemon.raw()
    raw.request("echo", timeout_ms=60_000)
    assert not is_answered(daemon, raw)
    before = cpu_seconds(daemon)
    other = daemon.raw()
    assert other.sync().keys == ("echo", "taken")
    other.request("echo", count=4, timeout_ms=1000)
    assert other.expect(frames.Refusal).code == frames.Code.TIMED_OUT
    assert cpu_seconds(daemon) < before + 0.2  # it does not try again without a pause
    assert not is_answered(daemon, raw)


def cpu_seconds(daemon):
    fields = pathlib.Path(f"/proc/{daemon.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_who_goes_away_meanwhile_takes_nothing_along(daemon, deaf, upstream):
    raw = daemon.raw()
    raw.request("echo", timeout_ms=60_000)
    assert not is_answered(daemon, raw)
    raw.close()
    wait_until(lambda: len(upstream.open) == 1, "its lease has ended")
    deaf[0].expect(frames.Grant)
    with daemon.session().lease_many("echo", 4, timeout=5) as leases:
        assert len({ask(lease.sock) for lease in leases}) == 4

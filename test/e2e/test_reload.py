"""SIGHUP: what changes, when, and that a bad file changes nothing."""

import signal

import berth
import pytest
from berth import _frames as frames
from processes import wait_until
from upstream import ask


def pool(upstream, **settings):
    return {"endpoints": [upstream.url], **settings}


def test_a_new_pool_can_be_leased_at_once_and_a_removed_one_drains(berthd, upstream):
    daemon = berthd({"old": pool(upstream)})
    session = daemon.session()
    lease = session.lease("old")
    daemon.reload({"new": pool(upstream)})
    assert "reload: new pools: new" in daemon.log()
    assert "reload: removed pools: old" in daemon.log()
    assert ask(session.lease("new").sock) > 0
    with pytest.raises(berth.NoSuchKey, match='no pool serves "old"'):
        session.lease("old")
    assert ask(lease.sock) > 0  # it works on
    lease.release()
    daemon.reload({"old": pool(upstream)})
    with session.lease("old") as again:
        assert not again.reused  # what was dialled for the removed pool is gone


def test_a_request_that_waits_meets_the_new_limits(berthd, upstream):
    daemon = berthd({"echo": pool(upstream, max_connections=1)})
    holder, raw = daemon.session(), daemon.raw()
    held = holder.lease("echo")
    waiting = raw.request("echo", timeout_ms=20_000)
    raw.sync()
    daemon.reload({"echo": pool(upstream, max_connections=2)})
    assert raw.expect(frames.Grant).request_id == waiting
    held.release()


@pytest.mark.parametrize(
    "text, words",
    [("[pool.echo]\nendpoint = ['tcp://127.0.0.1:1']\n", "berthd.toml:2: "),
     ("[pool.echo\n", "berthd.toml:1: ")])
def test_a_bad_file_changes_nothing_and_is_told_with_its_line(berthd, upstream, text, words):
    daemon = berthd({"echo": pool(upstream)})
    session = daemon.session()
    with session.lease("echo") as lease:
        ask(lease.sock)
    daemon.hang_up(text, "nothing has changed")
    assert words in daemon.log()
    with session.lease("echo") as lease:
        assert lease.reused
        ask(lease.sock)


def test_the_log_level_changes_and_what_needs_a_restart_is_named(berthd, upstream):
    daemon = berthd({"echo": pool(upstream)})
    daemon.reload({"echo": pool(upstream)}, fd_reserve=65, log_level="debug")
    assert "reload: without effect until a restart: fd_reserve" in daemon.log()
    daemon.session().close()
    wait_until(lambda: "says hello" in daemon.log(), "the log tells more")


def test_hanging_up_again_and_again_harms_nobody(berthd, upstream):
    daemon = berthd({"echo": pool(upstream)})
    session = daemon.session()
    for i in range(20):
        daemon.signal(signal.SIGHUP)
        with session.lease("echo") as lease:
            ask(lease.sock)
        assert lease.reused or i == 0
    wait_until(lambda: "reloaded:" in daemon.log(), "a reload has ended")

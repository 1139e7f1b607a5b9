"""Clients whose process id berthd cannot see: it has a pid namespace of its own, and they are not in it."""

import contextlib
import os
import re

import pytest

import berth
from berthd import settle
from processes import a_pid_namespace, wait_until
from servers import need
from upstream import ask

pytestmark = pytest.mark.usefixtures("as_root")


@pytest.fixture(autouse=True)
def namespaces(as_root):
    """Skips where the machine makes no pid namespaces."""
    try:
        with a_pid_namespace():
            pass
    except OSError as error:
        pytest.skip(f"no pid namespaces here: {error}")


@pytest.fixture
def daemon(berthd, upstream):
    """Process 1 of a pid namespace, as in a container, with the /proc that belongs to it."""
    pools = {"echo": {"endpoints": [upstream.url], "max_connections": 1, "lease_warn": "50ms"}}
    with a_pid_namespace():
        daemon = berthd(pools, within=[*need("unshare"), "--mount-proc"], log_level="debug")
    assert namespace_of(daemon.pid) != namespace_of(os.getpid())
    return daemon


def namespace_of(pid):
    return os.readlink(f"/proc/{pid}/ns/pid")


def hold(parent, path):
    with berth.Session(path) as session, session.lease("echo") as lease:
        parent.say(ask(lease.sock))
        parent.hear()
        lease.release()
        parent.say("released")
        parent.hear()
        session.lease("echo")
        parent.say("leased again")
        parent.hear()
    parent.say("closed")
    parent.hear()


@pytest.fixture(params=["around", "beside"])
def holder(daemon, child, request):
    """A client in the namespace around berthd's, or in another one in there."""
    with a_pid_namespace() if request.param == "beside" else contextlib.nullcontext():
        holder = child(hold, daemon.path)
    assert namespace_of(holder.pid) != namespace_of(daemon.pid)
    assert holder.hear() == 1
    return holder


def refusal(daemon):
    with pytest.raises(berth.TimedOut) as refused:
        daemon.session().lease("echo", timeout=0.1)
    return refused.value


def test_a_client_of_a_foreign_pid_namespace_leases_gives_back_and_leases_again(daemon, holder, upstream):
    seen, = refusal(daemon).why.holders
    assert (seen.pid, seen.uid) == (0, 0)
    holder.tell()
    assert holder.hear() == "released"
    with daemon.session().lease("echo", timeout=5) as lease:
        assert ask(lease.sock) == 1
    holder.tell()
    assert holder.hear() == "leased again"
    assert upstream.accepted == 1


def test_a_client_of_a_foreign_pid_namespace_ends_its_session_by_closing_it(daemon, holder, upstream):
    holder.tell()
    holder.hear()
    holder.tell()
    holder.hear()
    holder.tell()
    assert holder.hear() == "closed"  # but lives on
    wait_until(daemon.has_no_sessions, "the session is over")
    wait_until(lambda: not upstream.open, "the connection that it held is closed")
    with daemon.session().lease("echo", timeout=5) as lease:
        assert ask(lease.sock) == 2


def test_a_client_of_a_foreign_pid_namespace_that_is_killed_gives_back(daemon, holder, upstream):
    holder.kill()
    wait_until(daemon.has_no_sessions, "the session is over")
    wait_until(lambda: not upstream.open, "the connection that it held is closed")
    with daemon.session().lease("echo", timeout=5) as lease:
        assert ask(lease.sock) == 2


def test_what_is_said_of_a_client_of_a_foreign_pid_namespace_names_its_user(daemon, holder):
    error = refusal(daemon)
    assert re.search(r"1/1 leased; oldest .*\(root\) \d", str(error))
    assert error.why.holders[0].held_ms > 0
    wait_until(lambda: "longer than lease_warn" in daemon.log(), "the warning")
    warning, = [line for line in daemon.log().splitlines() if "longer than lease_warn" in line]
    assert "(uid 0)" in warning
    assert error.why.holders[0].command == "?"  # 0 is nobody's number: no process is named in its place


def test_a_client_of_a_namespace_below_is_known_by_its_number(berthd, upstream, child):
    daemon = berthd({"echo": {"endpoints": [upstream.url], "max_connections": 1}})
    with a_pid_namespace():
        below = child(hold, daemon.path)
    assert below.hear() == 1
    error = refusal(daemon)
    assert [holder.pid for holder in error.why.holders] == [below.pid]
    assert f"oldest pid {below.pid} " in str(error)
    below.kill()
    session = daemon.session()
    with session.lease("echo", timeout=5) as lease:
        assert ask(lease.sock) == 2
    settle(session)

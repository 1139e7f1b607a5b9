"""Connections that leave berthd for good: `berth pass`, Session.take() and the frames behind them."""

import contextlib
import os
import signal
import socket
import subprocess

import pytest

import berth
from berth import _frames as frames
from berthd import BERTH, settle
from processes import wait_until
from servers import need, redis as say
from upstream import ask


def pool(upstream, **settings):
    return {"echo": {"endpoints": [upstream.url], "max_connections": 1, **settings}}


def passed(daemon, *words):
    """What berth pass passes on, as its starter receives it; None: nothing."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        done = subprocess.run([BERTH, "pass", *words], env=daemon.environment(), stdout=theirs,
                              stderr=subprocess.PIPE, text=True, timeout=20)
        theirs.close()
        data, fds, _, _ = socket.recv_fds(ours, 100, 10)
    assert len(data) == len(fds) == (done.returncode == 0), done.stderr
    return done, socket.socket(fileno=fds[0]) if fds else None


def has_none_left(daemon, upstream):
    wait_until(lambda: daemon.connections_to(upstream.port) == 0, "berthd has let go of its connections")


# --- berth pass ---


def test_a_connection_is_passed_on_for_good(berthd, upstream):
    """Beyond max_connections, and beyond the end of berth and of berthd."""
    daemon = berthd(pool(upstream))
    connections = [passed(daemon, "echo")[1] for _ in range(3)]
    assert [ask(each) for each in connections] == [1, 2, 3]
    has_none_left(daemon, upstream)
    assert len(daemon.fds()) == daemon.fds_at_start
    daemon.stop()
    assert [ask(each) for each in connections] == [1, 2, 3]
    connections.pop().close()
    wait_until(lambda: upstream.open == [1, 2], "the holder's close is the connection's end")
    for each in connections:
        each.close()


def test_a_connection_that_is_there_already_is_passed_on(berthd, upstream):
    daemon = berthd(pool(upstream))
    with daemon.session().lease("echo") as lease:
        assert ask(lease.sock) == 1
    _, connection = passed(daemon, "echo")
    with connection:
        assert ask(connection) == 1


def test_ssh_talks_over_a_passed_connection(berthd, sshd):
    """OpenSSH's own client with a server that speaks first, up to the login: the server has proven its key, and
    wants a user that it knows. Twice, over connections that were kept ready."""
    daemon = berthd({"build-ssh": {"endpoints": [sshd.url], "min_idle": 1}})
    ssh, = need("ssh")
    options = {"ProxyCommand": f"{BERTH} pass build-ssh", "ProxyUseFdpass": "yes", "BatchMode": "yes",
               "StrictHostKeyChecking": "yes", "UserKnownHostsFile": sshd.known_hosts("build")}
    command = [ssh, "-v", "-F", "none", *[f"-o{name}={value}" for name, value in options.items()], "nobody@build"]
    for _ in range(2):
        done = subprocess.run(command, stdin=subprocess.DEVNULL, env=daemon.environment(), text=True,
                              capture_output=True, timeout=20)
        assert "Host 'build' is known and matches" in done.stderr, done.stderr
        assert "nobody@build: Permission denied (publickey)" in done.stderr
        assert done.returncode == 255


def test_another_berthd_dials_by_it(berthd, redis):
    """The first berthd alone reaches the server; the other one pools what the first has passed on."""
    first = berthd({"redis": {"endpoints": [redis.url], "max_connections": 1}})
    second = berthd({"redis": {"endpoints": [redis.url], "dial_command": [str(BERTH), "--socket", first.path, "pass",
                                                                         "redis"]}})
    session = second.session()
    with session.lease_many("redis", 3) as leases:
        assert [say(lease.sock, "PING") for lease in leases] == ["PONG"] * 3
    wait_until(lambda: first.connections_to(redis.port) == 0, "the first has let go of them")
    first.kill()
    with session.lease("redis") as lease:
        assert lease.reused and say(lease.sock, "PING") == "PONG"
    assert redis.connections() == 3


@pytest.mark.parametrize("where", ["a pipe", "a file"])
def test_what_is_no_unix_socket_is_told_before_anything_is_leased(berthd, upstream, folder, where):
    daemon = berthd(pool(upstream))
    with open(folder / "out", "wb") if where == "a file" else contextlib.nullcontext(subprocess.PIPE) as out:
        done = subprocess.run([BERTH, "pass", "echo"], env=daemon.environment(), stdout=out, stderr=subprocess.PIPE,
                              text=True, timeout=20)
    assert done.returncode == 64
    assert "standard output is no Unix socket" in done.stderr and "berth pipe" in done.stderr
    settle(daemon.session())
    assert upstream.accepted == 0


def test_a_starter_that_has_gone_is_told_and_the_connection_is_closed(berthd, upstream):
    daemon = berthd(pool(upstream))
    ours, theirs = socket.socketpair()
    ours.close()
    with theirs:
        done = subprocess.run([BERTH, "pass", "echo"], env=daemon.environment(), stdout=theirs, stderr=subprocess.PIPE,
                              text=True, timeout=20)
    assert (done.returncode, done.stderr) == (69, "berth: cannot pass the connection on: Broken pipe\n")
    wait_until(lambda: upstream.accepted == 1 and not upstream.open, "the connection is closed")


def test_what_cannot_be_leased_cannot_be_passed_on(berthd, upstream):
    daemon = berthd({**pool(upstream), "slot": {"endpoints": ["slot:"]}})
    with daemon.session().lease("echo"):
        for words, status, text in [(["ecco"], 64, 'did you mean "echo"'), (["slot"], 64, "no connection to detach"),
                                    (["echo", "--timeout", "100ms"], 75, f"oldest pid {os.getpid()}")]:
            done, connection = passed(daemon, *words)
            assert (done.returncode, connection) == (status, None)
            assert text in done.stderr


# --- in a program of one's own ---


def test_a_taken_socket_lives_on_after_its_session_and_after_berthd(berthd, upstream):
    daemon = berthd(pool(upstream))
    with daemon.session() as session:
        sock = session.take("echo", timeout=5)
    has_none_left(daemon, upstream)
    daemon.signal(signal.SIGKILL)
    daemon.wait()
    with sock:
        assert ask(sock) == 1


def test_what_is_taken_leaves_room_for_those_who_wait(berthd, upstream):
    daemon = berthd(pool(upstream))
    with daemon.session() as session:
        socks = [session.take("echo") for _ in range(5)]
        with session.lease("echo", timeout=5) as lease:
            assert ask(lease.sock) == 6
        for sock in socks:
            sock.close()


def test_a_batch_of_frames_is_granted_for_good_and_leaves_no_lease(berthd, upstream):
    daemon = berthd(pool(upstream, max_connections=2))
    with daemon.raw() as raw:
        raw.send(frames.LeaseRequest(1, "echo", 2, 5000, detach=True))
        grant = raw.expect(frames.Grant)
        assert [lease.detached for lease in grant.leases] == [True, True] and len(raw.fds) == 2
        for lease in grant.leases:
            assert raw.release(lease.lease_id).code == berth.Code.NO_SUCH_LEASE
        raw.send(frames.LeaseRequest(99, "echo", 2, 5000))
        assert not raw.expect(frames.Grant).leases[0].detached


def test_what_a_client_never_took_in_is_closed(berthd, upstream):
    """Sent, so berthd has let go of it; the kernel closes what nobody has received."""
    daemon = berthd(pool(upstream))
    with daemon.raw() as raw:
        raw.send(frames.LeaseRequest(1, "echo", 1, 5000, detach=True))
        wait_until(lambda: upstream.accepted == 1, "it is dialled")
        has_none_left(daemon, upstream)
        assert upstream.open == [1]
    wait_until(lambda: not upstream.open, "the connection is closed")


def test_a_withdrawn_request_for_good_is_as_any_other(berthd, upstream):
    daemon = berthd(pool(upstream))
    with daemon.session().lease("echo"), daemon.raw() as raw:
        raw.send(frames.LeaseRequest(1, "echo", 1, 5000, detach=True))
        raw.send(frames.Cancel(1))
        assert raw.expect(frames.Refusal).code == berth.Code.CANCELLED

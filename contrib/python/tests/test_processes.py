"""fork, descriptor limits, and the end of a process."""

import os
import subprocess
import sys
import textwrap
import traceback

import pytest

import berth
from berth import _frames as frames
from berth._frames import Outcome
from daemon import Pool

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(berth.__file__)))


def in_child(work):
    """Runs work() in a forked child and fails if it fails."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0


def test_child_is_refused_and_the_parent_goes_on(daemon):
    pool = Pool()
    s = berth.Session(daemon(pool).path)
    c = s.lease("redis")
    many = s.lease_many("redis", 2)

    def child():
        for use in (
            lambda: s.lease("redis"),
            lambda: s.lease_many("redis", 2),
            s.keys,
            s.__enter__,
            c.release,
            c.discard,
            c.__enter__,
            many.release,
            lambda: c.revoked,
        ):
            with pytest.raises(berth.Forked, match=f"process {os.getppid()}"):
                use()

    in_child(child)
    c.release()
    many.release()
    s.keys()
    s.close()
    assert pool.outcomes == [Outcome.REUSE] * 3


def test_child_that_closes_or_forgets_ends_nothing(daemon):
    pool = Pool()
    s = berth.Session(daemon(pool).path)
    leases = [s.lease("redis"), s.lease("redis")]

    def child():
        fds = [c.fd for c in leases] + [s._line._sock.fileno()]
        leases[0].__exit__(None, None, None)  # as the child leaves the parent's block
        leases.clear()  # the other one is garbage, without a warning
        s.close()
        for fd in fds:
            with pytest.raises(OSError):
                os.fstat(fd)

    in_child(child)
    for c in leases:
        c.sock.sendall(b"x")
        assert pool.held[c.id].recv(1) == b"x"
        c.release()
    s.keys()
    s.close()
    assert pool.outcomes == [Outcome.REUSE] * 2 and not pool.violations


def test_close_ends_the_session_although_a_child_holds_it(daemon):
    ended, end = os.pipe()

    def script(peer):
        peer.greet()
        peer.expect_end()
        os.write(end, b"x")

    s = berth.Session(daemon(script).path)
    pid = os.fork()
    if pid == 0:  # holds the session until it has ended
        os.read(ended, 1)
        os._exit(0)
    s.close()
    os.waitpid(pid, 0)
    os.close(ended)
    os.close(end)


def run(code, *arguments):
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *arguments]
    result = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": PACKAGE}, capture_output=True, text=True
    )
    assert (result.returncode, result.stderr) == (0, ""), result.stderr
    return result.stdout


@pytest.mark.parametrize("room", [0, 2])
def test_truncated_delivery_goes_back_untouched(daemon, room):
    """MSG_CTRUNC: the process may open fewer files than were granted."""

    def script(peer):
        peer.greet()
        for server in peer.grant(peer.expect(frames.LeaseRequest), [1, 2, 3, 4]):
            assert server.recv(1) == b""  # no copy is left
            server.close()
        releases = [peer.expect(frames.Release) for _ in range(4)]
        assert {r.lease_id for r in releases} == {1, 2, 3, 4}
        assert {r.outcome for r in releases} == {Outcome.REUSE}
        peer.grant(peer.expect(frames.LeaseRequest), [5])[0].close()
        assert peer.expect(frames.Release).lease_id == 5
        peer.expect_end()

    code = """
        import errno, os, resource, sys
        import berth

        s = berth.Session(sys.argv[1])
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + int(sys.argv[2]), hard))
        try:
            s.lease_many("redis", 4)
        except berth.TooManyFiles as error:
            assert error.errno == errno.EMFILE
            print(error)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        again = os.dup(0)
        assert again == free, "a descriptor leaked"
        os.close(again)
        s.lease("redis").release()
        s.close()
    """
    assert "RLIMIT_NOFILE" in run(code, daemon(script).path, str(room))


def test_process_that_exits_leaves_no_noise(daemon):
    def script(peer):
        peer.greet()
        peer.grant(peer.expect(frames.LeaseRequest), [1])[0].close()
        peer.expect(frames.Release)
        peer.expect_end()

    code = """
        import sys
        import berth
        with berth.Session(sys.argv[1]) as s, s.lease("redis") as c:
            print(c.id)
    """
    assert run(code, daemon(script).path) == "1\n"

"""Leases over gRPC: the call on the control socket, the descriptor on the session."""

import os
import random
import re
import signal
import socket
import subprocess

import pytest

from berth import _frames as frames
from berthd import BUILD
from processes import DEADLINE_S, NOBODY, wait_until
from upstream import Mute, ask

grpc = pytest.importorskip("grpc")

from control import Channel, Leases, control, ctl, rows, status  # noqa: E402

Status = grpc.StatusCode
PROGRAM = BUILD / "test/bin/grpc_lease"


def pool(upstream, **settings):
    return {"echo": {"endpoints": [upstream.url], **settings}}


@pytest.fixture
def leases(messages):
    """leases(daemon) is a session and a channel that leases for it; leases(daemon, session) another for that."""
    opened = []

    def start(daemon, session=None, **options):
        opened.append(Leases(daemon, messages, session or daemon.raw(), **options))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


def take(session, request_id=None):
    """The socket of the session's next frame, which is a Grant of one lease."""
    grant = session.expect(frames.Grant)
    assert request_id in (None, grant.request_id)
    [fd] = session.fds
    session.fds.clear()
    return socket.socket(fileno=fd)


def failure(call):
    """The error of a call that fails; `call` is one under way, or a function."""
    with pytest.raises(grpc.RpcError) as error:
        call.result() if hasattr(call, "result") else call()
    return error.value


def holds_nothing(daemon):
    told = status(daemon)
    return (told["leases"], told["waiters"], told["connections"]["leased"]) == (0, 0, 0)


def wait_until_it_waits(daemon, count=1):
    wait_until(lambda: status(daemon)["waiters"] == count, f"{count} requests wait")


# ---- the good way ----


def test_the_descriptor_comes_on_the_session_and_the_call_tells_its_lease(berthd, upstream, leases):
    daemon = berthd(pool(upstream))
    mine = leases(daemon)
    for round_number in 1, 2:
        reply = mine.lease(7)
        grant = mine.session.expect(frames.Grant)
        [lease] = reply.leases
        assert (reply.request_id, grant.request_id) == (7, 7)
        assert grant.leases == (frames.GrantedLease(lease.lease_id, lease.reused),)
        assert lease.reused == (round_number == 2)
        with socket.socket(fileno=mine.session.fds.pop()) as sock:
            assert ask(sock) == 1
        assert mine.release(lease.lease_id, request_id=8).request_id == 8
    assert holds_nothing(daemon)


def test_the_frame_is_there_when_the_call_completes(berthd, upstream, leases):
    daemon = berthd(pool(upstream))
    mine = leases(daemon)
    mine.session.sock.settimeout(0)
    for request_id in range(1, 200):
        [lease] = mine.lease(request_id).leases
        take(mine.session, request_id).close()
        mine.release(lease.lease_id)


def test_several_at_once(berthd, upstream, leases):
    mine = leases(berthd(pool(upstream)))
    reply = mine.lease(1, count=3)
    grant = mine.session.expect(frames.Grant)
    assert [each.lease_id for each in reply.leases] == [each.lease_id for each in grant.leases]
    assert len(mine.session.fds) == 3
    assert sorted(ask(socket.socket(fileno=os.dup(fd))) for fd in mine.session.fds) == [1, 2, 3]


def test_a_connection_for_good_comes_this_way_too(berthd, upstream, leases):
    daemon = berthd(pool(upstream, max_connections=1))
    mine = leases(daemon)
    for number in 1, 2:
        [lease] = mine.lease(number, detach=True).leases
        assert lease.detached
        with take(mine.session, number) as sock:
            assert ask(sock) == number
            assert failure(lambda: mine.release(lease.lease_id)).code() == Status.NOT_FOUND
    assert holds_nothing(daemon)


def test_what_came_one_way_may_be_given_back_the_other(berthd, upstream, leases):
    daemon = berthd(pool(upstream, max_connections=1))
    mine = leases(daemon)
    by_call = mine.lease(1).leases[0].lease_id
    take(mine.session).close()
    assert mine.session.release(by_call).code == frames.Code.OK
    by_frame, sock = mine.session.lease("echo")
    sock.close()
    assert mine.release(by_frame).code == frames.Code.OK
    assert holds_nothing(daemon)


def test_a_discarded_lease_is_not_granted_again(berthd, upstream, leases):
    mine = leases(berthd(pool(upstream, max_connections=1)))
    for number in 1, 2:
        [lease] = mine.lease(1).leases
        with take(mine.session) as sock:
            assert ask(sock) == number
        mine.release(lease.lease_id, outcome=0)


def test_a_call_that_waits_is_granted_what_another_gives_back(berthd, upstream, leases):
    daemon = berthd(pool(upstream, max_connections=1))
    mine = leases(daemon)
    [first] = mine.lease(1).leases
    take(mine.session).close()
    waiting = mine.start(2)
    wait_until_it_waits(daemon)
    assert rows(daemon, "waiters")[0]["request_id"] == "2"
    mine.release(first.lease_id)
    [second] = waiting.result().leases
    with take(mine.session, 2) as sock:
        assert ask(sock) == 1
    assert second.reused


def test_more_calls_than_one_session_may_have_waiting(berthd, upstream, leases):
    daemon = berthd(pool(upstream, max_connections=1))
    mine = leases(daemon)
    [held] = mine.lease(1).leases
    most = mine.session.welcome.limits.max_waiters
    waiting = [mine.start(request_id) for request_id in range(2, 2 + most)]
    wait_until_it_waits(daemon, most)
    error = failure(mine.start(most + 2))
    assert error.code() == Status.RESOURCE_EXHAUSTED
    assert mine.refusal(error).code == frames.Code.QUEUE_FULL
    assert mine.release(held.lease_id).code == 0  # on the channel of those that wait
    for call in waiting:
        call.cancel()
    wait_until(lambda: status(daemon)["waiters"] == 0, "they are withdrawn")


def test_keys_are_those_of_the_session(berthd, upstream, leases):
    daemon = berthd({"a": {"endpoints": [upstream.url]}, "b": {"endpoints": [upstream.url]}})
    mine = leases(daemon)
    assert list(mine.keys().keys) == ["a", "b"]
    assert list(mine.keys("a").keys) == ["b"]
    assert not mine.keys().more


def test_reflection_tells_of_the_service(berthd, messages):
    with Channel(berthd(), messages) as channel:
        stream = channel.stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", b"\x3a\x00")
        assert b"berth.v1.Leases" in next(stream)
        stream.cancel()


# ---- refusals ----


def test_a_timeout_is_told_with_its_reasons(berthd, upstream, leases):
    daemon = berthd(pool(upstream, max_connections=1))
    mine = leases(daemon)
    mine.lease(1)
    error = failure(mine.start(2, timeout_ms=50))
    told = mine.refusal(error)
    assert error.code() == Status.DEADLINE_EXCEEDED
    assert re.match(r"timed out after \d+ ms: every connection is leased: 1/1 leased; ", error.details())
    assert (told.request_id, told.code, told.message) == (2, frames.Code.TIMED_OUT, error.details())
    assert (told.why.cause, told.why.leased, told.why.waiting) == (frames.Cause.EXHAUSTED, 1, 1)
    assert told.why.holders[0].pid == os.getpid()
    take(mine.session, 1).close()
    mine.session.sync()  # the refusal was no frame


def test_a_server_that_does_not_answer_is_told_with_its_reasons(berthd, leases):
    mine = leases(berthd({"echo": {"endpoints": ["tcp://127.0.0.1:1"], "fail_fast": False}}))
    error = failure(mine.start(1, timeout_ms=100))
    assert error.code() == Status.DEADLINE_EXCEEDED
    told = mine.refusal(error).why
    assert told.cause == frames.Cause.UPSTREAM_DOWN and told.dial_failures >= 1
    assert "refused" in told.last_dial_error


def test_an_unknown_key_is_answered_with_the_nearest(berthd, upstream, leases):
    mine = leases(berthd(pool(upstream)))
    error = failure(mine.start(1, key="ehco"))
    assert error.code() == Status.NOT_FOUND
    assert 'no pool serves "ehco"; did you mean "echo"?' in error.details()
    assert mine.refusal(error).code == frames.Code.NO_SUCH_KEY


@pytest.mark.parametrize("count", [3, 65, 2**32 - 1])
def test_more_than_there_can_be_at_once_is_invalid(berthd, upstream, leases, count):
    mine = leases(berthd(pool(upstream, max_connections=2)))
    error = failure(mine.start(1, count=count))
    assert error.code() == Status.INVALID_ARGUMENT
    assert f"count is {count}" in error.details()
    assert mine.refusal(error).code == frames.Code.INVALID


def test_an_id_in_use_is_invalid_and_nothing_ends(berthd, upstream, leases):
    daemon = berthd(pool(upstream, max_connections=1))
    mine = leases(daemon)
    [held] = mine.lease(1).leases
    take(mine.session, 1).close()
    by_call = mine.start(2)
    wait_until_it_waits(daemon)
    mine.session.send(frames.LeaseRequest(3, "echo", 1, None))
    wait_until_it_waits(daemon, 2)
    for used in 2, 3:
        error = failure(mine.start(used))
        assert error.code() == Status.INVALID_ARGUMENT
        assert f"request id {used} is in use" in error.details()
    mine.release(held.lease_id)
    [held] = by_call.result().leases
    take(mine.session, 2).close()
    mine.release(held.lease_id)
    take(mine.session, 3).close()


def test_an_id_that_a_call_uses_ends_the_session_if_a_frame_bears_it(berthd, upstream, leases):
    daemon = berthd(pool(upstream, max_connections=1))
    mine = leases(daemon)
    mine.lease(1)
    take(mine.session, 1).close()
    waiting = mine.start(2)
    wait_until_it_waits(daemon)
    mine.session.send(frames.LeaseRequest(2, "echo", 1, None))
    assert "request id 2 is in use" in mine.session.expect(frames.Goodbye).message
    assert failure(waiting).code() == Status.ABORTED


def test_a_request_beyond_its_bounds_is_invalid(berthd, upstream, leases):
    daemon = berthd(pool(upstream))
    mine = leases(daemon)
    for request, words in ({"request_id": 0}, "no request id"), ({"request_id": 1, "key": "k" * 301}, "at most 300"):
        error = failure(mine.start(**request))
        assert error.code() == Status.INVALID_ARGUMENT
        assert words in error.details()
    assert mine.lease(1).leases


def test_a_message_of_10_mb_and_nonsense_are_refused_and_nothing_else_happens(berthd, upstream, leases):
    mine = leases(berthd(pool(upstream)))
    for method in "Lease", "Release", "ListKeys":
        error = failure(lambda: mine.raw(method, b"\x12" + bytes(10_000_000)))
        assert error.code() == Status.RESOURCE_EXHAUSTED and "larger than max" in error.details()
        failure(lambda: mine.raw(method, b"\xff\xff\xff"))
    assert mine.lease(1).leases


def test_a_lease_that_the_session_does_not_hold_is_not_found(berthd, upstream, leases):
    daemon = berthd(pool(upstream))
    mine, other = leases(daemon), leases(daemon)
    [lease] = mine.lease(1).leases
    for caller, lease_id in (mine, 12345), (other, lease.lease_id):
        error = failure(lambda: caller.release(lease_id))
        assert error.code() == Status.NOT_FOUND
        assert f"holds no lease {lease_id}" in error.details()
        assert mine.refusal(error).code == frames.Code.NO_SUCH_LEASE
    mine.release(lease.lease_id)
    assert failure(lambda: mine.release(lease.lease_id)).code() == Status.NOT_FOUND


# ---- the token ----


@pytest.mark.parametrize("token, words", [
    (None, "the metadata has no berth-session"),
    ("12", "not of 32 hexadecimal digits"),
    ("0" * 33, "not of 32 hexadecimal digits"),
    ("-1" * 16, "not of 32 hexadecimal digits"),
    ("xy" * 16, "not of 32 hexadecimal digits"),
    ("0" * 32, "names no session"),
])
def test_without_the_token_of_a_session_nobody_is_served(berthd, upstream, leases, token, words):
    mine = leases(berthd(pool(upstream)), token=token or "")
    if token is None:
        mine.metadata = []
    for ask_for in (lambda: mine.lease(1)), (lambda: mine.release(1)), mine.keys:
        error = failure(ask_for)
        assert error.code() == Status.UNAUTHENTICATED
        assert words in error.details()


def test_a_token_in_capitals_serves_and_two_tokens_do_not(berthd, upstream, leases):
    mine = leases(berthd(pool(upstream)))
    [(name, token)] = mine.metadata
    mine.metadata = [(name, token.upper())]
    assert mine.keys().keys == ["echo"]
    mine.metadata = [(name, token), (name, token)]
    error = failure(mine.keys)
    assert error.code() == Status.UNAUTHENTICATED and "twice" in error.details()


def test_a_token_ends_with_its_session(berthd, upstream, leases):
    daemon = berthd(pool(upstream))
    mine = leases(daemon)
    assert mine.keys().keys
    mine.session.close()
    wait_until(daemon.has_no_sessions, "the session is over")
    error = failure(mine.start(1))
    assert error.code() == Status.UNAUTHENTICATED and "names no session" in error.details()


def test_the_token_of_another_users_session_is_not_permitted(as_root, berthd, upstream):
    daemon = berthd(pool(upstream, allow_users=["root", "nobody"]), user=False, control_socket_mode="0666")
    token = daemon.raw().welcome.token.hex()
    done = program(daemon, "echo", token, user=NOBODY)
    assert (done.returncode, done.stdout) == (1, "")
    told = done.stderr.splitlines()[0]  # behind it coverage may complain of another user's programs
    assert told == "PERMISSION_DENIED berth-session names a session of another user"
    nobodys = subprocess.Popen([*command(daemon, "--hold")], user=NOBODY, group=NOBODY, extra_groups=[], cwd="/",
                               pass_fds=[OPEN.fileno()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    token = nobodys.stdout.readline().strip()
    assert program(daemon, "echo", token).stderr.startswith("PERMISSION_DENIED ")  # not even root
    assert program(daemon, "echo", token, user=NOBODY).returncode == 0
    nobodys.communicate()


# ---- any user whom the pools allow ----


def test_who_is_no_administrator_leases_if_the_pool_allows(as_root, berthd, upstream):
    daemon = berthd(pool(upstream, allow_users=["nobody"]), user=False, control_socket_mode="0666")
    done = program(daemon, "echo", user=NOBODY)
    assert (done.returncode, done.stdout) == (0, "1 hello\n"), done.stderr
    done = program(daemon, "echo")
    assert done.returncode == 1
    assert done.stderr.startswith("PERMISSION_DENIED uid 0 (root) may not") and "NOT_PERMITTED" in done.stderr


def test_a_cpp_program_leases_talks_and_gives_back(berthd, upstream):
    daemon = berthd(pool(upstream))
    for _ in range(2):
        done = program(daemon, "echo")
        assert done.returncode == 0, done.stderr
    done = program(daemon, "ehco")
    assert done.returncode == 1
    assert 'NOT_FOUND no pool serves "ehco"; did you mean "echo"?' in done.stderr and "NO_SUCH_KEY" in done.stderr
    wait_until(lambda: holds_nothing(daemon), "all is given back")


OPEN = open(PROGRAM, "rb") if PROGRAM.exists() else None  # for users who can read little of this tree


def command(daemon, *words):
    return [f"/proc/self/fd/{OPEN.fileno()}", control(daemon), daemon.path, *words]


def program(daemon, *words, user=None):
    options = {} if user is None else {"user": user, "group": user, "extra_groups": [], "cwd": "/"}
    return subprocess.run(command(daemon, *words), pass_fds=[OPEN.fileno()], timeout=DEADLINE_S, text=True,
                          capture_output=True, **options)


# ---- cancelled calls ----


def test_a_call_cancelled_while_it_waits_is_withdrawn(berthd, upstream, leases):
    daemon = berthd(pool(upstream, max_connections=1))
    mine = leases(daemon)
    [held] = mine.lease(1).leases
    take(mine.session).close()
    waiting = mine.start(2)
    wait_until_it_waits(daemon)
    waiting.cancel()
    wait_until(lambda: status(daemon)["waiters"] == 0, "the request is withdrawn")
    mine.release(held.lease_id)
    [again] = mine.lease(2).leases  # its id is free
    take(mine.session, 2).close()  # and the first frame since
    mine.release(again.lease_id)


def test_a_calls_deadline_withdraws_it(berthd, upstream, leases):
    daemon = berthd(pool(upstream, max_connections=1))
    mine = leases(daemon)
    mine.lease(1)
    assert failure(mine.start(2, timeout_ms=60_000, deadline_s=0.1)).code() == Status.DEADLINE_EXCEEDED
    wait_until(lambda: status(daemon)["waiters"] == 0, "the request is withdrawn")


def test_a_lost_connection_withdraws_its_calls(berthd, upstream, leases):
    daemon = berthd(pool(upstream, max_connections=1))
    mine = leases(daemon)
    mine.lease(1)
    other = leases(daemon, mine.session)
    calls = [other.start(request_id) for request_id in range(2, 6)]
    wait_until_it_waits(daemon, 4)
    other.close()
    wait_until(lambda: status(daemon)["waiters"] == 0, "the requests are withdrawn")
    assert all(failure(call) for call in calls)
    assert rows(daemon, "sessions")[0]["leases"] == 1


def test_cancel_on_the_session_ends_the_call(berthd, upstream, leases):
    daemon = berthd(pool(upstream, max_connections=1))
    mine = leases(daemon)
    mine.lease(1)
    waiting = mine.start(2)
    wait_until_it_waits(daemon)
    mine.session.send(frames.Cancel(2))
    error = failure(waiting)
    assert error.code() == Status.CANCELLED
    assert mine.refusal(error).code == frames.Code.CANCELLED
    take(mine.session, 1).close()
    mine.session.sync()  # no frame of it


def test_a_dial_of_a_cancelled_call_serves_another(berthd, leases):
    silent = Mute()
    daemon = berthd(pool(silent, max_connections=1))
    mine = leases(daemon)
    with daemon.stopped():
        calls = [mine.start(request_id) for request_id in (1, 2)]
        calls[0].cancel()
    calls[1].result()
    take(mine.session).close()
    silent.close()


def test_a_call_cancelled_between_grant_and_completion_is_revoked(berthd, upstream, leases):
    """That is a moment: many calls are cancelled with their first Grant, until it was hit."""
    daemon = berthd(pool(upstream, max_connections=64))
    mine = leases(daemon)
    session = mine.session
    for _ in range(50):
        calls = [mine.start(request_id) for request_id in range(1, 65)]
        granted = [session.expect(frames.Grant)]
        for call in calls:
            call.cancel()
        revoked = read_all(session, granted)
        socks = {grant.leases[0].lease_id: socket.socket(fileno=fd) for grant, fd in zip(granted, session.fds)}
        session.fds.clear()
        for told in revoked:
            assert told.message == "the call that asked for it was cancelled"
            assert socks[told.lease_id].recv(1) == b""  # shut down
            assert session.release(told.lease_id).code == frames.Code.NO_SUCH_LEASE
        for lease_id, sock in socks.items():
            sock.close()
            session.send(frames.Release(lease_id, frames.Outcome.REUSE, 0))
        if revoked:
            break
    assert revoked, "no call was cancelled between grant and completion"
    wait_until(lambda: holds_nothing(daemon), "all is given back or revoked")


def read_all(session, granted):
    """Reads until nothing comes: adds the grants, and returns what else comes, which are revocations."""
    revoked = []
    session.sock.settimeout(0.2)
    try:
        while True:
            frame = session.receive()
            assert isinstance(frame, (frames.Grant, frames.Revoked)), frame
            (granted if isinstance(frame, frames.Grant) else revoked).append(frame)
    except TimeoutError:
        return revoked
    finally:
        session.sock.settimeout(DEADLINE_S)


def test_calls_cancelled_at_random_leave_nothing_behind(berthd, upstream, leases):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    daemon = berthd(pool(upstream, max_connections=8))
    before = len(daemon.fds())
    used = status(daemon)["slots_used"]
    session = daemon.raw()
    channels = [leases(daemon, session) for _ in range(4)]
    channels[0].keys()
    for round_number in range(5):
        calls = {request_id: chance.choice(channels).start(request_id, timeout_ms=10_000)
                 for request_id in range(1, 101)}
        granted = read_grants(session, calls, chance)
        assert sum(call.code() == Status.OK for call in calls.values()) <= granted
        wait_until(lambda: status(daemon)["waiters"] == 0, "no request waits")
    session.sync()
    wait_until(lambda: holds_nothing(daemon), "nothing is leased")
    for channel in channels:
        channel.close()
    session.close()
    ctl(daemon, "pools")
    # Idle connections stay; whatever else was open is closed.
    wait_until(lambda: len(daemon.fds()) - idle(daemon) == before, "all descriptors are closed")
    wait_until(lambda: status(daemon)["slots_used"] - idle(daemon) == used, "all slots are back")


def idle(daemon):
    told = status(daemon)["connections"]
    assert told["leased"] == told["connecting"] == 0
    return told["idle"]


def read_grants(session, calls, chance):
    """Cancels half of the calls at random, gives back what comes, until every call is done; how many grants."""
    condemned = chance.sample(sorted(calls), len(calls) // 2)
    granted = 0
    session.sock.settimeout(0.05)
    try:
        while condemned or not all(call.done() for call in calls.values()):
            for _ in range(min(len(condemned), chance.randrange(3))):
                calls[condemned.pop()].cancel()
            try:
                frame = session.receive()
            except TimeoutError:
                continue
            granted += give_back(session, frame)
    finally:
        session.sock.settimeout(DEADLINE_S)
    session.send(frames.ListKeys(1_000_000))  # behind the last grant
    while True:
        frame = session.receive()
        if isinstance(frame, frames.KeyList):
            return granted
        granted += give_back(session, frame)


def give_back(session, frame):
    assert isinstance(frame, (frames.Grant, frames.Revoked)), frame
    if isinstance(frame, frames.Revoked):
        return 0
    while session.fds:
        os.close(session.fds.pop())
    for lease in frame.leases:
        session.send(frames.Release(lease.lease_id, frames.Outcome.REUSE, 0))
    return 1


# ---- ends ----


def test_a_session_that_ends_ends_its_calls(berthd, upstream, leases):
    daemon = berthd(pool(upstream, max_connections=1))
    mine, other = leases(daemon), leases(daemon)
    [held] = other.lease(1).leases
    waiting = mine.start(1)
    wait_until_it_waits(daemon)
    mine.session.close()
    error = failure(waiting)
    assert (error.code(), error.details()) == (Status.ABORTED, "the session has ended")
    assert status(daemon)["waiters"] == 0
    assert other.release(held.lease_id).code == 0


def test_the_end_of_a_session_takes_the_leases_of_its_calls(berthd, upstream, leases):
    daemon = berthd(pool(upstream))
    mine = leases(daemon)
    mine.lease(1)
    mine.session.close()
    wait_until(lambda: holds_nothing(daemon), "the lease is over")


def test_a_client_that_does_not_read_its_session_waits_until_it_does(berthd, upstream, leases):
    daemon = berthd(pool(upstream, max_connections=50))
    mine = leases(daemon)
    blocked = fill_up(mine)
    call = mine.start(blocked + 1)  # behind what waits already
    with pytest.raises(grpc.FutureTimeoutError):
        call.result(timeout=0.2)
    read_until(mine.session, blocked + 1)
    [lease] = call.result().leases
    mine.release(lease.lease_id)
    wait_until(lambda: holds_nothing(daemon), "the lease is given back")


def test_a_grant_that_cannot_be_sent_is_withdrawn_with_its_call(berthd, upstream, leases):
    daemon = berthd(pool(upstream, max_connections=50))
    mine = leases(daemon)
    blocked = fill_up(mine)  # and was cancelled
    wait_until(lambda: holds_nothing(daemon), "the lease is over")
    mine.session.send(frames.ListKeys(10_000_000))
    granted = read_until(mine.session, None)
    assert blocked not in granted
    [lease] = mine.lease(blocked).leases
    assert take(mine.session, blocked)
    assert lease.reused  # nobody had touched it


def fill_up(mine):
    """Lets frames pile up until a Grant does not get through, whose call ends; its request id."""
    for request_id in range(1, 2000):
        try:
            [lease] = mine.lease(request_id, deadline_s=0.5).leases
        except grpc.RpcError as error:
            assert error.code() == Status.DEADLINE_EXCEEDED
            return request_id
        mine.release(lease.lease_id)
        for _ in range(20):
            mine.session.send(frames.ListKeys(1_000_000))
    raise AssertionError("the session takes frames without end")


def read_until(session, request_id):
    """Reads on: to the Grant of this request, or without one to the answer of the last ListKeys. The granted ids."""
    granted = []
    while True:
        frame = session.receive()
        while session.fds:
            os.close(session.fds.pop())
        if isinstance(frame, frames.Grant):
            granted.append(frame.request_id)
            if frame.request_id == request_id:
                return granted
        elif frame.request_id == 10_000_000:
            return granted


def test_a_client_that_never_reads_its_session_is_dropped_and_its_call_ends(berthd, upstream, leases):
    daemon = berthd(pool(upstream, max_connections=50))
    mine = leases(daemon)
    call = mine.start(fill_up(mine) + 1)
    while not call.done():
        try:
            mine.session.send(frames.ListKeys(1_000_000))
        except OSError:
            break
    assert failure(call).code() == Status.ABORTED
    wait_until(lambda: holds_nothing(daemon), "nothing is left")


def test_a_daemon_that_stops_refuses_what_waits_and_what_comes(berthd, upstream, leases):
    daemon = berthd(pool(upstream, max_connections=1), drain_timeout="20s")
    mine = leases(daemon)
    [held] = mine.lease(1).leases
    take(mine.session).close()
    waiting = mine.start(2)
    wait_until_it_waits(daemon)
    daemon.signal(signal.SIGTERM)
    for error in failure(waiting), failure(lambda: mine.lease(3)):
        assert (error.code(), error.details()) == (Status.UNAVAILABLE, "berthd is stopping")
        assert mine.refusal(error).code == frames.Code.SHUTTING_DOWN
    assert mine.release(held.lease_id).code == 0
    assert mine.session.expect(frames.Goodbye).code == frames.Code.SHUTTING_DOWN
    assert daemon.wait() == 0


def test_calls_while_the_daemon_ends_are_answered_or_end(berthd, upstream, leases):
    daemon = berthd(pool(upstream, max_connections=1), drain_timeout="0ms")
    everyone = [leases(daemon) for _ in range(4)]
    everyone[0].lease(1)
    calls = [mine.start(request_id, timeout_ms=60_000) for mine in everyone for request_id in range(2, 22)]
    daemon.signal(signal.SIGTERM)
    calls += [mine.start(request_id, timeout_ms=60_000) for mine in everyone for request_id in range(22, 42)]
    assert {failure(call).code() for call in calls} <= {Status.UNAVAILABLE, Status.ABORTED, Status.CANCELLED}
    assert daemon.wait() == 0


def test_a_killed_daemon_ends_the_calls(berthd, upstream, leases):
    daemon = berthd(pool(upstream, max_connections=1))
    mine = leases(daemon)
    mine.lease(1)
    waiting = mine.start(2)
    wait_until_it_waits(daemon)
    daemon.kill()
    assert failure(waiting).code() == Status.UNAVAILABLE


# ---- others are not kept waiting ----


def test_calls_that_wait_keep_no_administrator_waiting(berthd, upstream, leases):
    daemon = berthd(pool(upstream, max_connections=1))
    everyone = [leases(daemon) for _ in range(2)]
    everyone[0].lease(1)
    calls = [mine.start(request_id, timeout_ms=60_000) for mine in everyone for request_id in range(2, 252)]
    wait_until_it_waits(daemon, 500)
    assert status(daemon)["waiters"] == 500
    third = leases(daemon)
    extra = [third.start(request_id, timeout_ms=60_000) for request_id in range(1, 41)]
    refused = wait_until(lambda: [call for call in extra if call.done()], "too many wait")
    assert failure(refused[0]).code() == Status.RESOURCE_EXHAUSTED
    assert f"calls of uid {os.getuid()} wait for berthd already" in failure(refused[0]).details()
    assert third.keys().keys == ["echo"]
    for call in [*calls, *extra]:
        call.cancel()
    wait_until(lambda: status(daemon)["waiters"] == 0, "all are withdrawn")
    [lease] = everyone[0].session.expect(frames.Grant).leases
    everyone[0].release(lease.lease_id)
    assert third.lease(1).leases

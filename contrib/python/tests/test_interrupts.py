"""Exceptions that come from nowhere, as KeyboardInterrupt does: nothing is lost or left behind."""

import dis
import os
import random
import signal
import sys
import threading

import pytest

import berth
from berth import _frames as frames
from berth import _session
from berth._frames import Code, Outcome
from daemon import Pool


class Interrupt(BaseException):
    pass


@pytest.fixture
def interrupting():
    """SIGUSR1 raises Interrupt in the main thread."""

    def handler(*_):
        raise Interrupt

    before = signal.signal(signal.SIGUSR1, handler)
    yield lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)


def test_interrupted_wait_withdraws_the_request(daemon, interrupting):
    def script(peer):
        peer.greet()
        request = peer.expect(frames.LeaseRequest)
        interrupting()
        assert peer.expect(frames.Cancel).request_id == request.request_id
        peer.send(frames.Refusal(request.request_id, Code.CANCELLED, "withdrawn"))
        peer.grant(peer.expect(frames.LeaseRequest), [2])[0].close()
        peer.expect(frames.Release)
        peer.expect_end()

    with berth.Session(daemon(script).path) as s:
        with pytest.raises(Interrupt):
            s.lease("redis")
        s.lease("redis").release()


def test_grant_that_crosses_the_cancel_goes_back_at_once(daemon, interrupting):
    def script(peer):
        peer.greet()
        request = peer.expect(frames.LeaseRequest)
        interrupting()
        peer.expect(frames.Cancel)
        far = peer.grant(request, [1, 2])
        assert [peer.expect(frames.Release) for _ in far] == [
            frames.Release(1, Outcome.REUSE, 0),
            frames.Release(2, Outcome.REUSE, 0),
        ]
        for server in far:
            assert server.recv(1) == b""
            server.close()
        peer.expect_end()

    with berth.Session(daemon(script).path) as s:
        with pytest.raises(Interrupt):
            s.lease_many("redis", 2)


def test_answer_to_cancel_that_comes_too_late_is_dealt_with_later(
    daemon, interrupting, monkeypatch
):
    monkeypatch.setattr(_session, "_LINGER_SECONDS", 0.01)

    def script(peer):
        peer.greet()
        request = peer.expect(frames.LeaseRequest)
        interrupting()
        peer.expect(frames.Cancel)
        keys = peer.expect(frames.ListKeys)  # the client has waited long enough
        (server,) = peer.grant(request, [1])
        assert peer.expect(frames.Release) == frames.Release(1, Outcome.REUSE, 0)
        server.close()
        peer.send(frames.KeyList(keys.request_id))
        peer.expect_end()

    with berth.Session(daemon(script).path) as s:
        with pytest.raises(Interrupt):
            s.lease("redis")
        assert s.keys() == []


def test_follower_takes_over_from_an_interrupted_leader(daemon, interrupting):
    led = threading.Event()

    def script(peer):
        peer.greet()
        first = peer.expect(frames.LeaseRequest)
        led.set()
        second = peer.expect(frames.LeaseRequest)
        interrupting()
        peer.expect(frames.Cancel)
        peer.send(frames.Refusal(first.request_id, Code.CANCELLED))
        assert gone.wait(10)
        peer.grant(second, [2])[0].close()
        peer.expect(frames.Release)
        peer.expect_end()

    gone = threading.Event()
    s = berth.Session(daemon(script).path)

    def follow():
        assert led.wait(10)
        s.lease("redis").release()

    follower = threading.Thread(target=follow)
    follower.start()
    with pytest.raises(Interrupt):
        s.lease("redis")
    gone.set()
    follower.join(10)
    assert not follower.is_alive()
    s.close()


# --- an exception at every step ---

PACKAGE = os.path.dirname(os.path.abspath(berth.__file__))


class Saboteur:
    """Raises Interrupt before the n-th step that the package takes; False: it took fewer.

    Steps are those where CPython runs signal handlers: on entry to a function and after calls,
    that is at each bytecode that follows one. Finalizers are exempt: what is raised in them
    Python drops, wherever it comes from.
    """

    def __init__(self, n):
        self._left = n
        self.struck = False
        self.where = ""

    def __enter__(self):
        sys.settrace(self._enter)
        return self

    def __exit__(self, kind, *_):
        sys.settrace(None)
        return kind is Interrupt

    def _enter(self, frame, event, _):
        code = frame.f_code
        if os.path.dirname(code.co_filename) != PACKAGE or code.co_name == "__del__":
            return None
        caller = frame.f_back
        while caller is not None:
            if caller.f_code.co_name == "__del__":
                return None
            caller = caller.f_back
        frame.f_trace_lines = False
        frame.f_trace_opcodes = True
        return self._step

    def _step(self, frame, event, _):
        if event == "opcode" and not self.struck and after_a_call(frame):
            self._left -= 1
            if self._left == 0:
                self.struck = True
                self.where = f"{frame.f_code.co_name}, line {frame.f_lineno}"
                raise Interrupt
        return self._step


_steps = {}


def after_a_call(frame):
    """Whether CPython would look for signals just before this bytecode."""
    code = frame.f_code
    if code not in _steps:
        found, previous = set(), None
        for instruction in dis.get_instructions(code):
            if previous is None or previous.startswith(("CALL", "RESUME", "JUMP_BACKWARD")):
                found.add(instruction.offset)
            previous = instruction.opname
        _steps[code] = found
    return frame.f_lasti in _steps[code]


def lease_and_release(s):
    with s.lease("redis") as c:
        c.sock.send(b"x")


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_exception_at_any_step_leaves_nothing_behind(daemon, monkeypatch):
    monkeypatch.setattr(_session, "_LINGER_SECONDS", 0.005)
    pool = Pool(size=1)  # so that a lease left behind would hold up the next
    s = berth.Session(daemon(pool).path)
    descriptors = len(os.listdir("/proc/self/fd"))
    n, struck = 0, True
    while struck:
        n += 1
        with Saboteur(n) as saboteur:
            lease_and_release(s)
        struck = saboteur.struck
        print(n, saboteur.where)  # shown if what follows fails
        s.lease("redis", timeout=5).release()
        s.keys()  # now the pool, too, has closed what came back
        assert len(os.listdir("/proc/self/fd")) == descriptors, f"step {n}: {saboteur.where}"
    s.keys()
    s.close()
    if n == 1 and sys.version_info[:2] == (3, 12):
        pytest.skip("Python 3.12 does not trace opcodes reliably")
    assert n > 100
    assert not pool.held


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # see Saboteur
def test_signals_at_any_time_leave_nothing_behind(daemon, monkeypatch):
    """The same with true signals, at random times."""
    monkeypatch.setattr(_session, "_LINGER_SECONDS", 0.02)
    rng = random.Random(3)
    pool = Pool(size=1)
    s = berth.Session(daemon(pool).path)
    descriptors = len(os.listdir("/proc/self/fd"))

    def handler(*_):
        raise Interrupt

    before = signal.signal(signal.SIGALRM, handler)
    try:
        for _ in range(200):
            try:
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, 5e-4))
                lease_and_release(s)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Interrupt:
                pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    s.lease("redis", timeout=5).release()
    s.keys()
    assert len(os.listdir("/proc/self/fd")) == descriptors
    s.close()
    assert not pool.held

"""Session: asks berthd for connections and gives them back."""

from __future__ import annotations

import copy
import errno
import functools
import itertools
import math
import os
import socket
import sys
import threading
import time
import warnings
import weakref
from types import TracebackType
from typing import Any, Callable, Dict, List, Optional, Type, Union

from . import _frames
from ._errors import (
    Error,
    Forked,
    InvalidRequest,
    ProtocolError,
    TimedOut,
    TooManyFiles,
    Unavailable,
    error_of,
    protocol_error,
)
from ._fallback import Server, is_absence
from ._frames import Code, Limits, MalformedFrame, Outcome
from ._lease import Lease, Leases
from ._line import Line, Packet, dial, descriptors_of, is_oversized, seconds_left, was_truncated

_ANSWER_SECONDS = 10.0  # for what berthd answers at once
_GRACE_SECONDS = 2.0  # a request's timeout is the daemon's to tell; it gets so long to do it
_LINGER_SECONDS = 1.0  # for the answer to a Cancel, which comes at once too
_RELEASE_SECONDS = 1.0  # for room to send a Release
_NAP_SECONDS = 1.0  # see Session._wait

_ALL = Limits(_frames.MAX_FRAME_BYTES, 64, 4096, 256)  # of a daemon that is not there

_Answer = Union[List[Lease], _frames.KeyList, Error]


def default_path() -> str:
    """$BERTH_SOCKET, else $XDG_RUNTIME_DIR/berth/lease.sock if there, else the system's."""
    named = os.environ.get("BERTH_SOCKET")
    if named:
        return named
    runtime_dir = os.environ.get("XDG_RUNTIME_DIR")
    own = os.path.join(runtime_dir, "berth", "lease.sock") if runtime_dir else ""
    return own if own and os.path.exists(own) else "/run/berth/lease.sock"


def _program_name() -> str:
    return os.path.basename((getattr(sys, "argv", None) or [""])[0]) or "python"


def _cut(text: str, max_bytes: int) -> str:
    """At most `max_bytes` of UTF-8, whole characters."""
    return text.encode("utf-8", "replace")[:max_bytes].decode("utf-8", "ignore")


def _check_text(what: str, text: str, max_bytes: int) -> None:
    """A text that is too long would cost the session, not only the request."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidRequest(errno.EINVAL, f"{what} {text!r} is not UTF-8") from None
    if size > max_bytes:
        raise InvalidRequest(errno.EINVAL, f"{what} has {size} bytes, over {max_bytes}")


def _milliseconds(timeout: Optional[float]) -> Optional[int]:
    """Rounded up: only 0 means not to wait."""
    if timeout is None:
        return None
    if not timeout >= 0:
        raise InvalidRequest(errno.EINVAL, f"timeout is {timeout}; it must be 0 s or more")
    return math.ceil(min(timeout, 1e9) * 1000)


def _deadline(timeout: Optional[float], grace: float = 0.0) -> Optional[float]:
    return None if timeout is None else time.monotonic() + timeout + grace


class _Waiter:
    """A request whose answer has not been taken yet. Guarded by the session's lock."""

    can_lead = True  # whether it reads for others when it is woken without an answer

    def __init__(self, request_id: int, kind: type, count: int, lock: Any) -> None:
        self.request_id = request_id
        self.kind = kind  # the frame that answers it, if it is not refused
        self.count = count  # the leases that it asks for
        self.answer: Optional[_Answer] = None
        self.wake: Any = threading.Condition(lock)


class _Delivery:
    """One packet, understood. Its leases own nothing yet; see Session._dispatch.

    Raises ProtocolError or MalformedFrame.
    """

    def __init__(self, session: Session, packet: Packet) -> None:
        self.packet = packet
        self.truncated = was_truncated(packet)
        self.frame = _decode(packet)
        self.leases: List[Lease] = []
        fds = descriptors_of(packet)
        if isinstance(self.frame, _frames.Grant):
            self._read_grant(session, self.frame, fds)
        elif fds or self.truncated:
            raise protocol_error(f"{type(self.frame).__name__} with descriptors")

    def _read_grant(self, session: Session, grant: _frames.Grant, fds: List[int]) -> None:
        missing = sum(not each.slot for each in grant.leases) - len(fds)
        if missing < 0 or (missing and not self.truncated):
            raise protocol_error(f"{len(fds)} descriptors for {len(grant.leases)} leases")
        if not all(0 < each.lease_id < _frames.LEASE_IDS_END for each in grant.leases):
            raise protocol_error("a lease id out of range")
        arrived = iter(fds + [-1] * missing)
        self.leases = [
            Lease(session, each, -1 if each.slot else next(arrived)) for each in grant.leases
        ]

    def check_answers(self, waiter: _Waiter) -> None:
        if isinstance(self.frame, _frames.Refusal):
            return
        if not isinstance(self.frame, waiter.kind):
            raise protocol_error(f"{type(self.frame).__name__} instead of {waiter.kind.__name__}")
        if len(self.leases) != waiter.count:
            raise protocol_error(f"{len(self.leases)} leases instead of {waiter.count}")

    def result(self) -> _Answer:
        if isinstance(self.frame, _frames.Refusal):
            return error_of(self.frame.code, self.frame.message, self.frame.why)
        if isinstance(self.frame, _frames.KeyList):
            return self.frame
        return self._too_many_files() if self.truncated else self.leases

    def _too_many_files(self) -> Error:
        n = len(self.leases)
        what = "another file" if n == 1 else f"{n} more files"
        return TooManyFiles(
            errno.EMFILE,
            f"this process may not open {what} (RLIMIT_NOFILE); what was granted went back",
        )


def _decode(packet: Packet) -> Optional[_frames.ServerFrame]:
    """None: the end of the session."""
    if is_oversized(packet):
        raise MalformedFrame("is too long")
    return _frames.decode_server(packet[0]) if packet[0] else None


class Session:
    """One connection to berthd: leases are asked for and given back on it.

    path     of the lease socket; None: $BERTH_SOCKET, else $XDG_RUNTIME_DIR/berth/lease.sock if
             it is there, else /run/berth/lease.sock.
    name     what the program calls itself, for people who look at the daemon; cut at 64 bytes.
    timeout  seconds until the daemon must have answered.
    may_be_absent  no berthd is no error: then all requests fail as they do once a session has
             ended, but for those with a fallback.

    Threads may share a session. Of those that wait for an answer one reads for all of them, and
    giving back never waits for one that waits. A session works only in the process that opened
    it: children of fork(2) get Forked. The session's end, or the process's, ends its leases: the
    daemon shuts their connections down.
    """

    def __init__(
        self,
        path: Union[str, os.PathLike[str], None] = None,
        *,
        name: Optional[str] = None,
        timeout: float = 10.0,
        may_be_absent: bool = False,
    ) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._ids = itertools.count(1)
        self._waiting: Dict[int, _Waiter] = {}
        self._leader: Optional[_Waiter] = None
        self._delivery: Optional[_Delivery] = None
        self._ended: Optional[Callable[[], Error]] = None
        self._held: Dict[int, weakref.ref[Lease]] = {}  # by lease id; for Revoked
        deadline = time.monotonic() + timeout
        self._may_be_absent = may_be_absent
        try:
            self._line = Line(dial(default_path() if path is None else os.fspath(path), deadline))
            welcome = self._greet(_program_name() if name is None else name, deadline)
        except BaseException as error:
            if hasattr(self, "_line"):
                self.close()
            if not (may_be_absent and isinstance(error, Error) and is_absence(error)):
                raise
            welcome = self._do_without(error)
        self.id: int = welcome.session_id
        self.token: bytes = welcome.token
        self.limits: Limits = welcome.limits or Limits()

    def __repr__(self) -> str:
        return f"<berth.Session {self.id}{', closed' if self.closed else ''}>"

    @property
    def closed(self) -> bool:
        """Whether the session is known to be over, from either side."""
        return self._ended is not None

    def lease(
        self,
        key: str,
        timeout: Optional[float] = None,
        *,
        traceparent: str = "",
        fallback: Optional[str] = None,
    ) -> Lease:
        """Waits for one connection of `key`, at most `timeout` seconds.

        timeout None: the pool's acquire_timeout; 0: answered at once, without a dial.
        traceparent: W3C trace context, for the daemon's logs and traces.
        fallback: a server, tcp://HOST:PORT or unix:///PATH, that is dialled where berthd is absent:
        none ran, or it has gone or is going. What it refuses stays refused. The dial keeps to
        `timeout` (None: 5 s), but for the lookup of a name.

        Raises Error: TimedOut, NoSuchKey, NotPermitted, UpstreamDown, …; TooManyFiles if this
        process may not open another file. If an exception ends the wait, as KeyboardInterrupt
        does, the request is withdrawn.
        """
        return self._lease(key, 1, timeout, traceparent, fallback)[0]

    def lease_many(
        self,
        key: str,
        n: int,
        timeout: Optional[float] = None,
        *,
        traceparent: str = "",
        fallback: Optional[str] = None,
    ) -> Leases:
        """Waits for `n` connections of `key`: all of them or none. Otherwise as lease()."""
        return Leases(self._lease(key, n, timeout, traceparent, fallback))

    def take(
        self,
        key: str,
        timeout: Optional[float] = None,
        *,
        traceparent: str = "",
        fallback: Optional[str] = None,
    ) -> socket.socket:
        """Waits for one connection of `key`, for good. Otherwise as lease().

        The socket is the caller's to close. It has left the daemon's pool and its limits, never
        goes back, and works on when the session has ended. A daemon that is too old for this is an
        Error of code VERSION.
        """
        (lease,) = self._lease(key, 1, timeout, traceparent, fallback, detach=True)
        if not lease._detached:
            lease.release()
            raise error_of(Code.VERSION, "this berthd is too old for detached leases")
        return lease._take()

    def keys(self) -> List[str]:
        """The keys that this session may lease, sorted."""
        found: List[str] = []
        while True:
            page = self._list_keys(found[-1] if found else "")
            found += page.keys
            if not (page.more and page.keys):
                return found

    def close(self) -> None:
        """Ends the session, its leases and the requests of other threads. Never fails.

        The sockets of its leases stay open until those are released, but the daemon shuts them
        down. In a forked child: closes the child's copy alone.
        """
        if self._in_child():
            self._line.close_copy()
            return
        with self._lock:
            self._dispatch()
            self._end(
                functools.partial(Unavailable, errno.ENOTCONN, "this session was closed")
            )

    def __enter__(self) -> Session:
        if not self._may_be_absent:
            self._check()
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()

    def __del__(self, _warn: Any = warnings.warn) -> None:
        if getattr(self, "_line", None) is None or self._ended is not None:
            return
        in_child = self._in_child()
        self.close()
        if not in_child:
            _warn(f"{self!r} was not closed", ResourceWarning, source=self)

    # --- for Lease ---

    def _in_child(self) -> bool:
        return os.getpid() != self._pid

    def _refuse_in_child(self) -> None:
        if self._in_child():
            raise Forked(
                errno.EPERM,
                f"this session belongs to process {self._pid}; open another one after fork",
            )

    def _return(self, lease_id: int, outcome: Outcome, wait: bool) -> None:
        """Takes no lock that others hold while they wait; without `wait`, never blocks."""
        self._held.pop(lease_id, None)
        frame = _frames.encode_client(_frames.Release(lease_id=lease_id, outcome=outcome))
        if wait:
            self._line.send(frame, time.monotonic() + _RELEASE_SECONDS)
        else:
            self._line.post(frame)

    def _look(self) -> None:
        """Reads what has come, unless another thread does so anyway."""
        self._refuse_in_child()
        with self._lock:
            while self._ended is None and self._leader is None and self._take_in():
                pass

    # --- requests ---

    def _check(self) -> None:
        self._refuse_in_child()
        if self._ended is not None:
            raise self._ended()

    def _do_without(self, absence: Error) -> _frames.Welcome:
        self._line = Line.closed()
        self._ended = functools.partial(copy.copy, absence)
        return _frames.Welcome(_frames.VERSION, limits=_ALL)

    def _greet(self, name: str, deadline: float) -> _frames.Welcome:
        hello = _frames.Hello(_frames.VERSION, _cut(name, _frames.MAX_NAME_BYTES))
        self._line.send(_frames.encode_client(hello), deadline)
        if not (self._line.wait(deadline) and self._line.receive()):
            raise TimedOut(errno.ETIMEDOUT, "berthd did not answer Hello in time")
        packet = self._line.inbox.popleft()
        _close_descriptors(packet)  # there should be none
        return _welcome_of(packet)

    def _lease(
        self,
        key: str,
        count: int,
        timeout: Optional[float],
        traceparent: str,
        fallback: Optional[str],
        detach: bool = False,
    ) -> List[Lease]:
        server = Server(fallback) if fallback is not None else None
        start = time.monotonic()
        try:
            return self._lease_from_berthd(key, count, timeout, traceparent, detach)
        except Error as error:
            if server is None or not is_absence(error):
                raise
            absence = error
        try:
            socks = server.connect(count, timeout, start)
        except Error as error:
            words = f"{error}; it was dialled because berthd is absent: {absence}"
            raise type(error)(error.errno, words, error.code) from absence
        return [Lease._instead(self, key, sock, absence) for sock in socks]

    def _lease_from_berthd(
        self, key: str, count: int, timeout: Optional[float], traceparent: str, detach: bool
    ) -> List[Lease]:
        request = self._lease_request(key, count, timeout, traceparent, detach)
        leases = self._ask(request, _frames.Grant, count, _deadline(timeout, _GRACE_SECONDS))
        assert isinstance(leases, list)
        _hand_over(leases, key)
        return leases

    def _lease_request(
        self,
        key: str,
        count: int,
        timeout: Optional[float],
        traceparent: str,
        detach: bool = False,
    ) -> _frames.LeaseRequest:
        self._refuse_in_child()
        _check_text("key", key, _frames.MAX_KEY_BYTES)
        _check_text("traceparent", traceparent, _frames.MAX_TRACEPARENT_BYTES)
        if not 1 <= count <= self.limits.max_count:
            most = self.limits.max_count
            raise InvalidRequest(errno.EINVAL, f"n is {count}, not between 1 and {most}")
        timeout_ms = _milliseconds(timeout)
        self._check()
        return _frames.LeaseRequest(
            next(self._ids), key, count, timeout_ms, traceparent, detach
        )

    def _list_keys(self, after: str) -> _frames.KeyList:
        self._check()
        request = _frames.ListKeys(next(self._ids), after)
        page = self._ask(request, _frames.KeyList, 0, _deadline(_ANSWER_SECONDS))
        assert isinstance(page, _frames.KeyList)
        return page

    def _ask(
        self,
        request: Union[_frames.LeaseRequest, _frames.ListKeys],
        kind: type,
        count: int,
        deadline: Optional[float],
    ) -> Union[List[Lease], _frames.KeyList]:
        """Sends a request and waits for its answer; raises it if it is an error."""
        waiter = _Waiter(request.request_id, kind, count, self._lock)
        try:
            self._waiting[request.request_id] = waiter
            self._line.send(_frames.encode_client(request), deadline)
            self._wait(waiter, deadline)
        except BaseException as error:
            self._withdraw(waiter, linger=not isinstance(error, Error))
            raise
        finally:
            self._waiting.pop(request.request_id, None)
        if isinstance(waiter.answer, Error):
            raise waiter.answer
        assert waiter.answer is not None
        return waiter.answer

    def _withdraw(self, waiter: _Waiter, linger: bool) -> None:
        """Leaves nothing behind of a request whose wait an exception has ended.

        The answer to Cancel comes at once, and may be a grant that was under way. If it still
        comes too late, nobody waits for it then, and its leases go back as they are dropped.
        """
        if waiter.answer is None and self._ended is None:
            cancel = _frames.Cancel(waiter.request_id)
            self._line.post(_frames.encode_client(cancel))
            if linger:
                try:
                    self._wait(waiter, time.monotonic() + _LINGER_SECONDS)
                except Error:
                    pass
        _drop_answer(waiter.answer, Outcome.REUSE)

    # --- waiting: one thread reads for all ---
    #
    # The leader polls the socket without the lock and hands each answer to its waiter; the others
    # sleep on their own condition until they have their answer or nobody leads. An exception of a
    # signal handler can come between any two steps. Hence a leader counts only while it is among
    # those that wait, and no follower sleeps for more than a nap: a wake-up that was lost then
    # costs a second, not a hang.

    def _wait(self, waiter: _Waiter, deadline: Optional[float]) -> None:
        """Until `waiter` has its answer. Raises Error: the session ended, or TimedOut."""
        try:
            while self._go_on(waiter, deadline):
                if self._line.wait(deadline):
                    with self._lock:
                        self._take_in()
        finally:
            self._step_down(waiter)

    def _go_on(self, waiter: _Waiter, deadline: Optional[float]) -> bool:
        """True: `waiter` leads, and must read. False: it has its answer."""
        with self._lock:
            self._dispatch()  # what a reader had received when an exception ended its wait
            while waiter.answer is None:
                if self._ended is not None:
                    raise self._ended()
                left = seconds_left(deadline)
                if left == 0:
                    raise TimedOut(errno.ETIMEDOUT, "berthd did not answer in time")
                if self._may_lead(waiter):
                    self._leader = waiter
                    return True
                waiter.wake.wait(_NAP_SECONDS if left is None else min(left, _NAP_SECONDS))
            return False

    def _may_lead(self, waiter: _Waiter) -> bool:
        leader = self._leader
        return (
            leader is None or leader is waiter or leader.request_id not in self._waiting
        )

    def _step_down(self, waiter: _Waiter) -> None:
        if self._leader is waiter:
            self._leader = None
        with self._lock:
            if self._leader is not None:
                return
            for other in list(self._waiting.values()):
                if other is not waiter and other.answer is None and other.can_lead:
                    other.wake.notify()
                    return

    # --- reading: all of this with the lock held ---

    def _take_in(self) -> bool:
        """Receives and delivers one packet, if there is one."""
        came = self._line.receive()
        self._dispatch()
        return came

    def _dispatch(self) -> None:
        """Delivers what is in the inbox.

        The inbox owns the descriptors until popleft(), which is a single step. What comes before
        may be cut short by an exception at any point; it then runs again, with the same leases.
        """
        inbox = self._line.inbox
        while inbox:
            try:
                self._deliver(self._understood(inbox[0]))
            except (MalformedFrame, ProtocolError) as error:
                # What follows cannot be trusted either.
                self._delivery = None
                while inbox:
                    _close_descriptors(inbox.popleft())
                self._end(functools.partial(_violation, error))
            else:
                inbox.popleft()
        self._delivery = None

    def _understood(self, packet: Packet) -> _Delivery:
        if self._delivery is None or self._delivery.packet is not packet:
            self._delivery = _Delivery(self, packet)
        return self._delivery

    def _deliver(self, delivery: _Delivery) -> None:
        frame = delivery.frame
        if frame is None:
            self._end(_lost)
        elif isinstance(frame, _frames.Goodbye):
            self._end(functools.partial(error_of, frame.code, frame.message))
        elif isinstance(frame, _frames.Revoked):
            self._mark_revoked(frame)
        elif isinstance(frame, _frames.Welcome):
            raise protocol_error("a second Welcome")
        else:
            self._answer(frame.request_id, delivery)

    def _answer(self, request_id: int, delivery: _Delivery) -> None:
        waiter = self._waiting.get(request_id)
        if waiter is not None:
            delivery.check_answers(waiter)
        # A grant that nobody waits for goes back as its leases are dropped.
        for lease in delivery.leases:
            lease._own()
            if not lease._detached:
                self._held[lease.id] = weakref.ref(lease)
        if waiter is not None and waiter.answer is None:
            waiter.answer = delivery.result()
            waiter.wake.notify()

    def _mark_revoked(self, frame: _frames.Revoked) -> None:
        held = self._held.get(frame.lease_id)
        lease = held() if held is not None else None
        if lease is not None:
            lease._revoked = error_of(frame.code or Code.REVOKED, frame.message)

    def _end(self, make_error: Callable[[], Error]) -> None:
        """The session is over; all who wait, and all who come, get the error."""
        if self._ended is None:
            self._ended = make_error
        self._line.close()
        for waiter in list(self._waiting.values()):
            waiter.wake.notify()


def _welcome_of(packet: Packet) -> _frames.Welcome:
    try:
        frame = _decode(packet)
    except MalformedFrame as error:
        raise _violation(error) from error
    if frame is None:
        raise _lost()
    if isinstance(frame, _frames.Goodbye):
        raise error_of(frame.code, frame.message)
    if not isinstance(frame, _frames.Welcome):
        raise protocol_error(f"{type(frame).__name__} instead of Welcome")
    if frame.version != _frames.VERSION:
        raise error_of(Code.VERSION, f"berthd speaks version {frame.version}, not 1")
    return frame


def _lost() -> Error:
    return Unavailable(errno.ECONNRESET, "berthd went away: it closed the session")


def _violation(error: Exception) -> Error:
    if isinstance(error, MalformedFrame):
        return protocol_error(f"a frame that {error}")
    return ProtocolError(errno.EPROTO, str(error))


def _close_descriptors(packet: Packet) -> None:
    for fd in descriptors_of(packet):
        os.close(fd)


def _hand_over(leases: List[Lease], key: str) -> None:
    try:
        for lease in leases:
            lease._hand_over(key)
    except BaseException:
        _drop_answer(leases, Outcome.DISCARD)
        raise


def _drop_answer(answer: Optional[_Answer], outcome: Outcome) -> None:
    if isinstance(answer, list):
        for lease in answer:
            lease._give_back(outcome)

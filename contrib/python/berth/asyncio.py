"""Leased connections as asyncio streams.

    async with berth.asyncio.connection(session, "redis", timeout=5) as (reader, writer):
        writer.write(b"PING\\r\\n")
        print(await reader.readline())

Leaving the block gives the connection back for reuse; leaving it on an exception or a cancellation
discards it. Waiting for a lease takes no thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import os
import weakref
from typing import Any, AsyncIterator, Dict, List, Optional, Tuple

from . import _frames
from ._errors import Error, TimedOut, Unavailable
from ._frames import Outcome
from ._lease import Lease
from ._line import seconds_left
from ._session import _GRACE_SECONDS, Session, _deadline, _drop_answer, _hand_over, _Waiter
from ._source import SessionOrPath, connected, shared_session

_LIMIT_BYTES = 65536  # as asyncio has it
_RETRY_SECONDS = 0.01


@contextlib.asynccontextmanager
async def connection(
    session: SessionOrPath,
    key: str,
    timeout: Optional[float] = None,
    *,
    limit: int = _LIMIT_BYTES,
) -> AsyncIterator[Tuple[asyncio.StreamReader, Writer]]:
    """open_connection() for the length of a block, which is one exchange or several."""
    reader, writer = await open_connection(session, key, timeout, limit=limit)
    try:
        yield reader, writer
        await writer.release()
    except BaseException:
        writer.transport.abort()
        raise


async def open_connection(
    session: SessionOrPath,
    key: str,
    timeout: Optional[float] = None,
    *,
    limit: int = _LIMIT_BYTES,
) -> Tuple[asyncio.StreamReader, Writer]:
    """Leases as Session.lease() does, without blocking the event loop.

    session  a berth.Session, which may be used by threads as well; or the path of a lease socket,
             or None for the default one: then the process has a session of its own.

    The connection goes back with the writer: writer.close() discards it, `await writer.release()`
    gives it back for reuse.
    """
    lease = await _lease(session, key, timeout)
    loop = asyncio.get_running_loop()
    reader = _Reader(limit=limit, loop=loop)
    protocol = _Protocol(reader, lease)
    try:
        transport, _ = await loop.create_connection(lambda: protocol, sock=lease.sock)
    except BaseException:
        lease._end(finished=False)
        raise
    return reader, Writer(transport, protocol, reader, loop)


class Writer(asyncio.StreamWriter):
    """An asyncio.StreamWriter whose close() discards the connection."""

    async def release(self) -> None:
        """Gives the connection back: the exchange is finished.

        Waits until all is written. Discards if the server has closed, if something was received
        that nobody has read, or after close(); and if this is cancelled, or writing fails.
        """
        transport: Any = self.transport
        protocol: Any = transport.get_protocol()
        try:
            transport.set_write_buffer_limits(high=0)
            await self.drain()
            transport.pause_reading()
            protocol.finished = not transport.is_closing() and protocol.reader.is_drained()
        except OSError:  # the server's doing, and known to whoever reads
            pass
        finally:
            transport.abort()
        with contextlib.suppress(OSError):
            await self.wait_closed()


class _Reader(asyncio.StreamReader):
    _buffer: bytearray
    _eof: bool

    def is_drained(self) -> bool:
        return not self._buffer and not self._eof and self.exception() is None


class _Protocol(asyncio.StreamReaderProtocol):
    """Owns the lease, and ends it with the transport."""

    def __init__(self, reader: _Reader, lease: Lease) -> None:
        super().__init__(reader)
        self.reader = reader
        self.finished = False
        self._lease = lease

    def connection_lost(self, exc: Optional[Exception]) -> None:
        super().connection_lost(exc)
        self._lease._end(self.finished and exc is None)


# --- leasing in an event loop ---


async def _lease(session: SessionOrPath, key: str, timeout: Optional[float]) -> Lease:
    if isinstance(session, Session):
        return connected(await _lease_on(session, key, timeout))
    loop = asyncio.get_running_loop()
    shared = await loop.run_in_executor(None, shared_session, session)
    try:
        return connected(await _lease_on(shared, key, timeout))
    except Unavailable:
        if not shared.closed:
            raise
    shared = await loop.run_in_executor(None, shared_session, session)
    return connected(await _lease_on(shared, key, timeout))


async def _lease_on(session: Session, key: str, timeout: Optional[float]) -> Lease:
    request = session._lease_request(key, 1, timeout, "")
    answer = await _Question(session, request).ask(timeout)
    if isinstance(answer, Error):
        raise answer
    leases: List[Lease] = answer
    _hand_over(leases, key)
    return leases[0]


class _Question(_Waiter):
    """A request of a task.

    Its answer is read by whoever reads the session: a thread that waits there too, or the event
    loop, which watches the session until all that its tasks asked is answered. That holds for a
    request that was withdrawn as well, since its grant may be under way.
    """

    can_lead = False

    def __init__(self, session: Session, request: _frames.LeaseRequest) -> None:
        super().__init__(request.request_id, _frames.Grant, 1, session._lock)
        self.wake = self
        self._session = session
        self._frame = _frames.encode_client(request)
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._withdrawn = False

    async def ask(self, timeout: Optional[float]) -> Any:
        """The leases, or an Error, not raised."""
        deadline = _deadline(timeout, _GRACE_SECONDS)
        self._over.add_done_callback(functools.partial(self._forget, _Watch.begin(self._session)))
        self._session._waiting[self.request_id] = self
        if self._session.closed:  # perhaps before it could notify
            self._finish()
        try:
            await self._send()
            await asyncio.wait([self._over], timeout=seconds_left(deadline))
            if self.answer is None:
                self._session._check()
                raise TimedOut(errno.ETIMEDOUT, "berthd did not answer in time")
        except BaseException:
            self._withdraw()
            raise
        return self.answer

    async def _send(self) -> None:
        sent = self._session._line.post(self._frame)
        while not sent:  # berthd is behind in reading
            await asyncio.sleep(_RETRY_SECONDS)
            sent = self._session._line.flush()

    def _withdraw(self) -> None:
        self._withdrawn = True
        if self.answer is not None:
            _drop_answer(self.answer, Outcome.REUSE)
        elif not self._session.closed:
            self._session._line.post(_frames.encode_client(_frames.Cancel(self.request_id)))

    def notify(self) -> None:
        """By any thread, with the session's lock held: there is an answer, or no session."""
        try:
            self._loop.call_soon_threadsafe(self._finish)
        except RuntimeError:  # the loop is closed, and leases go back as they are dropped
            self._session._waiting.pop(self.request_id, None)

    def _finish(self) -> None:
        if not self._over.done():
            self._over.set_result(None)

    def _forget(self, watch: _Watch, _: Any) -> None:
        self._session._waiting.pop(self.request_id, None)
        watch.end()
        if self._withdrawn:
            _drop_answer(self.answer, Outcome.REUSE)


class _Watch:
    """An event loop reads a session as long as questions of its tasks are open."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._questions = 0
        self._fd = session._line.duplicate()
        self._close = weakref.finalize(self, os.close, self._fd)  # if its loop is closed before
        asyncio.get_running_loop().add_reader(self._fd, session._look)

    @classmethod
    def begin(cls, session: Session) -> _Watch:
        watches = _watches.setdefault(asyncio.get_running_loop(), {})
        if session not in watches:
            watches[session] = cls(session)
        watches[session]._questions += 1
        return watches[session]

    def end(self) -> None:
        self._questions -= 1
        if self._questions == 0:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._fd)
            del _watches[loop][self._session]
            self._close()


# What is here refers to no loop, so that a closed one goes with its watches.
_watches: weakref.WeakKeyDictionary[Any, Dict[Session, _Watch]] = weakref.WeakKeyDictionary()

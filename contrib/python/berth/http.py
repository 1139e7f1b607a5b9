"""http.client over leased connections.

    connection = berth.http.Connection(session, "web", "www.example.org")
    connection.request("GET", "/")
    print(connection.getresponse().read())

A connection is leased by request(), and goes back when the response has been read to its end: for
reuse if the request was sent whole, the response was framed beyond doubt, both sides keep the
connection open, and nothing follows the response. It is discarded if not, and by close(), of the
connection or of the response, before.
"""

from __future__ import annotations

import functools
import http.client
import socket
import weakref
from typing import Any, List, Optional

from ._lease import Lease
from ._source import SessionOrPath, Source

_MAX_LINE = 4096  # of what precedes a chunk, and of trailers


class Leasing(http.client.HTTPConnection):
    """What makes an HTTPConnection lease; others, such as urllib3's, can be given it too."""

    source: Source
    _exchange: Optional[_Exchange] = None
    _head_follows = False

    def connect(self) -> None:
        """Raises berth.Error."""
        timeout = self.timeout if isinstance(self.timeout, (int, float)) else None
        lease = self.source.lease(timeout)
        self._exchange = _Exchange(lease, self)
        self.response_class: Any = functools.partial(Response, exchange=self._exchange)
        lease.sock.settimeout(socket.getdefaulttimeout() if timeout is None else timeout)
        self.sock = lease.sock

    def set_tunnel(self, *args: Any, **options: Any) -> None:
        raise ValueError(f"set `via` of the pool {self.source.key!r} in berthd.toml instead")

    def endheaders(self, *args: Any, **options: Any) -> None:
        self._head_follows = True
        try:
            super().endheaders(*args, **options)
        finally:
            self._head_follows = False

    def send(self, data: Any) -> None:
        if self.sock is None and self.auto_open:
            self.connect()
        is_head, self._head_follows = self._head_follows, False
        exchange = self._exchange
        if exchange is None:
            return super().send(data)
        whole, exchange.request.whole = exchange.request.whole, False  # if the next line raises
        super().send(data)
        exchange.request.whole = whole
        exchange.request.sent(data, is_head)

    def close(self) -> None:
        exchange, self._exchange = self._exchange, None
        super().close()
        # http.client closes the connection before a last response is read.
        if exchange is not None and not exchange.is_the_responses:
            exchange.end(finished=False)


class Connection(Leasing):
    """An http.client.HTTPConnection whose connections are berthd's.

    session  a berth.Session, which stays yours to close; or the path of a lease socket, or None
             for the default one: then each process has a session of its own, also after a fork.
    key      of the pool.
    host     what the server is called in the Host header, with its port if that is not 80.
    timeout  seconds, for a lease and for each read and write; None: the pool's acquire_timeout,
             and no limit for reads and writes.
    """

    def __init__(
        self,
        session: SessionOrPath,
        key: str,
        host: str = "localhost",
        *,
        timeout: Optional[float] = None,
        blocksize: int = 8192,
    ) -> None:
        super().__init__(host, timeout=timeout, blocksize=blocksize)
        self.source = Source(session, key)


class Response(http.client.HTTPResponse):
    """Ends the exchange when it is closed, which reading to the end does."""

    fp: Any = None  # for those that were never opened
    _method: Optional[str]
    _trailer_was_read = False

    def __init__(self, *args: Any, exchange: _Exchange, **options: Any) -> None:
        self._exchange = exchange
        super().__init__(*args, **options)
        exchange.is_the_responses = True

    def _read_and_discard_trailer(self) -> None:
        super()._read_and_discard_trailer()  # type: ignore[misc]
        self._trailer_was_read = True

    def _close_conn(self) -> None:
        finished = self._is_whole() and self._exchange.request.is_finished()
        finished = finished and not self._has_more()
        super()._close_conn()  # type: ignore[misc]
        self._exchange.end(finished)

    def _is_whole(self) -> bool:
        if self.headers is None or self.will_close or self.status < 200:
            return False  # below 200 is another protocol, or not the last response
        if self._method == "HEAD" or self.status in (204, 304):
            return True
        if self.chunked:
            return self._trailer_was_read and not self.headers.get_all("content-length")
        lengths: List[str] = self.headers.get_all("content-length", [])
        plain = len(lengths) == 1 and lengths[0].strip().isdigit()
        return plain and self.length == 0 and "transfer-encoding" not in self.headers

    def _has_more(self) -> bool:
        """Whether something was read that does not belong to the response."""
        try:
            lease = self._exchange.lease
            if lease is None:
                return True
            lease.sock.setblocking(False)
            return bool(self.fp.peek(1))
        except (OSError, ValueError):
            return True


class _Exchange:
    """One lease, one request, one response."""

    def __init__(self, lease: Lease, connection: Leasing) -> None:
        self.lease: Optional[Lease] = lease
        self.request = _Request()
        self.is_the_responses = False
        self._connection = weakref.ref(connection)

    def end(self, finished: bool) -> None:
        lease, self.lease = self.lease, None
        if lease is None:
            return
        connection = self._connection()
        if connection is not None and connection._exchange is self:
            connection._exchange = None
            connection.sock = None
        lease._end(finished)


class _Request:
    """Whether all of a request was sent, as far as its own head tells."""

    def __init__(self) -> None:
        self.whole = True  # False: it cannot be known
        self._left: Optional[int] = None  # bytes of the body; None before the head
        self._chunks: Optional[_Chunks] = None

    def is_finished(self) -> bool:
        if not self.whole:
            return False
        return self._left == 0 if self._chunks is None else self._chunks.ended

    def sent(self, data: Any, is_head: bool) -> None:
        if not isinstance(data, (bytes, bytearray, memoryview)):
            self.whole = False
        elif is_head:
            self._read_head(bytes(data))
        elif self._chunks is not None:
            self.whole = self.whole and self._chunks.feed(bytes(data))
        elif self._left is not None:
            self._left -= memoryview(data).nbytes

    def _read_head(self, head: bytes) -> None:
        first, *lines = head.split(b"\r\n")
        self.whole = self._left is None and not first.startswith(b"CONNECT ")
        self._left = 0
        for line in lines:
            name, _, value = line.partition(b":")
            self._read_header(name.strip().lower(), value.strip().lower())

    def _read_header(self, name: bytes, value: bytes) -> None:
        if name == b"content-length":
            self.whole = self.whole and value.isdigit()
            self._left = int(value) if value.isdigit() else 0
        elif name == b"transfer-encoding":
            self._chunks = _Chunks()
        elif name in (b"upgrade", b"expect") or (name == b"connection" and b"close" in value):
            self.whole = False
        elif name == b"authorization" and value.startswith((b"ntlm", b"negotiate")):
            self.whole = False  # logs the connection in, not the request


class _Chunks:
    """Follows a chunked body to its end."""

    def __init__(self) -> None:
        self.ended = False
        self._left = 0  # of the chunk, with its line's end
        self._line = b""
        self._in_trailer = False

    def feed(self, data: bytes) -> bool:
        """False: this is no chunked body, or goes on after its end."""
        at = 0
        while at < len(data):
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
                at += step
                continue
            end = data.find(b"\n", at) + 1 or len(data)
            self._line += data[at:end]
            at = end
            if self.ended or len(self._line) > _MAX_LINE:
                return False
            if self._line.endswith(b"\n") and not self._take_line():
                return False
        return True

    def _take_line(self) -> bool:
        line, self._line = self._line.strip(), b""
        if self._in_trailer:
            self.ended = not line
            return True
        try:
            size = int(line.partition(b";")[0], 16)
        except ValueError:
            return False
        self._in_trailer = size == 0
        self._left = size + 2 if size > 0 else 0
        return size >= 0

"""Dials a server directly, where no berthd is there to be asked."""

from __future__ import annotations

import errno
import re
import socket
import threading
import time
from typing import Any, List, Optional, Tuple

from ._errors import Error, InvalidRequest, ShuttingDown, TooManyFiles, Unavailable, error_of
from ._frames import Code

_DIAL_SECONDS = 5.0  # as berthd's dial_timeout, where the request says nothing
_SHORTEST_SECONDS = 0.001  # 0 would mean: do not wait for the connection at all
_ABSENT = (errno.ENOENT, errno.ECONNREFUSED, errno.ECONNRESET)
_TCP = re.compile(r"tcp://(?:\[([0-9A-Fa-f:.%\w]+)\]|([\w.-]+)):([0-9]{1,5})/*", re.ASCII)
_MAX_PATH_BYTES = 107

_made = 0
_made_lock = threading.Lock()


def is_absence(error: Error) -> bool:
    """Whether no berthd is there, or one that is going away; not what berthd refuses."""
    if isinstance(error, ShuttingDown):
        return True
    return isinstance(error, Unavailable) and error.errno in _ABSENT


class Server:
    """tcp://HOST:PORT, unix:///PATH or unix://@NAME. Raises InvalidRequest."""

    def __init__(self, url: str) -> None:
        self.url = url
        tcp = _TCP.fullmatch(url)
        self._tcp = (tcp[1] or tcp[2], int(tcp[3])) if tcp else None
        self._unix = url[len("unix://") :] if url.startswith("unix://") else ""
        good = 0 < self._tcp[1] < 65536 if self._tcp else self._unix[:1] in ("/", "@")
        size = len(self._unix.encode("utf-8", "replace"))
        if not good or size > _MAX_PATH_BYTES or "\0" in url:
            raise InvalidRequest(
                errno.EINVAL,
                f"fallback {url!r} is no server; write tcp://HOST:PORT or unix:///PATH",
            )

    def connect(self, count: int, timeout: Optional[float], start: float) -> List[socket.socket]:
        """`count` connections, all or none; a time that is given counts from `start`."""
        socks: List[socket.socket] = []
        try:
            addresses = self._addresses()
            now = time.monotonic()
            deadline = now + _DIAL_SECONDS if timeout is None else start + timeout
            for _ in range(count):
                socks.append(_connect_any(addresses, deadline))
        except BaseException as error:
            for sock in socks:
                sock.close()
            if not isinstance(error, OSError) or isinstance(error, Error):
                raise
            raise self._error_of(error) from error
        _count(count)
        return socks

    def _addresses(self) -> List[Tuple[Any, Any]]:
        if self._tcp is None:
            path = self._unix
            return [(socket.AF_UNIX, "\0" + path[1:] if path.startswith("@") else path)]
        found = socket.getaddrinfo(*self._tcp, type=socket.SOCK_STREAM)
        return [(family, address) for family, _, _, _, address in found]

    def _error_of(self, error: OSError) -> Error:
        words = f"{self.url}: {error.strerror or error}"
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return TooManyFiles(error.errno, words)
        late = isinstance(error, (TimeoutError, socket.timeout, BlockingIOError))
        return error_of(Code.TIMED_OUT if late else Code.UPSTREAM_DOWN, words)


def _connect_any(addresses: List[Tuple[Any, Any]], deadline: float) -> socket.socket:
    """One after another; each may take its part of the time that is left."""
    last: OSError = OSError(errno.EHOSTUNREACH, "no address")
    for tried, (family, address) in enumerate(addresses):
        left = (deadline - time.monotonic()) / (len(addresses) - tried)
        try:
            return _connect(family, address, max(left, _SHORTEST_SECONDS))
        except OSError as error:
            last = error
    raise last


def _connect(family: Any, address: Any, seconds: float) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(seconds)
        sock.connect(address)
        sock.settimeout(None)
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as berthd does
    except BaseException:
        sock.close()
        raise
    return sock


def _count(more: int) -> None:
    global _made
    with _made_lock:
        _made += more


def fallbacks() -> int:
    """How many connections this process has dialled because berthd was absent."""
    return _made

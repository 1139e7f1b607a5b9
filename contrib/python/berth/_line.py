"""The SEQPACKET connection to berthd: bytes and file descriptors, no meaning."""

from __future__ import annotations

import array
import collections
import errno
import math
import os
import select
import socket
import struct
import threading
import time
from typing import Any, Deque, List, Optional, Tuple

from ._errors import connect_error
from ._frames import MAX_FRAME_BYTES

# What recvmsg(2) returned: bytes, control messages, flags, address.
Packet = Tuple[bytes, List[Tuple[int, int, bytes]], int, Any]

_KERNEL_MAX_FDS = 253  # SCM_MAX_FD: more never come in one message
_FD = array.array("i")
_CONTROL_BYTES = socket.CMSG_SPACE(_KERNEL_MAX_FDS * _FD.itemsize)
# 32-bit systems with 64-bit times have an option number of their own for it.
_TIMEVAL = "@ll" if socket.SO_SNDTIMEO < 66 else "@qq"
_SEND_FLAGS = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
_RECEIVE_FLAGS = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC


def seconds_left(deadline: Optional[float]) -> Optional[float]:
    """Until a deadline of time.monotonic(), not below 0; None: no deadline.

    At most some days, which every system call can take; callers look again then.
    """
    return None if deadline is None else min(max(0.0, deadline - time.monotonic()), 1e6)


def descriptors_of(packet: Packet) -> List[int]:
    """The descriptors that came with a packet, in their order. Owns nothing."""
    fds = array.array("i")
    for level, kind, content in packet[1]:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    return list(fds)


def was_truncated(packet: Packet) -> bool:
    """Whether descriptors are missing: this process may open no more files."""
    return bool(packet[2] & socket.MSG_CTRUNC)


def is_oversized(packet: Packet) -> bool:
    return bool(packet[2] & socket.MSG_TRUNC)


def _is_connected(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError as error:
        if error.errno == errno.ENOTCONN:
            return False
        raise
    return True


def dial(path: str, deadline: float) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        # A full backlog makes connect(2) wait as long as a send may, and cannot be polled for.
        left = seconds_left(deadline) or 0.0
        limit = struct.pack(_TIMEVAL, int(left), max(1, int(left % 1 * 1e6)))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        sock.settimeout(None)
        sock.connect(path)
        while not _is_connected(sock):  # a signal ended the wait
            sock.connect(path)
    except OSError as error:
        sock.close()
        raise connect_error(path, error) from error
    except BaseException:
        sock.close()
        raise
    return sock


class Line:
    """One connection to a lease socket.

    Any thread may call anything at any time; only wait() and send() block. `with line:` marks it
    as in use: the last user closes the socket, so that no thread polls a number that already
    means another file. Finalizers call in here, hence a lock that one thread may take twice.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lock = threading.RLock()
        self._users = 0
        self._over = False
        self._unsent: Deque[bytes] = collections.deque()
        # Received and not yet understood. Owns the descriptors of its packets.
        self.inbox: Deque[Packet] = collections.deque()

    @classmethod
    def closed(cls) -> Line:
        """One that was never connected."""
        line = cls(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        line.close()
        return line

    def __enter__(self) -> Line:
        with self._lock:
            self._users += 1
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._over and self._users == 0:
            self._sock.close()

    def close(self) -> None:
        """Ends the connection for all threads, and for children that inherited it."""
        with self._lock:
            if not self._over:
                self._over = True
                try:
                    self._sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # the other end was faster
            self._close_if_unused()

    def close_copy(self) -> None:
        """In a forked child: closes its descriptor. The parent's connection goes on."""
        self._sock.close()  # without the lock: who held it may not exist here

    def duplicate(self) -> int:
        """A descriptor of one's own to poll: readable when there is something to receive()."""
        with self:
            return os.dup(self._sock.fileno())

    def wait(self, deadline: Optional[float]) -> bool:
        """Whether there is something to receive (the end, too) before `deadline`."""
        return self._poll(select.POLLIN, deadline)

    def _poll(self, events: int, deadline: Optional[float]) -> bool:
        with self:
            if self._over:
                return True
            poll = select.poll()
            poll.register(self._sock, events)
            left = seconds_left(deadline)
            return bool(poll.poll(None if left is None else math.ceil(left * 1000)))

    def receive(self) -> bool:
        """Moves one packet into the inbox without waiting; empty bytes mean the end."""
        with self:
            if self._over:
                return False
            try:
                self._receive_one()
            except BlockingIOError:
                return False
            except ConnectionResetError:
                # berthd closed with unread frames of ours. The kernel says so first, once; what
                # berthd said before, perhaps Goodbye, is still to be read.
                return self.receive()
            return True

    def _receive_one(self) -> None:
        # As one call into C: a signal handler that raises, as KeyboardInterrupt does, cannot come
        # between the kernel's giving descriptors and the inbox's owning them.
        arguments = (MAX_FRAME_BYTES,), (_CONTROL_BYTES,), (_RECEIVE_FLAGS,)
        self.inbox.extend(map(self._sock.recvmsg, *arguments))

    def send(self, frame: bytes, deadline: Optional[float]) -> bool:
        """Sends a frame, waiting for room until `deadline`; False if there was none in time.

        Then the frame is kept and goes out before the next one. Never raises OSError: that the
        connection is over is for the reader to find, together with the reason.
        """
        done = self.post(frame)
        while not done:
            if not self._poll(select.POLLOUT, deadline):
                return False
            done = self.flush()
        return True

    def post(self, frame: bytes) -> bool:
        """send() that does not wait at all: for finalizers too."""
        if not self._unsent and self._try_send(frame):
            return True
        self._unsent.append(frame)
        return self.flush()

    def flush(self) -> bool:
        """Sends what was kept, without waiting; False if some of it is still kept."""
        # Threads that flush at once may swap frames. That is harmless: each frame is complete in
        # itself, and a Cancel that overtakes its request only makes the grant come late.
        while self._unsent:
            try:
                frame = self._unsent.popleft()
            except IndexError:
                break
            if not self._try_send(frame):
                self._unsent.appendleft(frame)
                return False
        return True

    def _try_send(self, frame: bytes) -> bool:
        """False: no room now."""
        with self:
            if self._over:
                return True
            try:
                self._sock.send(frame, _SEND_FLAGS)
            except BlockingIOError:
                return False
            except OSError:
                pass  # see send()
            return True

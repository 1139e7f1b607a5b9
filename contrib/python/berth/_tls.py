"""Leased sockets under kernel TLS: the kernel makes and reads the records.

What it cannot do for a program that uses plain calls: tell the end, which is a record too. Until a
recvmsg() with room for its type has taken a record that is no data, each read fails with EIO.
"""

from __future__ import annotations

import errno
import socket
from typing import Any

# linux/tls.h, linux/tcp.h
_SOL_TLS = 282
_SET_RECORD_TYPE = 1
_GET_RECORD_TYPE = 2
_TCP_ULP = 31

# RFC 5246, sections 6.2.1, 7.2 and 7.4; RFC 8446, section 4.
_ALERT = 21
_HANDSHAKE = 22
_CLOSE_NOTIFY = 0
_HELLO_REQUEST = 0
_NEW_SESSION_TICKET = 4
_MAX_RECORD = 16384


class TlsSocket(socket.socket):
    """A socket under kernel TLS that behaves as others do.

    recv(), recv_into() and makefile(): the server's close_notify is the end of the stream. A
    request for renegotiation and a session ticket are skipped. After any other alert or record
    they raise an OSError with EPROTO, which names it. One thread at a time may read.
    shutdown() for writing says close_notify first. Other methods are those of any socket.
    """

    __slots__ = ()

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        while True:
            try:
                return super().recv(bufsize, flags)
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
            if self._take_record():
                return b""

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        while True:
            try:
                return super().recv_into(buffer, nbytes, flags)
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
            if self._take_record():
                return 0

    def shutdown(self, how: int, /) -> None:
        if how != socket.SHUT_RD:
            try:
                close_notify = bytes([1, _CLOSE_NOTIFY])
                self.sendmsg([close_notify], [(_SOL_TLS, _SET_RECORD_TYPE, bytes([_ALERT]))])
            except OSError:
                pass  # no room, or no connection: its end comes all the same
        super().shutdown(how)

    def _take_record(self) -> bool:
        """Whether it was the end."""
        data, control, _, _ = self.recvmsg(_MAX_RECORD, socket.CMSG_SPACE(1))
        kind = next((c[2][0] for c in control if c[:2] == (_SOL_TLS, _GET_RECORD_TYPE)), None)
        if kind == _ALERT and len(data) >= 2:
            if data[1] != _CLOSE_NOTIFY:
                raise OSError(errno.EPROTO, f"the server ended TLS with alert {data[1]}")
            # Each read tells so from now on; the server may wait for our close_notify.
            super().shutdown(socket.SHUT_RD)
            return True
        if kind == _HANDSHAKE and data[:1] in (b"%c" % _HELLO_REQUEST, b"%c" % _NEW_SESSION_TICKET):
            return False
        raise OSError(
            errno.EPROTO,
            f"the server sent a TLS record of type {kind} that kernel TLS cannot answer",
        )


def know_tls(sock: socket.socket) -> None:
    """Makes a TlsSocket of a socket that is under kernel TLS."""
    try:
        layer = sock.getsockopt(socket.IPPROTO_TCP, _TCP_ULP, 16)
    except OSError:
        return  # not TCP
    if layer.rstrip(b"\0") == b"tls":
        sock.__class__ = TlsSocket

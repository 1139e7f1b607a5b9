"""Leases warm, checked connections from berthd: the socket itself, not a proxy hop.

    with berth.Session() as session:
        with session.lease("redis", timeout=5) as lease:
            lease.sock.sendall(b"PING\\r\\n")

All times are seconds. Every failure is a berth.Error, which is an OSError. A session may be
shared by threads, not by processes.
"""

from ._errors import (
    Cancelled,
    Error,
    Forked,
    InvalidRequest,
    NoSuchKey,
    NotPermitted,
    ProtocolError,
    QueueFull,
    Revoked,
    ShuttingDown,
    TimedOut,
    TooManyFiles,
    Disabled,
    TooManySessions,
    Unavailable,
    UpstreamDown,
)
from ._fallback import fallbacks
from ._frames import Cause, Code, Holder, Limits, Why
from ._lease import Lease, Leases
from ._session import Session
from ._tls import TlsSocket

__all__ = [
    "Cancelled",
    "Cause",
    "Code",
    "Error",
    "Forked",
    "Holder",
    "InvalidRequest",
    "Lease",
    "Leases",
    "Limits",
    "NoSuchKey",
    "NotPermitted",
    "ProtocolError",
    "QueueFull",
    "Revoked",
    "Session",
    "ShuttingDown",
    "TimedOut",
    "TlsSocket",
    "TooManyFiles",
    "Disabled",
    "TooManySessions",
    "Unavailable",
    "UpstreamDown",
    "Why",
    "fallbacks",
]

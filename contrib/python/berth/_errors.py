"""What can go wrong, as exceptions."""

from __future__ import annotations

import errno
from typing import Dict, Optional, Type

from ._frames import Code, Why


class Error(OSError):
    """Any failure of berth. str() is what happened, in words: the daemon's where it spoke.

    errno  as the table in session.proto says; never None.
    code   the daemon's code; where no daemon said anything, the one nearest to errno.
    why    what a refused request waited for, where the daemon told.
    """

    code: Code
    why: Optional[Why]

    def __init__(
        self,
        number: int,
        message: str,
        code: Optional[Code] = None,
        why: Optional[Why] = None,
    ) -> None:
        super().__init__(number, message)
        self.code = _nearest_code(number) if code is None else code
        self.why = why

    def __str__(self) -> str:
        return str(self.strerror)


_NEAREST: Dict[int, Code] = {
    errno.EINVAL: Code.INVALID,
    errno.EACCES: Code.NOT_PERMITTED,
    errno.EPERM: Code.NOT_PERMITTED,
    errno.ETIMEDOUT: Code.TIMED_OUT,
    errno.EMFILE: Code.QUEUE_FULL,
    errno.EPROTO: Code.INTERNAL,
}


def _nearest_code(number: int) -> Code:
    """As libberth has it."""
    return _NEAREST.get(number, Code.SHUTTING_DOWN)


class InvalidRequest(Error, ValueError):
    """The request itself is wrong; repeating it is useless."""


class NoSuchKey(Error, LookupError):
    """No pool serves this key; the text names the nearest known one."""


class NotPermitted(Error, PermissionError):
    """This process may not have it."""


class TimedOut(Error, TimeoutError):
    """No connection came free in time; `why` tells what held it up."""


class QueueFull(Error):
    """Too many wait already, or this session has what it may have: try again later."""


class UpstreamDown(Error, ConnectionError):
    """The server behind the key cannot be reached."""


class ShuttingDown(Error):
    """The daemon grants no more leases."""


class Cancelled(Error):
    """The request was withdrawn."""


class Revoked(Error):
    """The daemon took the lease away."""


class TooManySessions(Error):
    """The daemon holds no further sessions, in all or of this user."""


class Disabled(Error):
    """An administrator has disabled the pool."""


class TooManyFiles(Error):
    """This process is at its own limit of open files (EMFILE); nothing was leased."""


class Unavailable(Error, ConnectionError):
    """No daemon: none listens there, it ended the session, or the session was closed here."""


class ProtocolError(Error):
    """The other end does not speak the session protocol (EPROTO); the session is over."""


class Forked(Error, RuntimeError):
    """The session belongs to the process that opened it, which this is not (EPERM)."""


_ERRNO: Dict[Code, int] = {
    Code.INVALID: errno.EINVAL,
    Code.VERSION: errno.EPROTONOSUPPORT,
    Code.NO_SUCH_KEY: errno.ENOENT,
    Code.NOT_PERMITTED: errno.EACCES,
    Code.TIMED_OUT: errno.ETIMEDOUT,
    Code.QUEUE_FULL: errno.EAGAIN,
    Code.UPSTREAM_DOWN: errno.EHOSTDOWN,
    Code.SHUTTING_DOWN: errno.ESHUTDOWN,
    Code.CANCELLED: errno.ECANCELED,
    Code.NO_SUCH_LEASE: errno.ESTALE,
    Code.REVOKED: errno.EOWNERDEAD,
    Code.TOO_MANY_SESSIONS: errno.EUSERS,
    Code.INTERNAL: errno.EIO,
    Code.DISABLED: errno.ENXIO,
}

_CLASS: Dict[Code, Type[Error]] = {
    Code.INVALID: InvalidRequest,
    Code.NO_SUCH_KEY: NoSuchKey,
    Code.NOT_PERMITTED: NotPermitted,
    Code.TIMED_OUT: TimedOut,
    Code.QUEUE_FULL: QueueFull,
    Code.UPSTREAM_DOWN: UpstreamDown,
    Code.SHUTTING_DOWN: ShuttingDown,
    Code.CANCELLED: Cancelled,
    Code.REVOKED: Revoked,
    Code.TOO_MANY_SESSIONS: TooManySessions,
    Code.DISABLED: Disabled,
}


def error_of(code: Code, message: str, why: Optional[Why] = None) -> Error:
    """The exception for what the daemon said; not raised."""
    kind = _CLASS.get(code, Error)
    return kind(_ERRNO.get(code, errno.EIO), message or f"berthd says {code.name}", code, why)


def connect_error(path: str, cause: OSError) -> Error:
    """The exception for a lease socket that cannot be connected; not raised."""
    message = f"cannot reach berthd at {path}: {cause.strerror or cause}"
    if cause.errno is None:  # Python itself refuses paths that are too long
        return InvalidRequest(errno.EINVAL, message)
    if cause.errno in (errno.EACCES, errno.EPERM):
        return NotPermitted(cause.errno, message)
    if cause.errno == errno.EAGAIN:
        return TimedOut(errno.ETIMEDOUT, f"berthd at {path} does not accept connections")
    hint = "start it with `berthd --user` or `systemctl start berthd`, or set BERTH_SOCKET"
    return Unavailable(cause.errno, f"{message}; {hint}")


def protocol_error(what: str) -> ProtocolError:
    return ProtocolError(errno.EPROTO, f"berthd broke the session protocol: {what}")

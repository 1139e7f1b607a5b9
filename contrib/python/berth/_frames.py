"""The frames of a session: proto/berth/v1/session.proto, which says what the fields mean.

Frames are immutable values. Texts that come from outside are str, whatever their bytes were.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, Mapping, Optional, Tuple, Type, Union

from . import _wire
from ._wire import MalformedFrame as MalformedFrame

VERSION = 1

# The bounds of the protocol, in bytes: a frame beyond them ends the session.
MAX_FRAME_BYTES = 65536
MAX_KEY_BYTES = 300
MAX_NAME_BYTES = 64
MAX_TRACEPARENT_BYTES = 128
LEASE_IDS_END = 1 << 61


class Code(enum.IntEnum):
    """Why the daemon refused, took away or ended something."""

    OK = 0
    INVALID = 1
    VERSION = 2
    NO_SUCH_KEY = 3
    NOT_PERMITTED = 4
    TIMED_OUT = 5
    QUEUE_FULL = 6
    UPSTREAM_DOWN = 7
    SHUTTING_DOWN = 8
    CANCELLED = 9
    NO_SUCH_LEASE = 10
    REVOKED = 11
    TOO_MANY_SESSIONS = 12
    INTERNAL = 13
    DISABLED = 14


class Cause(enum.IntEnum):
    """What a request waited for."""

    CAUSE_UNSPECIFIED = 0
    EXHAUSTED = 1  # every connection that max_connections allows is leased
    UPSTREAM_DOWN = 2  # dials fail or do not finish
    PAUSED = 3  # the pool is paused
    NO_SLOTS = 4  # the daemon's fd budget is used up
    QUEUE_FULL = 5  # max_waiters requests wait already


class Outcome(enum.IntEnum):
    DISCARD = 0
    REUSE = 1


def _code(number: int) -> Any:
    return _wire.enumeration(number, Code, Code.INTERNAL)


# --- towards the daemon ---


@dataclass(frozen=True)
class Hello:
    version: int = _wire.uint32(1)
    name: str = _wire.text(2)


@dataclass(frozen=True)
class LeaseRequest:
    request_id: int = _wire.uint64(1)
    key: str = _wire.text(2)
    count: int = _wire.uint32(3)
    timeout_ms: Optional[int] = _wire.optional_uint64(4)
    traceparent: str = _wire.text(5)
    detach: bool = _wire.boolean(6)


@dataclass(frozen=True)
class Release:
    lease_id: int = _wire.uint64(1)
    outcome: Outcome = _wire.enumeration(2, Outcome, Outcome.DISCARD)
    request_id: int = _wire.uint64(3)


@dataclass(frozen=True)
class Cancel:
    request_id: int = _wire.uint64(1)


@dataclass(frozen=True)
class ListKeys:
    request_id: int = _wire.uint64(1)
    after: str = _wire.text(2)


# --- towards the client ---


@dataclass(frozen=True)
class Limits:
    """What the daemon allows this session."""

    max_frame_bytes: int = _wire.uint32(1)
    max_count: int = _wire.uint32(2)  # connections in one request
    max_leases: int = _wire.uint32(3)  # leases held at once
    max_waiters: int = _wire.uint32(4)  # requests that wait at once


@dataclass(frozen=True)
class Welcome:
    version: int = _wire.uint32(1)
    session_id: int = _wire.uint64(2)
    token: bytes = _wire.data(3)
    limits: Optional[Limits] = _wire.submessage(4, Limits)


@dataclass(frozen=True)
class Goodbye:
    code: Code = _code(1)
    message: str = _wire.text(2)


@dataclass(frozen=True)
class GrantedLease:
    lease_id: int = _wire.uint64(1)
    reused: bool = _wire.boolean(2)
    slot: bool = _wire.boolean(3)  # no descriptor comes with it
    detached: bool = _wire.boolean(4)  # the connection is the program's alone


@dataclass(frozen=True)
class Grant:
    request_id: int = _wire.uint64(1)
    leases: Tuple[GrantedLease, ...] = _wire.submessages(2, GrantedLease)


@dataclass(frozen=True)
class Holder:
    """One who holds a lease of the pool."""

    pid: int = _wire.uint32(1)  # 0: in another pid namespace
    uid: int = _wire.uint32(2)
    command: str = _wire.text(3)
    held_ms: int = _wire.uint64(4)


@dataclass(frozen=True)
class Why:
    """What a refused request waited for, for programs."""

    cause: Cause = _wire.enumeration(1, Cause, Cause.CAUSE_UNSPECIFIED)
    leased: int = _wire.uint32(2)
    max_connections: int = _wire.uint32(3)  # 0: unlimited
    waiting: int = _wire.uint32(4)  # this request included
    dial_failures: int = _wire.uint64(5)  # since the last dial that succeeded
    last_dial_error: str = _wire.text(6)
    holders: Tuple[Holder, ...] = _wire.submessages(7, Holder)  # longest first


@dataclass(frozen=True)
class Refusal:
    request_id: int = _wire.uint64(1)
    code: Code = _code(2)
    message: str = _wire.text(3)
    why: Optional[Why] = _wire.submessage(4, Why)


@dataclass(frozen=True)
class Released:
    request_id: int = _wire.uint64(1)
    code: Code = _code(2)
    message: str = _wire.text(3)


@dataclass(frozen=True)
class Revoked:
    lease_id: int = _wire.uint64(1)
    code: Code = _code(2)
    message: str = _wire.text(3)


@dataclass(frozen=True)
class KeyList:
    request_id: int = _wire.uint64(1)
    keys: Tuple[str, ...] = _wire.texts(2)
    more: bool = _wire.boolean(3)


ClientFrame = Union[Hello, LeaseRequest, Release, Cancel, ListKeys]
ServerFrame = Union[Welcome, Goodbye, Grant, Refusal, Released, Revoked, KeyList]

_CLIENT_KINDS = {1: Hello, 2: LeaseRequest, 3: Release, 4: Cancel, 5: ListKeys}
_SERVER_KINDS = {
    1: Welcome,
    2: Goodbye,
    3: Grant,
    4: Refusal,
    5: Released,
    6: Revoked,
    7: KeyList,
}


def encode_client(frame: ClientFrame) -> bytes:
    return _wire.encode_one_of(_CLIENT_KINDS, frame)


def decode_server(buffer: bytes) -> ServerFrame:
    """Raises MalformedFrame."""
    frame: ServerFrame = _decode(_SERVER_KINDS, buffer)
    return frame


# The other two are for those who play the daemon: the tests.
def encode_server(frame: ServerFrame) -> bytes:
    return _wire.encode_one_of(_SERVER_KINDS, frame)


def decode_client(buffer: bytes) -> ClientFrame:
    """Raises MalformedFrame."""
    frame: ClientFrame = _decode(_CLIENT_KINDS, buffer)
    return frame


def _decode(kinds: Mapping[int, Type[Any]], buffer: bytes) -> Any:
    if len(buffer) > MAX_FRAME_BYTES:
        raise MalformedFrame(f"is longer than {MAX_FRAME_BYTES} bytes")
    return _wire.decode_one_of(kinds, buffer)

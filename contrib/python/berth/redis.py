"""redis-py over leased connections.

    client = redis.Redis(connection_pool=berth.redis.Pool(session, "redis"))

A connection is leased when redis-py takes it from the pool, and goes back to berthd when redis-py
puts it back: after each command, pipeline or transaction. It goes back for reuse only if every
command has had its reply, nothing else was read, and nothing that the commands did lasts on the
connection; else it is discarded, as it is by disconnect().
"""

from __future__ import annotations

import os
from typing import Any, FrozenSet, List, Optional, Sequence

import redis

from ._errors import Error, TimedOut
from ._lease import Lease
from ._source import SessionOrPath, Source

_NOT_OURS = frozenset(
    "host port path db username password client_name credential_provider redis_connect_func".split()
)


def _words(text: str) -> FrozenSet[bytes]:
    return frozenset(text.encode().split())


# Commands whose replies cannot be counted, that end the connection, or that RESET does not undo.
_ENDLESS = _words(
    "SUBSCRIBE PSUBSCRIBE SSUBSCRIBE UNSUBSCRIBE PUNSUBSCRIBE SUNSUBSCRIBE MONITOR SYNC PSYNC QUIT"
)
_CLIENT_ENDLESS = _words("REPLY NO-EVICT NO-TOUCH")
_SCRIPT_ENDLESS = _words("DEBUG")
# What they do lasts until RESET.
_LASTING = _words("AUTH HELLO SELECT RESET READONLY READWRITE ASKING REPLCONF")
# What the other subcommands of CLIENT do lasts.
_CLIENT_PASSING = _words(
    "ID INFO LIST GETNAME GETREDIR TRACKINGINFO KILL PAUSE UNPAUSE UNBLOCK HELP"
)


class Pool(redis.ConnectionPool):
    """A redis.ConnectionPool whose connections are berthd's.

    session  a berth.Session, which stays yours to close; or the path of a lease socket, or None
             for the default one: then each process has a session of its own, also after a fork.
    key      of the pool. Its login, database and address are set in berthd.toml.
    timeout  seconds to wait for a lease; None: the pool's acquire_timeout.
    resets   whether the pool's `reset` has RESET. Then connections are reused after SELECT, WATCH
             and whatever else RESET undoes.
    options  as redis.Connection has them: socket_timeout, decode_responses, retry, …

    Failures to lease are redis.ConnectionError and redis.TimeoutError, with berth.Error as cause.
    """

    def __init__(
        self,
        session: SessionOrPath,
        key: str,
        *,
        timeout: Optional[float] = None,
        resets: bool = False,
        **options: Any,
    ) -> None:
        foreign = sorted(_NOT_OURS.intersection(options))
        if foreign:
            raise TypeError(f"{', '.join(foreign)}: set in berthd.toml, for the pool {key!r}")
        super().__init__(
            connection_class=Connection,
            source=Source(session, key),
            lease_timeout=timeout,
            resets=resets,
            **options,
        )

    def release(self, connection: Any) -> None:
        if connection.pid == os.getpid():
            connection.give_back()
        super().release(connection)


class Connection(redis.Connection):
    """One of a Pool's: leases with connect(), discards with disconnect()."""

    _lease: Optional[Lease] = None

    def __init__(
        self, source: Source, lease_timeout: Optional[float], resets: bool, **options: Any
    ) -> None:
        super().__init__(**options)
        self.host, self.port = "berth", source.key  # what messages say
        self._source = source
        self._lease_timeout = lease_timeout
        self._resets = resets
        self._conversation = _Conversation()

    def repr_pieces(self) -> List[Any]:
        return [("key", self._source.key)]

    def _connect(self) -> Any:
        try:
            self._lease = self._source.lease(self._lease_timeout)
        except TimedOut as error:
            raise redis.TimeoutError(str(error)) from error
        except Error as error:
            raise redis.ConnectionError(str(error)) from error
        self._conversation = _Conversation()
        if self.socket_timeout is not None:
            self._lease.sock.settimeout(self.socket_timeout)
        return self._lease.sock

    def on_connect(self) -> None:
        self._parser.on_connect(self)  # berthd has logged in

    def disconnect(self, *args: Any, **options: Any) -> None:
        self._end(finished=False)

    def give_back(self) -> None:
        """For reuse, if that is known to be right."""
        self._end(self._is_finished())

    def _end(self, finished: bool) -> None:
        self._parser.on_disconnect()
        self._sock = None
        lease, self._lease = self._lease, None
        if lease is not None:
            lease._end(finished)

    def _is_finished(self) -> bool:
        if self._sock is None or not self._conversation.is_finished(self._resets):
            return False
        try:
            return not self.can_read(timeout=0)  # looks into the parser's buffer too
        except (redis.RedisError, OSError):
            return False

    # --- the conversation ---

    def pack_command(self, *args: Any) -> _Packed:
        return _Packed(super().pack_command(*args), [args])

    def pack_commands(self, commands: Any) -> _Packed:
        commands = list(commands)
        return _Packed(super().pack_commands(commands), commands)

    def send_command(self, *args: Any, **options: Any) -> None:
        self.send_packed_command(
            self.pack_command(*args), check_health=options.get("check_health", True)
        )

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        if not self._sock:
            self.connect()
        if check_health:
            self.check_health()  # which may lease another connection
        self._conversation.send(command.commands if isinstance(command, _Packed) else None)
        super().send_packed_command(command, check_health=False)

    def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            response = super().read_response(*args, **options)
        except redis.ResponseError:
            self._conversation.unanswered -= 1
            raise
        self._conversation.unanswered -= 1
        return response


class _Packed(List[Any]):
    """Bytes to send, and the commands that they are."""

    def __init__(self, chunks: Any, commands: Sequence[Sequence[Any]]) -> None:
        super().__init__(chunks)
        self.commands = commands


class _Conversation:
    """What went over one leased connection, as far as it decides whether another may have it."""

    def __init__(self) -> None:
        self.unanswered = 0
        self._endless = False
        self._lasting = False
        self._watching = False
        self._in_transaction = False

    def is_finished(self, resets: bool) -> bool:
        if self.unanswered != 0 or self._endless:
            return False
        return resets or not (self._lasting or self._watching or self._in_transaction)

    def send(self, commands: Optional[Sequence[Sequence[Any]]]) -> None:
        """None: bytes of unknown meaning."""
        if commands is None:
            self._endless = True
            return
        self.unanswered += len(commands)
        for command in commands:
            self._follow(command)

    def _follow(self, command: Sequence[Any]) -> None:
        name, argument = _name(command)
        if name == b"MULTI":
            self._in_transaction = True
        elif name in (b"EXEC", b"DISCARD"):
            self._watching = self._watching and not self._in_transaction
            self._in_transaction = False
        elif name == b"WATCH":
            self._watching = True
        elif name == b"UNWATCH":
            self._watching = self._watching and self._in_transaction  # there it is only queued
        elif name == b"CLIENT":
            self._endless = self._endless or argument in _CLIENT_ENDLESS
            self._lasting = self._lasting or argument not in _CLIENT_PASSING
        elif name == b"SCRIPT":
            self._endless = self._endless or argument in _SCRIPT_ENDLESS
        elif name in _ENDLESS:
            self._endless = True
        elif name in _LASTING:
            self._lasting = True


def _name(command: Sequence[Any]) -> Sequence[bytes]:
    """A command's name and first argument, in capitals. redis-py allows "CLIENT ID" as a name."""
    words = _bytes(command[0]).upper().split(None, 2)[:2]
    if len(words) == 1 and words[0] in (b"CLIENT", b"SCRIPT") and len(command) > 1:
        words.append(_bytes(command[1]).upper())
    return (words + [b"", b""])[:2]


def _bytes(word: Any) -> bytes:
    return word.encode() if isinstance(word, str) else bytes(word)

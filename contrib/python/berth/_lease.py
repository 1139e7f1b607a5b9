"""Lease and Leases: who owns a leased socket, and how it goes back."""

from __future__ import annotations

import os
import socket
import warnings
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Iterable, Optional, Tuple, Type, overload

from ._errors import Error, protocol_error
from ._frames import GrantedLease, Outcome
from ._tls import know_tls

if TYPE_CHECKING:
    from ._session import Session


class Lease:
    """The right to one connection, and its socket.

    Use it in a `with` statement, or call release() or discard(). One thread at a time may use
    it; it may move between threads. A lease that is garbage-collected goes back as broken, with
    a ResourceWarning.

    sock    a connected socket.socket, blocking. It belongs to the lease: do not keep duplicates
            of it, nor use it after the lease. The end of the lease closes it, makefile() objects
            included; closing it earlier is harmless. Whoever takes the descriptor away with
            sock.detach() must close it before the lease ends. Under kernel TLS it is a
            berth.TlsSocket, to which the server's close_notify is the end of the stream.
    id      the lease's number, as in `berthctl leases`; never used twice.
    key     what was asked for.
    reused  whether the connection has been leased before, to whomever. A fresh one may hold the
            server's greeting.
    fallback  None, or why berthd was absent (a berth.Error): then the connection was dialled
            without it, `id` is 0, and the end of the lease closes it.
    slot    whether it is a bare slot: the right to open one descriptor of one's own, counted in
            the daemon's budget, until the lease ends. Then sock is closed from the beginning.
    """

    # A lease is born while its descriptor still belongs to the session's inbox; see
    # Session._dispatch. Class defaults, so that a half-made lease can be finalized.
    _owned = False
    _handed_over = False
    _returned = False

    def __init__(self, session: Session, granted: GrantedLease, fd: int) -> None:
        """Owns nothing until _own(). `fd` is -1 of a slot, and where it did not arrive."""
        self.id = granted.lease_id
        self.reused = granted.reused
        self.slot = granted.slot
        self.fallback: Optional[Error] = None
        self._detached = granted.detached  # there is nothing to give back
        self.key = ""
        self._session = session
        self._revoked: Optional[Error] = None
        self._fd = fd  # until the socket object has it
        self.sock = socket.socket.__new__(socket.socket)

    def __repr__(self) -> str:
        state = "returned" if self._returned else f"fd={self.fd}"
        return f"<berth.Lease {self.id} of {self.key!r}, {state}>"

    @property
    def fd(self) -> int:
        """The socket's descriptor; -1 once it is closed."""
        return self.sock.fileno()

    @property
    def revoked(self) -> Optional[Error]:
        """Why the daemon took the lease away (a berth.Revoked), or None as long as it stands.

        Does not wait. The connection of a revoked lease is shut down: reads end, writes fail.
        """
        self._session._look()
        return self._revoked

    def release(self) -> None:
        """Gives the connection back for others: the exchange on it is finished.

        Closes the socket first. Never raises on account of the daemon: with the session's end
        the lease has ended too. May wait a second if the daemon does not read. Does nothing if
        the lease was returned before. Raises Forked in a child process.
        """
        self._session._refuse_in_child()
        self._give_back(Outcome.REUSE)

    def discard(self) -> None:
        """Gives the connection back broken, or in an unknown state: it is closed.

        Otherwise as release().
        """
        self._session._refuse_in_child()
        self._give_back(Outcome.DISCARD)

    def __enter__(self) -> Lease:
        self._session._refuse_in_child()
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._end(finished=kind is None)

    def __del__(self, _warn: Any = warnings.warn) -> None:
        if not self._owned or self._returned:
            return
        self._close()
        if self._detached or self._session._in_child():
            return
        if not self._handed_over:
            self._session._return(self.id, Outcome.REUSE, wait=False)  # untouched
            return
        self._session._return(self.id, Outcome.DISCARD, wait=False)
        _warn(f"{self!r} was neither released nor discarded", ResourceWarning, source=self)

    # --- for adapters ---

    def _end(self, finished: bool) -> None:
        """In a child of fork(2): closes this process's copy; the lease is the parent's."""
        if self._session._in_child():
            self._close()
        else:
            self._give_back(Outcome.REUSE if finished else Outcome.DISCARD)

    # --- for Session ---

    @classmethod
    def _instead(cls, session: Session, key: str, sock: socket.socket, absence: Error) -> Lease:
        lease = cls(session, GrantedLease(detached=True), -1)
        lease.sock = sock
        lease.key = key
        lease.fallback = absence
        lease._owned = lease._handed_over = True
        return lease

    def _own(self) -> None:
        self._owned = True

    def _hand_over(self, key: str) -> None:
        """The lease becomes the caller's. Raises ProtocolError if its descriptor is no socket."""
        self.key = key
        self._open()
        if self.sock.gettimeout() is not None:  # socket.setdefaulttimeout() was used
            self.sock.settimeout(None)
        self._handed_over = True

    def _take(self) -> socket.socket:
        """The socket for good. Requires: handed over, and detached."""
        self._returned = True
        return self.sock

    def _open(self) -> None:
        # May run again if a signal's exception cut it short: the socket object then takes the
        # same descriptor once more, which changes nothing.
        if self._fd < 0:
            return
        try:
            self.sock.__init__(fileno=self._fd)  # type: ignore[misc]
        except OSError as error:
            raise protocol_error("a granted descriptor is no socket") from error
        know_tls(self.sock)
        self._fd = -1

    def _close(self) -> None:
        try:
            self._open()
            # socket.socket.close() waits for makefile() objects; its base's does not.
            super(socket.socket, self.sock).close()
        except Error:
            os.close(self._fd)
            self._fd = -1
        except OSError:
            pass  # closed all the same

    def _give_back(self, outcome: Outcome) -> None:
        if self._returned:
            return
        self._close()
        if not self._detached:
            self._session._return(self.id, outcome, wait=True)
        self._returned = True  # last: cut short by an exception, __del__ does the rest


class Leases(Sequence[Lease]):
    """Leases that were granted together: a sequence, and a context manager for all of them.

    Each may also be released or discarded by itself, before.
    """

    def __init__(self, leases: Iterable[Lease]) -> None:
        self._leases: Tuple[Lease, ...] = tuple(leases)

    def __len__(self) -> int:
        return len(self._leases)

    @overload
    def __getitem__(self, index: int) -> Lease: ...

    @overload
    def __getitem__(self, index: slice) -> Tuple[Lease, ...]: ...

    def __getitem__(self, index: Any) -> Any:
        return self._leases[index]

    def __repr__(self) -> str:
        return f"<berth.Leases {list(self._leases)!r}>"

    def release(self) -> None:
        """Releases those that were not returned yet."""
        for lease in self._leases:
            lease.release()

    def discard(self) -> None:
        """Discards those that were not returned yet."""
        for lease in self._leases:
            lease.discard()

    def __enter__(self) -> Leases:
        for lease in self._leases:
            lease.__enter__()
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        for lease in self._leases:
            lease.__exit__(kind, error, trace)

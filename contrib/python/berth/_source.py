"""Where adapters lease: one key, on a session that is theirs or the caller's."""

from __future__ import annotations

import atexit
import errno
import os
import threading
from typing import Dict, Optional, Tuple, Union

from ._errors import InvalidRequest, Unavailable
from ._lease import Lease
from ._session import Session, default_path

# A session, which its owner closes; or the path of a lease socket, None for the default one.
SessionOrPath = Union[Session, str, "os.PathLike[str]", None]


class Source:
    """Leases of one key.

    Given a path, adapters share a session in each process that uses them: opened with the first
    lease, and again after a fork, and after the daemon has ended it. Any thread may call.
    """

    def __init__(self, session: SessionOrPath, key: str) -> None:
        self.key = key
        self._given = session

    def lease(self, timeout: Optional[float] = None) -> Lease:
        """As Session.lease(); InvalidRequest too if the pool has bare slots only."""
        return connected(self._lease(timeout))

    def _lease(self, timeout: Optional[float]) -> Lease:
        if isinstance(self._given, Session):
            return self._given.lease(self.key, timeout)
        session = shared_session(self._given)
        try:
            return session.lease(self.key, timeout)
        except Unavailable:
            if not session.closed:
                raise
        return shared_session(self._given).lease(self.key, timeout)


def connected(lease: Lease) -> Lease:
    """Refuses a bare slot."""
    if lease.slot:
        lease.release()
        raise InvalidRequest(errno.EINVAL, f"{lease.key} grants bare slots, no connections")
    return lease


class _Shared:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.session: Optional[Session] = None

    def close(self) -> None:
        if self.session is not None:
            self.session.close()


# By process and path: a lock that somebody held at a fork is not the child's.
_shared: Dict[Tuple[int, str], _Shared] = {}


def shared_session(path: Union[str, os.PathLike[str], None]) -> Session:
    """This process's session to a lease socket. Raises Error."""
    where = os.getpid(), default_path() if path is None else os.fspath(path)
    mine = _shared.get(where)
    if mine is None:
        _forget_others(where[0])
        mine = _shared.setdefault(where, _Shared())
    with mine.lock:
        if mine.session is None or mine.session.closed:
            mine.session = Session(where[1])
        return mine.session


def _forget_others(pid: int) -> None:
    """Closes this child's copies of what its parents opened."""
    for where in list(_shared):
        if where[0] != pid:
            _shared.pop(where).close()


@atexit.register
def _close_all() -> None:
    for shared in list(_shared.values()):
        shared.close()

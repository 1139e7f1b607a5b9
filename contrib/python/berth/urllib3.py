"""urllib3 over leased connections.

    http = berth.urllib3.PoolManager(session, {"http://www.example.org": "web"})
    print(http.request("GET", "http://www.example.org/").data)

Connections are leased and go back as berth.http says.
"""

from __future__ import annotations

from typing import Any, Mapping, Optional

import urllib3
from urllib3.connection import HTTPConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError
from urllib3.util import parse_url

from ._errors import Error, TimedOut
from ._source import SessionOrPath, Source
from .http import Leasing


class Connection(Leasing, HTTPConnection):
    """What a Pool's requests go over."""

    def connect(self) -> None:
        try:
            super().connect()
        except TimedOut as error:
            raise ConnectTimeoutError(self, str(error)) from error
        except Error as error:
            raise NewConnectionError(self, str(error)) from error


class Response(urllib3.HTTPResponse):
    """Leaves chunks to http.client, which knows where they end."""

    def supports_chunked_reads(self) -> bool:
        return False


class Pool(urllib3.HTTPConnectionPool):
    """An HTTPConnectionPool for one host, whose connections are berthd's.

    session  a berth.Session, which stays yours to close; or the path of a lease socket, or None
             for the default one: then each process has a session of its own, also after a fork.
    key      of the pool.
    host     what the server is called in the Host header.
    options  as urllib3 has them. A connect timeout is how long a lease may take.

    Failures to lease are urllib3's NewConnectionError and ConnectTimeoutError, with berth.Error as
    cause.
    """

    ConnectionCls = Connection
    ResponseCls = Response

    def __init__(
        self,
        session: SessionOrPath,
        key: str,
        host: str,
        port: Optional[int] = None,
        **options: Any,
    ) -> None:
        super().__init__(host, port, **options)
        self._source = Source(session, key)

    def _new_conn(self) -> Any:
        connection = super()._new_conn()
        connection.source = self._source
        return connection

    def _put_conn(self, conn: Any) -> None:
        # Somebody who did not read on would otherwise keep the lease.
        if conn is not None and conn.sock is not None:
            conn.close()
        super()._put_conn(conn)


class PoolManager(urllib3.PoolManager):
    """A urllib3.PoolManager that leases for the origins it is told, and dials all others.

    keys     {"http://host" or "http://host:port": key}
    options  as urllib3 has them.
    """

    def __init__(self, session: SessionOrPath, keys: Mapping[str, str], **options: Any) -> None:
        super().__init__(**options)
        self._session = session
        self._keys = {_origin(url): key for url, key in keys.items()}

    def _new_pool(
        self, scheme: str, host: str, port: int, request_context: Optional[Any] = None
    ) -> Any:
        key = self._keys.get((scheme, host.lower(), port))
        if key is None:
            return super()._new_pool(scheme, host, port, request_context)
        options = dict(self.connection_pool_kw if request_context is None else request_context)
        for name in ("scheme", "host", "port", *urllib3.poolmanager.SSL_KEYWORDS):
            options.pop(name, None)
        return Pool(self._session, key, host, port, **options)


def _origin(url: str) -> Any:
    parsed = parse_url(url)
    if parsed.scheme != "http" or not parsed.host or parsed.path not in (None, "/"):
        raise ValueError(f"{url!r} is not of the form http://host or http://host:port")
    return "http", parsed.host.lower(), parsed.port or 80

"""requests over leased connections.

    web = requests.Session()
    web.mount("http://www.example.org/", berth.requests.Adapter(session, "web"))
    print(web.get("http://www.example.org/").text)

Connections are leased and go back as berth.http says.
"""

from __future__ import annotations

from typing import Any, Optional

import requests.adapters
import urllib3

from ._source import SessionOrPath
from .urllib3 import Pool


class Adapter(requests.adapters.HTTPAdapter):
    """Sends what is asked of the URLs that it is mounted for over the connections of one key.

    session  a berth.Session, which stays yours to close; or the path of a lease socket, or None
             for the default one: then each process has a session of its own, also after a fork.
    key      of the pool, which says how to reach the server. Proxies that requests knows, from the
             environment too, are not used.
    options  as requests.adapters.HTTPAdapter has them.

    Mount it for one host, as URLs that a redirect leads to are asked of the same server if they
    begin alike.
    """

    def __init__(self, session: SessionOrPath, key: str, **options: Any) -> None:
        self._lease_from = session, key
        super().__init__(**options)

    def init_poolmanager(
        self, connections: int, maxsize: int, block: bool = False, **options: Any
    ) -> None:
        self.poolmanager = _OneKey(
            *self._lease_from, num_pools=connections, maxsize=maxsize, block=block, **options
        )

    def send(self, request: Any, *args: Any, **options: Any) -> Any:
        options["proxies"] = None
        return super().send(request, *args[:4], **options)


class _OneKey(urllib3.PoolManager):
    def __init__(self, session: SessionOrPath, key: str, **options: Any) -> None:
        super().__init__(**options)
        self._lease_from = session, key
        for scheme in set(self.key_fn_by_scheme) - {"http"}:
            del self.key_fn_by_scheme[scheme]  # which refuses it

    def _new_pool(
        self, scheme: str, host: str, port: int, request_context: Optional[Any] = None
    ) -> Any:
        options = dict(self.connection_pool_kw if request_context is None else request_context)
        for name in ("scheme", "host", "port", *urllib3.poolmanager.SSL_KEYWORDS):
            options.pop(name, None)
        return Pool(*self._lease_from, host, port, **options)

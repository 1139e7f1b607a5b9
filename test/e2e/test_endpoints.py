"""Several servers behind one key: how connections are spread, and what happens when servers stop and return."""

import pytest

import berth
from berthd import settle
from processes import free_port, wait_until
from servers import Redis
from upstream import ask
from workers import Workers

pytest.importorskip("grpc")

from control import ctl, rows  # noqa: E402

PING = [{"send": "PING\r\n"}, {"expect": "+PONG\r\n"}]


@pytest.fixture
def servers(folder):
    """servers(n) starts so many."""
    started = []

    def start(count):
        for _ in range(count):
            place = folder / f"redis-{len(started)}"
            place.mkdir()
            started.append(Redis(place))
        return started

    yield start
    for server in started:
        server.kill()


def pool(servers, **settings):
    return {"redis": {"endpoints": [server.url for server in servers], "check": PING, "check_after": "0s",
                      "max_connections": 6, **settings}}


def test_connections_are_spread_evenly(berthd, servers):
    three = servers(3)
    daemon = berthd(pool(three))
    with daemon.session().lease_many("redis", 6):
        assert [daemon.connections_to(server.port) for server in three] == [2, 2, 2]
        assert sorted(row["endpoint"] for row in rows(daemon, "connections")) == sorted(s.url for s in three * 2)


def test_servers_stop_and_return_under_load(berthd, servers, record_property):
    three = servers(3)
    daemon = berthd(pool(three))
    with Workers(daemon) as workers:
        for server in three:
            workers.go_on()
            server.kill()
            workers.go_on(100)
            server.start()
        workers.go_on()
    assert not workers.refused, "the others serve meanwhile"
    met = workers.died + workers.faults
    record_property("met the unavoidable race", f"{len(met)} of {len(workers.done)}")
    assert len(met) <= 3 * 4, met
    session = daemon.session()
    settle(session)

    def shares():
        assert ctl(daemon, "renew", "redis").returncode == 0
        with session.lease_many("redis", 6):
            return [daemon.connections_to(server.port) for server in three]

    # One that has failed has to be over its backoff, and then gets one dial before it gets its share.
    wait_until(lambda: shares() == [2, 2, 2], "all have their share again")


def test_failover_serves_from_the_next_and_returns_to_the_first(berthd, servers):
    first, second = servers(2)
    daemon = berthd(pool([first, second], balance="failover"))
    with Workers(daemon) as workers:
        workers.go_on()
        assert daemon.connections_to(second.port) == 0
        first.kill()
        workers.go_on(100)
        assert daemon.connections_to(second.port) > 0
        first.start()
        wait_until(lambda: daemon.connections_to(second.port) == 0, "all have returned")
        workers.go_on()
        assert daemon.connections_to(first.port) > 0
    assert not workers.refused


def test_only_when_all_servers_are_gone_is_a_request_refused(berthd, upstream):
    nobody = [f"tcp://127.0.0.1:{free_port()}" for _ in range(2)]
    daemon = berthd({"echo": {"endpoints": [*nobody, upstream.url]}, "gone": {"endpoints": nobody}})
    session = daemon.session()
    with session.lease("echo") as lease:
        assert ask(lease.sock) == 1
    with pytest.raises(berth.UpstreamDown) as refused:
        session.lease("gone")
    assert refused.value.why.dial_failures == 2
    assert "Connection refused" in str(refused.value)

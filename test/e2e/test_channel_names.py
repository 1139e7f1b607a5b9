"""Channel pools whose servers are behind a name, that has more addresses one day and fewer the next."""

import pytest

from processes import free_port, wait_until

pytest.importorskip("grpc")

from channels import Gate, GrpcUpstream, Load, socket_of  # noqa: E402
from test_channels import RETRY, dial  # noqa: E402, F401
from test_names import both_resolvers, connections, names, namespaces, place, started  # noqa: E402, F401

HOSTS = ["127.0.0.2", "127.0.0.3", "127.0.0.4"]


@pytest.fixture
def three(place, started):  # noqa: F811
    """Three servers at the same port of three addresses, which they also have for a name."""
    port = free_port()
    return [started(GrpcUpstream(place(), host, port=port, host=host)) for host in HOSTS]


def pool(endpoint, **settings):
    return {"up": {"endpoints": [endpoint], "dns_refresh": "1s", **settings}}


@both_resolvers
def test_servers_that_a_name_gains_and_loses_under_load_fail_no_call(names, three, resolver):  # noqa: F811
    known = names(hosts={"up.test": HOSTS[:1]})
    port = three[0].port
    daemon = known.daemon_of(pool(f"grpc://up.test:{port}", resolver=resolver))
    with Load(socket_of(daemon)) as load:
        load.go_on()
        assert set(load.answers) == set(HOSTS[:1])
        known.server.tell({"up.test": HOSTS})
        since = len(load.answers)
        wait_until(lambda: set(load.answers[since:]) == set(HOSTS), "all three take part")
        known.server.tell({"up.test": HOSTS[1:2]})
        wait_until(lambda: set(connections(daemon, port)) == set(HOSTS[1:2]), "the others are closed")
        # Some answers from before may still be on their way to the list.
        wait_until(lambda: set(load.answers[-100:]) == set(HOSTS[1:2]), "only the one that is left answers")
        assert set(connections(daemon, port)) == set(HOSTS[1:2])
    assert load.errors == []


@both_resolvers
def test_a_call_outlives_the_address_of_its_server_in_a_name(names, three, dial, resolver):  # noqa: F811
    known = names(hosts={"up.test": HOSTS[:1]})
    port = three[0].port
    daemon = known.daemon_of(pool(f"grpc://up.test:{port}", resolver=resolver))
    client = dial(daemon)
    gate = Gate()
    talk = client.both("both", gate)
    gate.give(b"before")
    assert next(talk) == b"before"
    known.server.tell({"up.test": HOSTS[1:2]})
    wait_until(lambda: client.call("who").decode() == HOSTS[1], "new calls go to the new address")
    gate.give(b"after")
    assert next(talk) == b"after"
    gate.end()
    assert list(talk) == []
    wait_until(lambda: set(connections(daemon, port)) == {HOSTS[1]}, "the old one is closed")


def test_a_service_whose_hosts_come_one_after_another_has_them_take_part(names, three, dial):  # noqa: F811
    hosts = {f"s{i}.test": [host] for i, host in enumerate(HOSTS)}
    records = [(f"s{i}.test", three[0].port, 10, 10) for i in range(len(HOSTS))]
    known = names(hosts={"s0.test": HOSTS[:1]}, services={"_grpc._tcp.test": records})
    client = dial(known.daemon_of(pool("grpc://_grpc._tcp.test", resolver="dns")))
    assert client.call("who").decode() == HOSTS[0]
    known.server.tell(hosts)
    wait_until(lambda: {client.call("who").decode() for _ in range(3)} == set(HOSTS), "all three take part")


def test_failover_follows_the_priorities_of_a_service(names, three, dial):  # noqa: F811
    hosts = {f"s{i}.test": [host] for i, host in enumerate(HOSTS)}
    records = [(f"s{i}.test", three[0].port, 30 - 10 * i, 10) for i in range(len(HOSTS))]
    known = names(hosts=hosts, services={"_grpc._tcp.test": records})
    settings = {"resolver": "dns", "balance": "failover", "retry": RETRY}
    client = dial(known.daemon_of(pool("grpc://_grpc._tcp.test", **settings)))
    for server in reversed(three):
        assert {client.call("who").decode() for _ in range(10)} == {server.host}
        server.kill()


def test_the_spare_hosts_of_a_service_serve_while_no_other_works(names, three, dial):  # noqa: F811
    hosts = {f"s{i}.test": [host] for i, host in enumerate(HOSTS)}
    records = [(f"s{i}.test", three[0].port, priority, 10) for i, priority in enumerate((10, 10, 20))]
    known = names(hosts=hosts, services={"_grpc._tcp.test": records})
    settings = {"resolver": "dns", "retry": RETRY}
    client = dial(known.daemon_of(pool("grpc://_grpc._tcp.test", **settings)))
    wait_until(lambda: {client.call("who").decode() for _ in range(10)} == set(HOSTS[:2]), "both of the first")
    for server in three[:2]:
        server.kill()
    assert {client.call("who").decode() for _ in range(10)} == set(HOSTS[2:])
    three[0].start()
    wait_until(lambda: {client.call("who").decode() for _ in range(10)} == set(HOSTS[:1]), "it has all again")

"""Names: who resolves them, what becomes of connections when they change, and several addresses behind one."""

import collections
import contextlib
import json
import socket
import subprocess
import time

import pytest

import berth
from berthd import settle
from processes import free_port, wait_until
from servers import Dnsmasq, Redis, need
from servers import redis as ask_redis
from upstream import Deaf

pytest.importorskip("grpc")

from control import ctl  # noqa: E402

_BIND = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'


@pytest.fixture(autouse=True)
def namespaces(as_root):
    """Skips where the machine makes no mount namespaces."""
    made = subprocess.run([*need("unshare"), "--mount", "mount", "--bind", "/dev/null", "/etc/resolv.conf"],
                          capture_output=True, text=True)
    if made.returncode != 0:
        pytest.skip(f"no mount namespaces here: {made.stderr.strip()}")


@pytest.fixture
def place(folder):
    """place() is another folder."""
    made = []

    def make():
        made.append(folder / f"server-{len(made)}")
        made[-1].mkdir()
        return made[-1]

    return make


@pytest.fixture
def started(berthd):
    """started(server) ends it after the daemon."""
    with contextlib.ExitStack() as stack:
        def keep(server):
            stack.callback(getattr(server, "kill", None) or server.close)
            return server
        yield keep


class Names:
    """A name server, and daemons of which it is the only one."""

    def __init__(self, folder, berthd, started, **names):
        self.server = started(Dnsmasq(folder, **names))
        self.resolv_conf = folder / "resolv.conf"
        self.ask(self.server)
        self._berthd = berthd

    def ask(self, server):
        self.resolv_conf.write_text(f"nameserver {server.address}\n")

    def daemon(self, endpoint, **settings):
        return self.daemon_of({"redis": {"endpoints": [endpoint], "dns_refresh": "1s", "max_connections": 100,
                                         **settings}})

    def daemon_of(self, pools):
        return self._berthd(pools, within=[*need("unshare"), "--mount", "sh", "-c", _BIND, self.resolv_conf])


@pytest.fixture
def names(place, berthd, started):
    """names(hosts={...}, services={...}) has these."""
    return lambda **known: Names(place(), berthd, started, **known)


@pytest.fixture
def two(place, started):
    """Two servers at the same port of two addresses."""
    port = free_port()
    return [started(Redis(place(), host=host, port=port)) for host in ("127.0.0.2", "127.0.0.3")]


def both_resolvers(function):
    return pytest.mark.parametrize("resolver", ["system", "dns"])(function)


def connections(daemon, port):
    """Remote address -> how many connections."""
    found = collections.Counter()
    for row in daemon._tcp_rows(port):
        raw = bytes.fromhex(row[2].split(":")[0])
        found[socket.inet_ntoa(raw[::-1])] += 1
    return found


def closes(daemon, reason):
    done = ctl(daemon, "events", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    return [event for event in events if event.get("close_reason") == f"CLOSE_{reason}"]


@both_resolvers
def test_connections_follow_a_name_to_its_new_address(names, two, resolver):
    known = names(hosts={"redis.test": ["127.0.0.2"]})
    port = two[0].port
    daemon = known.daemon(f"tcp://redis.test:{port}", resolver=resolver)
    session = daemon.session()
    held = session.lease("redis")
    session.lease_many("redis", 3).release()
    settle(session)
    assert connections(daemon, port) == {"127.0.0.2": 4}
    known.server.tell({"redis.test": ["127.0.0.3"]})
    wait_until(lambda: connections(daemon, port) == {"127.0.0.2": 1}, "the idle ones are closed")
    with session.lease("redis") as lease:
        assert connections(daemon, port) == {"127.0.0.2": 1, "127.0.0.3": 1}
        assert ask_redis(lease.sock, "SET", "where", "new") == "OK"
    assert ask_redis(held.sock, "PING") == "PONG", "what is leased works on"
    held.release()
    wait_until(lambda: connections(daemon, port) == {"127.0.0.3": 1}, "and goes when it comes back")
    assert two[1].command("GET", "where") == "new"
    assert len(closes(daemon, "ADDRESS_GONE")) == 4


@both_resolvers
def test_all_addresses_of_a_name_are_used_evenly(names, two, resolver):
    known = names(hosts={"redis.test": ["127.0.0.2", "127.0.0.3"]})
    daemon = known.daemon(f"tcp://redis.test:{two[0].port}", resolver=resolver, dns_refresh="never")
    with daemon.session().lease_many("redis", 20):
        assert connections(daemon, two[0].port) == {"127.0.0.2": 10, "127.0.0.3": 10}


@both_resolvers
def test_an_address_that_is_dead_is_passed_over(names, two, resolver):
    known = names(hosts={"redis.test": ["127.0.0.2", "127.0.0.3"]})
    daemon = known.daemon(f"tcp://redis.test:{two[0].port}", resolver=resolver)
    two[0].kill()
    with daemon.session().lease_many("redis", 10):
        assert connections(daemon, two[0].port) == {"127.0.0.3": 10}


def test_a_dead_ipv6_address_beside_a_live_ipv4_costs_a_quarter_of_a_second(names, redis, started):
    started(Deaf("::1", redis.port))
    known = names(hosts={"both.test": ["::1", "127.0.0.1"]})
    daemon = known.daemon(f"tcp://both.test:{redis.port}", resolver="dns")
    begun = time.monotonic()
    with daemon.session().lease("redis") as lease:
        took = time.monotonic() - begun
        assert ask_redis(lease.sock, "PING") == "PONG"
    assert 0.25 <= took < 2, "well under dial_timeout"
    wait_until(lambda: connections(daemon, redis.port) == {"127.0.0.1": 1}, "nothing else is left over")


def test_a_service_is_dialled_by_priority_and_weight(names, place, started):
    servers = [started(Redis(place(), host=f"127.0.0.{i}")) for i in (2, 3, 4)]
    hosts = {f"s{i}.test": [server.host] for i, server in enumerate(servers)}
    records = [(f"s{i}.test", server.port, priority, weight)
               for i, (server, priority, weight) in enumerate(zip(servers, (10, 10, 20), (30, 10, 90)))]
    known = names(hosts=hosts, services={"_redis._tcp.test": records})
    daemon = known.daemon("tcp://_redis._tcp.test", resolver="dns")
    session = daemon.session()

    def shares():
        return [daemon.connections_to(server.port) for server in servers]

    with session.lease_many("redis", 60):
        often, seldom, never = shares()
        assert often > seldom > 0 and never == 0
    assert ctl(daemon, "renew", "redis").returncode == 0
    for server in servers[:2]:
        server.kill()
    with session.lease_many("redis", 5):
        assert shares() == [0, 0, 5]


def refusal(daemon):
    with pytest.raises(berth.UpstreamDown) as refused:
        daemon.session().lease("redis")
    return str(refused.value)


@pytest.mark.parametrize("resolver, endpoint, words", [
    ("system", "tcp://missing.test:1", 'cannot resolve "missing.test": Name or service not known'),
    ("dns", "tcp://missing.test:1", 'cannot resolve "missing.test": Domain name not found'),
    ("system", "tcp://empty.test:1", 'cannot resolve "empty.test": No address associated with hostname'),
    ("dns", "tcp://empty.test:1", '"empty.test" resolves to no address'),
    ("dns", "tcp://_none._tcp.test", 'cannot resolve "_none._tcp.test": Domain name not found'),
    ("dns", "tcp://_lost._tcp.test", 'cannot resolve "lost.test": Domain name not found'),
])
def test_what_cannot_be_resolved_is_refused_with_the_name_and_the_reason(names, resolver, endpoint, words):
    known = names(hosts={"a.test": ["127.0.0.1"]}, services={"_lost._tcp.test": [("lost.test", 1, 1, 1)]})
    daemon = known.daemon(endpoint, resolver=resolver)
    assert words in refusal(daemon)
    wait_until(lambda: words in daemon.log(), "the log tells it too")


@both_resolvers
def test_a_name_of_a_thousand_addresses_is_served(names, place, started, resolver):
    server = started(Redis(place(), host="0.0.0.0"))
    known = names(hosts={"many.test": [f"127.1.{i // 250}.{i % 250 + 1}" for i in range(1000)]})
    daemon = known.daemon(f"tcp://many.test:{server.port}", resolver=resolver)
    with daemon.session().lease_many("redis", 10) as leases:
        assert all(ask_redis(lease.sock, "PING") == "PONG" for lease in leases)
        assert len(connections(daemon, server.port)) == 10, "each at another address"


@both_resolvers
def test_resolv_conf_is_read_again_when_it_changes(names, place, two, started, resolver):
    known = names(hosts={"redis.test": ["127.0.0.2"]})
    other = started(Dnsmasq(place(), {"redis.test": ["127.0.0.3"]}))
    daemon = known.daemon(f"tcp://redis.test:{two[0].port}", resolver=resolver)
    session = daemon.session()
    session.lease("redis").release()
    settle(session)
    assert connections(daemon, two[0].port) == {"127.0.0.2": 1}
    known.ask(other)
    wait_until(lambda: not connections(daemon, two[0].port), "the former address is gone")
    with session.lease("redis"):
        assert connections(daemon, two[0].port) == {"127.0.0.3": 1}


def timeout_of(session):
    with pytest.raises(berth.TimedOut) as refused:
        session.lease_many("redis", 2, timeout=0.5)
    return str(refused.value)


@both_resolvers
def test_name_servers_stop_and_return(names, redis, resolver):
    known = names(hosts={"redis.test": ["127.0.0.1"]})
    daemon = known.daemon(f"tcp://redis.test:{redis.port}", resolver=resolver)
    session = daemon.session()
    session.lease("redis").release()
    known.server.kill()
    wait_until(lambda: 'cannot resolve "redis.test"' in daemon.log(), "a refresh fails")
    with session.lease("redis") as lease:
        assert lease.reused, "the connection stays"
        assert ask_redis(lease.sock, "PING") == "PONG"
        wait_until(lambda: 'cannot resolve "redis.test"' in timeout_of(session), "a dial fails")
    known.server.start()

    def served():
        with contextlib.suppress(berth.Error), session.lease_many("redis", 2):
            return True

    wait_until(served, "the name is found again")


def test_the_hosts_file_is_enough(names, redis):
    known = names(hosts={})
    known.server.kill()
    daemon = known.daemon(f"tcp://localhost:{redis.port}", resolver="dns")
    with daemon.session().lease("redis") as lease:
        assert ask_redis(lease.sock, "PING") == "PONG"
    known.server.start()


def test_a_service_as_a_key_is_refused_where_the_system_resolves(berthd):
    with pytest.raises(berth.Error, match='resolver = "dns" only'):
        berthd().session().lease("tcp://_redis._tcp.test")

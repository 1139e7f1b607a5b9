"""Connections through SOCKS5 and HTTP proxies: microsocks and tinyproxy, and some that misbehave."""

import contextlib
import smtplib
import socket
import subprocess

import pytest

import berth
from berthd import BERTHD
from processes import disconnect, free_port, wait_readable, wait_until
from servers import Exim, Microsocks, Redis, Tinyproxy, redis
from upstream import Deaf, Mute, Upstream, ask, read_line

USER, PASSWORD = "alice", "sesame-4711"
KINDS = [Microsocks, Tinyproxy]


@pytest.fixture
def start(folder):
    """start(Server, **options) starts one."""
    started = []

    def begin(server, **options):
        place = folder / f"{server.__name__.lower()}-{len(started)}"
        place.mkdir()
        started.append(server(place, **options))
        return started[-1]

    yield begin
    for server in started:
        server.kill()


@pytest.fixture
def redis_server(start):
    return start(Redis)


@pytest.fixture(params=KINDS, ids=lambda kind: kind.scheme)
def proxy(request, start):
    return start(request.param)


@pytest.fixture(params=KINDS, ids=lambda kind: kind.scheme)
def guarded(request, start):
    """One that wants a user and a password."""
    return start(request.param, user=USER, password=PASSWORD)


def via(proxy, folder=None, password=PASSWORD):
    """The settings that lead through it; with a folder for its password, as that user."""
    if folder is None:
        return {"via": proxy.url}
    file = folder / "proxy-password"
    file.write_text(password + "\n")
    file.chmod(0o600)
    return {"via": f"{proxy.scheme}://{USER}@{proxy.address}", "via_password_file": str(file)}


def pools(server, **settings):
    """One through a proxy, and one beside it that goes straight to the same server."""
    return {"far": {"endpoints": [server.url], **settings}, "near": {"endpoints": [server.url]}}


def refusal(session, key="far", **options):
    with pytest.raises(berth.UpstreamDown) as refused:
        session.lease(key, **options)
    return refused.value


def lets_others_be(session):
    with session.lease("near") as lease:
        return redis(lease.sock, "PING") == "PONG"


# --- proxies that serve ---


def test_a_lease_leads_through_the_proxy_to_the_server(berthd, redis_server, proxy):
    daemon = berthd(pools(redis_server, **via(proxy)))
    session = daemon.session()
    for n in range(5):
        with session.lease("far") as lease:
            assert lease.reused == (n > 0)
            assert redis(lease.sock, "INCR", "count") == n + 1
            assert lease.sock.getpeername() == ("127.0.0.1", proxy.port)
    assert redis_server.connections() == 1
    assert (daemon.connections_to(proxy.port), daemon.connections_to(redis_server.port)) == (1, 0)
    assert lets_others_be(session)


def test_the_proxy_asks_for_user_and_password_and_gets_them(berthd, redis_server, guarded, folder):
    daemon = berthd(pools(redis_server, **via(guarded, folder)))
    with daemon.session().lease("far") as lease:
        assert redis(lease.sock, "PING") == "PONG"


def test_user_and_password_are_kept_from_a_socks_proxy_that_does_not_ask(berthd, redis_server, start, folder):
    daemon = berthd(pools(redis_server, **via(start(Microsocks), folder)))
    with daemon.session().lease("far") as lease:
        assert redis(lease.sock, "PING") == "PONG"


def test_the_proxy_looks_up_the_names_of_servers(berthd, redis_server, proxy):
    daemon = berthd({"far": {"endpoints": [f"tcp://localhost:{redis_server.port}"], **via(proxy)}})
    with daemon.session().lease("far") as lease:
        assert redis(lease.sock, "PING") == "PONG"


def test_the_name_of_the_proxy_is_looked_up_here(berthd, redis_server, proxy):
    daemon = berthd(pools(redis_server, via=f"{proxy.scheme}://localhost:{proxy.port}"))
    with daemon.session().lease("far") as lease:
        assert redis(lease.sock, "PING") == "PONG"


def test_what_a_server_says_first_is_left_for_its_client(berthd, start, proxy):
    session = berthd(pools(start(Exim), warm="single-use", min_idle=2, **via(proxy))).session()
    for _ in range(5):
        with session.lease("far") as lease:
            client = smtplib.SMTP(local_hostname="client.example")
            client.sock, client.file = lease.sock, None
            code, text = client.getreply()
            assert (code, text.startswith(b"mail.example ESMTP")) == (220, True)
            assert client.ehlo()[0] == 250


def test_greeting_login_reset_and_check_run_through_it(berthd, start, proxy):
    daemon = berthd(pools(start(Exim), max_connections=1, check_after="0s",
                          greeting=[{"expect_re": "220 mail.example ESMTP .*"}],
                          login=[{"send": "EHLO berth.example\r\n"}, {"until_re": "^250 .*\n"}],
                          check=[{"send": "NOOP\r\n"}, {"expect_re": "250 .*"}],
                          reset=[{"send": "RSET\r\n"}, {"expect_re": "250 .*"}], **via(proxy)))
    session = daemon.session()
    for n in range(3):
        with session.lease("far") as lease:
            assert lease.reused == (n > 0)
            assert not wait_readable(lease.sock, 0.05)
            client = smtplib.SMTP(local_hostname="client.example")
            client.sock, client.file = lease.sock, None
            assert client.docmd("MAIL", "FROM:<one@example.org>")[0] == 250


def test_many_connections_are_dialled_through_it_at_once(berthd, redis_server, proxy):
    daemon = berthd(pools(redis_server, max_connections=40, **via(proxy)))
    with daemon.session().lease_many("far", 40) as leases:
        for lease in leases:
            assert redis(lease.sock, "PING") == "PONG"
        assert daemon.connections_to(proxy.port) == 40


def test_a_unix_socket_beside_a_host_is_dialled_without_it(berthd, folder, proxy):
    with contextlib.closing(Upstream(str(folder / "server.sock"))) as server:
        daemon = berthd({"far": {"endpoints": [server.url, "tcp://127.0.0.1:1"], "balance": "failover", **via(proxy)}})
        with daemon.session().lease("far") as lease:
            assert ask(lease.sock) == 1


def test_urls_as_keys_lead_through_it_too_but_not_to_unix_sockets(berthd, redis_server, memcached, proxy):
    daemon = berthd(dynamic=via(proxy))
    session = daemon.session()
    with session.lease(redis_server.url) as lease:
        assert redis(lease.sock, "PING") == "PONG"
        assert daemon.connections_to(proxy.port) == 1
    with session.lease(memcached.url) as lease:
        lease.sock.sendall(b"version\r\n")
        assert read_line(lease.sock).startswith(b"VERSION")
    daemon.reload({}, dynamic={"via": f"{proxy.scheme}://127.0.0.1:1"})
    assert "127.0.0.1:1" in refusal(session, redis_server.url).why.last_dial_error


def test_a_holder_cannot_ask_the_proxy_for_another_server(berthd, redis_server, proxy):
    daemon = berthd(pools(redis_server, **via(proxy)))
    if "not pinned" in daemon.log():
        pytest.skip("this process may not pin sockets")
    with daemon.session().lease("far") as lease:
        disconnect(lease.sock)
        lease.sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            lease.sock.connect(("127.0.0.1", proxy.port))
    with daemon.session().lease("far") as lease:
        assert not lease.reused
        assert redis(lease.sock, "PING") == "PONG"


# --- proxies that refuse ---


def test_a_wrong_password_is_told_and_stays_secret(berthd, redis_server, guarded, folder):
    wrong = "swordfish-0815"
    daemon = berthd(pools(redis_server, **via(guarded, folder, wrong)))
    session = daemon.session()
    error = refusal(session)
    told = {"socks5": "user or password is wrong (", "http": "it does not accept this user and password (40"}
    assert f"proxy {guarded.url} refuses a connection to 127.0.0.1:{redis_server.port}: " in error.why.last_dial_error
    assert told[guarded.scheme] in error.why.last_dial_error
    wait_until(lambda: told[guarded.scheme] in daemon.log(), "it is logged")
    assert error.why.cause == berth.Cause.UPSTREAM_DOWN
    for text in str(error), str(error.why), daemon.log():
        assert wrong not in text and PASSWORD not in text
    assert lets_others_be(session)


def test_a_login_that_is_wanted_but_not_configured_is_told(berthd, redis_server, guarded):
    told = {"socks5": "it wants a user and a password, or another proof",
            "http": "it wants a user and a password (407 "}
    session = berthd(pools(redis_server, **via(guarded))).session()
    assert told[guarded.scheme] in refusal(session).why.last_dial_error
    assert lets_others_be(session)


def test_a_server_that_the_proxy_cannot_reach_is_told(berthd, redis_server, proxy):
    port = free_port()
    told = {"socks5": "connection refused by the server (5)", "http": "it has failed (500 "}
    daemon = berthd({**pools(redis_server), "far": {"endpoints": [f"tcp://127.0.0.1:{port}"], **via(proxy)}})
    session = daemon.session()
    error = refusal(session).why.last_dial_error
    assert error.startswith(f"proxy {proxy.url} refuses a connection to 127.0.0.1:{port}: {told[proxy.scheme]}"), error
    assert lets_others_be(session)


def test_a_port_that_the_proxy_does_not_allow_is_told(berthd, redis_server, start):
    proxy = start(Tinyproxy, ports=[443])
    session = berthd(pools(redis_server, **via(proxy))).session()
    assert "it does not allow it (403 " in refusal(session).why.last_dial_error
    assert lets_others_be(session)


# --- proxies that misbehave ---


@pytest.mark.parametrize("scheme", ["socks5", "http"])
@pytest.mark.parametrize("kind, words", [(Mute, "no answer within"),
                                         (Deaf, "no connection within 300 ms (dial_timeout) through")])
def test_one_that_hangs_is_given_up_after_dial_timeout(berthd, redis_server, scheme, kind, words):
    with contextlib.closing(kind()) as hanging:
        proxy = f"{scheme}://127.0.0.1:{hanging.port}"
        daemon = berthd(pools(redis_server, via=proxy, dial_timeout="300ms"))
        session = daemon.session()
        error = refusal(session, timeout=10).why.last_dial_error
        assert f"proxy {proxy}" in error and words in error, error
        assert lets_others_be(session)


@pytest.mark.parametrize("scheme, words", [("socks5", 'it does not speak SOCKS5, but says "SS"'),
                                           ("http", 'it does not speak HTTP, but says "SSH-2.0-')])
def test_another_server_in_its_place_is_told_with_what_it_said(berthd, redis_server, sshd, scheme, words):
    session = berthd(pools(redis_server, via=f"{scheme}://127.0.0.1:{sshd.port}")).session()
    assert words in refusal(session).why.last_dial_error
    assert lets_others_be(session)


@pytest.mark.parametrize("scheme", ["socks5", "http"])
def test_one_that_hangs_up_is_told(berthd, redis_server, scheme):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        daemon = berthd(pools(redis_server, via=f"{scheme}://127.0.0.1:{port}"))
        raw = daemon.raw()
        raw.request("far")
        listener.settimeout(20)
        listener.accept()[0].close()
        told = raw.receive().why.last_dial_error
    assert f"proxy {scheme}://127.0.0.1:{port} gives no connection to 127.0.0.1:{redis_server.port}: " in told
    assert "it closed the connection" in told


@pytest.mark.parametrize("scheme", ["socks5", "http"])
def test_failed_handshakes_leave_nothing_behind(berthd, redis_server, upstream, scheme):
    """That one answers nonsense to lines, and nothing to what is none."""
    daemon = berthd()
    daemon.reload(pools(redis_server, via=f"{scheme}://127.0.0.1:{upstream.port}", dial_timeout="50ms", min_idle=4))
    wait_until(lambda: upstream.accepted >= 8, "some dials")
    daemon.reload({})
    wait_until(lambda: not upstream.open and len(daemon.fds()) == daemon.fds_at_start, "all are closed")


def test_a_proxy_is_killed_and_returns(berthd, redis_server, proxy):
    daemon = berthd(pools(redis_server, min_idle=2, check=[{"send": "PING\r\n"}, {"expect": "+PONG\r\n"}],
                          check_after="0s", **via(proxy)))
    session = daemon.session()
    assert lets_others_be(session)
    for _ in range(3):
        with session.lease("far", timeout=15) as lease:
            assert redis(lease.sock, "PING") == "PONG"
        proxy.kill()
        gone = f"proxy {proxy.url}: connect to {proxy.address}: Connection refused"
        wait_until(lambda: refusal(session).why.last_dial_error == gone, "dials meet nobody")
        assert lets_others_be(session)
        proxy.start()

        def serves():
            with contextlib.suppress(berth.UpstreamDown):
                with session.lease("far") as lease:
                    return redis(lease.sock, "PING") == "PONG"
        wait_until(serves, "leases lead through it again")


# --- reload, and the configuration ---


def test_another_proxy_renews_the_pool(berthd, redis_server, start):
    one, two = start(Microsocks), start(Tinyproxy)
    daemon = berthd(pools(redis_server, min_idle=2, **via(one)))
    wait_until(lambda: daemon.connections_to(one.port) == 2, "min_idle is there")
    daemon.reload(pools(redis_server, min_idle=2, **via(two)))
    wait_until(lambda: daemon.connections_to(two.port) == 2, "it is there through the other")
    wait_until(lambda: daemon.connections_to(one.port) == 0, "and no more through the first")
    daemon.reload(pools(redis_server, min_idle=2))
    wait_until(lambda: daemon.connections_to(redis_server.port) == 2, "and straight")


def test_a_changed_password_is_read_at_reload(berthd, redis_server, guarded, folder):
    daemon = berthd(pools(redis_server, **via(guarded, folder, "wrong")))
    session = daemon.session()
    refusal(session)
    daemon.reload(pools(redis_server, **via(guarded, folder)))
    with session.lease("far") as lease:
        assert redis(lease.sock, "PING") == "PONG"


def checked(folder, settings):
    config = folder / "checked.toml"
    lines = "\n".join(f'{name} = "{value}"' for name, value in settings.items())
    config.write_text(f'[pool.far]\nendpoints = ["tcp://db.example:5432"]\nallow_users = [0]\n{lines}\n')
    return subprocess.run([BERTHD, "--config", config, "--check-config"], capture_output=True, text=True, timeout=20)


def test_a_password_is_not_printed_and_not_taken_from_a_url_nor_from_a_file_for_all(folder):
    proxy = {"via": "http://alice@proxy:3128", "via_password_file": str(folder / "password")}
    (folder / "password").write_text(PASSWORD)
    (folder / "password").chmod(0o600)
    done = checked(folder, proxy)
    assert done.returncode == 0 and 'via = "http://alice@proxy:3128"' in done.stdout
    assert PASSWORD not in done.stdout + done.stderr
    (folder / "password").chmod(0o644)
    done = checked(folder, proxy)
    assert done.returncode == 78 and "is open to all (mode 0644)" in done.stderr
    done = checked(folder, {"via": f"http://alice:{PASSWORD}@proxy:3128"})
    assert done.returncode == 78 and "via_password_file" in done.stderr
    assert PASSWORD not in done.stdout + done.stderr

"""Lease sockets of tenants: who reaches one may lease what it names, whatever his user id is."""

import os
import subprocess

import pytest

import berth
from berthd import BERTH
from processes import NOBODY, wait_until
from servers import need
from upstream import ask

DAEMON = 1


def use(parent, path, key="echo"):
    """The number of the connection that this process got, or what it was told instead."""
    try:
        with berth.Session(path) as session, session.lease(key) as lease:
            return ask(lease.sock)
    except berth.Error as error:
        return type(error).__name__, str(error)


def start(berthd, upstream, folder, *tenants, **settings):
    """A daemon for all users of the host whose socket for all serves nobody."""
    sockets = {name: {"path": str(folder / f"{name}.sock"), "mode": "0666", "keys": ["echo"]} for name in tenants}
    pools = {"echo": {"endpoints": [upstream.url], **settings},
             "secret": {"endpoints": [upstream.url], "allow_users": [0]}}
    return berthd(pools, user=False, sockets=sockets)


def test_whoever_reaches_the_socket_may_lease_its_keys(as_root, berthd, upstream, folder, child):
    start(berthd, upstream, folder, "app")
    for uid in NOBODY, DAEMON, 0:
        assert isinstance(child(use, folder / "app.sock", uid=uid).result(), int)


def test_and_nothing_else_not_even_what_his_user_may_lease_elsewhere(as_root, berthd, upstream, folder, child):
    daemon = start(berthd, upstream, folder, "app")
    kind, words = child(use, folder / "app.sock", "secret", uid=0).result()
    assert kind == "NotPermitted" and 'keys of [socket.app] do not name "secret"' in words
    with berth.Session(folder / "app.sock") as session:
        assert session.keys() == ["echo"]
    assert child(use, daemon.path, "echo", uid=0).result()[0] == "NotPermitted"
    assert isinstance(child(use, daemon.path, "secret", uid=0).result(), int)


def test_the_same_user_of_two_tenants_never_shares_a_connection(berthd, upstream, folder):
    start(berthd, upstream, folder, "one", "two", max_connections=2)
    numbers = [use(None, folder / f"{name}.sock") for name in ["one", "two"] * 3]
    assert numbers == [1, 2] * 3


def test_the_file_has_the_owner_and_the_mode_that_were_asked_for(as_root, berthd, upstream, folder, child):
    path = folder / "app.sock"
    berthd({"echo": {"endpoints": [upstream.url]}}, user=False,
           sockets={"app": {"path": str(path), "mode": "0640", "owner": f"daemon:{NOBODY}", "keys": ["echo"]}})
    status = os.stat(path)
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (DAEMON, NOBODY, 0o640)
    assert isinstance(child(use, path, uid=DAEMON).result(), int)
    assert child(use, path, uid=2).result()[0] == "NotPermitted"


def test_keys_that_are_taken_away_by_a_reload_are_refused_from_then_on(berthd, upstream, folder):
    path = folder / "app.sock"
    pools = {"echo": {"endpoints": [upstream.url]}}
    tenant = {"path": str(path), "keys": ["echo"]}
    daemon = berthd(pools, user=False, sockets={"app": tenant})
    with berth.Session(path) as session:
        with session.lease("echo"):
            daemon.reload(pools, sockets={"app": {**tenant, "keys": []}})
        with pytest.raises(berth.NotPermitted):
            session.lease("echo")
        daemon.reload(pools, sockets={"app": tenant})
        with session.lease("echo"):
            pass


def test_a_socket_that_a_reload_adds_or_moves_waits_for_the_restart(berthd, upstream, folder):
    pools = {"echo": {"endpoints": [upstream.url]}}
    daemon = berthd(pools, user=False, sockets={"app": {"path": str(folder / "app.sock"), "keys": ["echo"]}})
    daemon.reload(pools, sockets={"app": {"path": str(folder / "moved.sock"), "keys": ["echo"]},
                                  "new": {"path": str(folder / "new.sock"), "keys": ["echo"]}})
    assert "[socket.app], [socket.new]" in daemon.log()
    assert use(None, folder / "app.sock") == 1
    assert not (folder / "moved.sock").exists() and not (folder / "new.sock").exists()


def test_a_path_that_is_in_use_keeps_it_from_starting_and_is_named(berthd, upstream, folder):
    start(berthd, upstream, folder, "app")
    with pytest.raises(AssertionError) as ended:
        start(berthd, upstream, folder, "app")
    assert f"listen on {folder}/app.sock: another process serves this socket" in str(ended.value)
    assert use(None, folder / "app.sock") == 1


@pytest.mark.parametrize("make", ["file", "folder"])
def test_a_path_where_something_else_is_leaves_that_alone(berthd, upstream, folder, make):
    path = folder / "app.sock"
    path.mkdir() if make == "folder" else path.write_text("precious")
    with pytest.raises(AssertionError) as ended:
        start(berthd, upstream, folder, "app")
    assert f"listen on {path}: a file that is not a socket is there" in str(ended.value)
    assert path.is_dir() if make == "folder" else path.read_text() == "precious"


def test_a_container_with_ids_of_its_own_leases_by_its_socket(as_root, berthd, upstream, folder):
    """Namespaces for users, processes and the network, as containers have them."""
    daemon = start(berthd, upstream, folder, "app", sandbox="pinned")
    within = [*need("unshare"), "--user", "--map-root-user", "--pid", "--fork", "--net"]
    done = subprocess.run([*within, BERTH, "pipe", "echo"], input=b"", timeout=20, capture_output=True,
                          env={**os.environ, "BERTH_SOCKET": str(folder / "app.sock")})
    assert (done.returncode, done.stderr) == (0, b"")
    assert upstream.accepted == 1
    done = subprocess.run([*within, BERTH, "pipe", "secret"], timeout=20, capture_output=True, text=True,
                          env={**os.environ, "BERTH_SOCKET": str(folder / "app.sock")})
    assert done.returncode == 77 and "do not name" in done.stderr, done
    wait_until(daemon.has_no_sessions, "its sessions have ended")


def test_denials_are_logged_with_who_asked_for_what_but_not_without_end(as_root, berthd, upstream, folder, child):
    daemon = start(berthd, upstream, folder, "app")

    def insist(parent, path):
        with berth.Session(path) as session:
            for _ in range(50):
                with pytest.raises(berth.NotPermitted):
                    session.lease("secret")
        return os.getpid()

    pid = child(insist, daemon.path, uid=NOBODY).result()
    lines = [line for line in daemon.log().splitlines() if "denied:" in line]
    assert len(lines) == 5
    assert all(f"pid {pid} " in line and f'(uid {NOBODY}) asks for "secret"' in line for line in lines)


# --- URLs as keys, on a daemon for all ---

def test_a_system_daemon_has_no_url_keys_unless_told(as_root, berthd, upstream):
    daemon = berthd({}, user=False)
    assert use(None, daemon.path, upstream.url)[0] == "NoSuchKey"


def test_urls_that_are_allowed_serve_as_keys_for_those_who_may(as_root, berthd, upstream, other_upstream, child):
    dynamic = {"allow": [f"tcp://*:{upstream.port}"], "allow_users": [NOBODY], "max_connections": 1}
    daemon = berthd({}, user=False, dynamic=dynamic)
    assert child(use, daemon.path, upstream.url.upper().replace("TCP", "tcp"), uid=NOBODY).result() == 1
    kind, words = child(use, daemon.path, other_upstream.url, uid=NOBODY).result()
    assert kind == "NotPermitted" and f"nothing in allow of [dynamic] matches {other_upstream.url}" in words
    assert other_upstream.accepted == 0
    assert child(use, daemon.path, upstream.url, uid=0).result()[0] == "NotPermitted"
    assert child(use, daemon.path, "slot", uid=NOBODY).result()[0] == "NoSuchKey"


def test_odd_urls_are_refused_and_make_no_pool(berthd, upstream):
    daemon = berthd()
    with daemon.session() as session:
        for key in ["tcp://", "tcp://h", "tcp://h:0", "tcp://h:99999", "tcp://[::1:1", "tcp://h:1/path", "http://h:1",
                    "unix://relative", "://", "tcp://" + "x" * 254 + ":1", "unix:///" + "x" * 108]:
            with pytest.raises(berth.Error) as refused:
                session.lease(key)
            assert isinstance(refused.value, (berth.InvalidRequest, berth.NoSuchKey)), key
        assert session.keys() == []


def test_a_reload_that_forbids_a_url_ends_its_pool(as_root, berthd, upstream):
    allowed = {"allow": ["tcp://127.0.0.1:*"], "allow_users": [0]}
    daemon = berthd({}, user=False, dynamic=allowed)
    with daemon.session() as session:
        with session.lease(upstream.url) as lease:
            daemon.reload({}, dynamic={**allowed, "allow": ["tcp://127.0.0.2:*"]})
            ask(lease.sock)
        with pytest.raises(berth.NotPermitted):
            session.lease(upstream.url)
        wait_until(lambda: not upstream.open, "its connections are closed")


def test_endless_new_keys_meet_a_bound_and_harm_nobody(berthd, upstream):
    daemon = berthd({"echo": {"endpoints": [upstream.url]}})
    with daemon.session() as session:
        for port in range(20000, 21100):
            with pytest.raises(berth.Error):
                session.lease(f"tcp://127.0.0.1:{port}", timeout=0)
        assert len(session.keys()) <= 1001
        with session.lease("echo") as lease:
            ask(lease.sock)

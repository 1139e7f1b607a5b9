"""Programs that connect and log in: dial_command and login_command."""

import os
import pathlib
import re
import signal
import socket
import sys
import threading

import pytest

import berth
from berth import _frames as frames
from berthd import TOP, settle
from processes import NOBODY, disconnect, free_port, wait_readable, wait_until
from servers import Redis, need, redis
from upstream import ask, read_line

PASSWORD = "sesame-4711"

# What the programs of these stories begin with.
PRELUDE = f"""#!{sys.executable}
import os, signal, socket, subprocess, sys

def connect():
    return socket.create_connection((os.environ["BERTH_HOST"], int(os.environ["BERTH_PORT"])))

def give(*passed):
    socket.send_fds(socket.socket(fileno=os.dup(1)), [b"x"], [each.fileno() for each in passed])

"""


@pytest.fixture
def program(folder):
    """program(text) is the path of a program in Python."""
    written = []

    def write(text):
        path = folder / f"program-{len(written)}.py"
        path.write_text(PRELUDE + text)
        path.chmod(0o755)
        written.append(path)
        return str(path)

    return write


@pytest.fixture
def guarded(folder):
    """A Redis that wants a password."""
    server = Redis(folder, PASSWORD)
    yield server
    server.kill()


def pool(server, *command, **settings):
    return {"up": {"endpoints": [server.url], "dial_command": list(command), **settings}}


def children(daemon):
    """The pids of its children, those that nobody has reaped too."""
    found = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == daemon.pid:
            found.append(int(stat.parent.name))
    return found


def is_dead(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def has_let_go(daemon):
    """Neither children nor descriptors are left of what its programs did."""
    wait_until(lambda: not children(daemon), "no children are left")
    wait_until(lambda: len(daemon.fds()) == daemon.fds_at_start, "no descriptors are left")


def refusal(daemon, key="up", timeout=5):
    with pytest.raises(berth.Error) as refused, daemon.session() as session:
        session.lease(key, timeout=timeout)
    return str(refused.value)


# --- a program connects ---


def test_what_a_program_has_connected_is_leased_as_any_other_connection(berthd, redis, program):
    daemon = berthd(pool(redis, program("give(connect())"), idle_timeout="100ms"))
    session = daemon.session()
    with session.lease("up") as lease:
        assert lease.sock.getpeername() == ("127.0.0.1", redis.port)
        assert lease.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert lease.sock.getblocking()
        assert redis_says(lease, "SET", "key", "1") == "OK"
    with session.lease("up") as lease:
        assert lease.reused and redis_says(lease, "GET", "key") == "1"
    assert redis.connections() == 1
    session.close()
    has_let_go(daemon)


def redis_says(lease, *words):
    return redis(lease.sock, *words)


def test_netcat_is_such_a_program(berthd, upstream):
    daemon = berthd(pool(upstream, *need("nc.openbsd"), "-F", "%h", "%p"))
    with daemon.session().lease("up") as lease:
        assert ask(lease.sock) == 1


def test_the_program_of_the_manual_is_one(berthd, upstream, folder):
    page = (TOP / "man/berthd.toml.5").read_text()
    text = re.search(r"^(#!/usr/bin/python3\n.*?)^\.Ed", page, re.MULTILINE | re.DOTALL)[1].replace(r"\e", "\\")
    gate = socket.create_server(("127.0.0.1", 0))
    text = text.replace('("gate.example", 7000)', repr(gate.getsockname()))
    path = folder / "through-gate"
    path.write_text(text.replace("/usr/bin/python3", sys.executable))
    path.chmod(0o755)
    asked = []

    def serve():
        for answer in (b"NO\n", b"OK\n"):
            there, _ = gate.accept()
            asked.append(read_line(there))
            there.sendall(answer)
        assert there.recv(6) == b"hello\n"
        there.sendall(b"from behind\n")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    daemon = berthd({"inner": {"endpoints": ["tcp://db.inner:5432"], "dial_command": [str(path), "%h", "%p"],
                               "fail_fast": False}})
    with daemon.session().lease("inner", timeout=10) as lease:
        lease.sock.sendall(b"hello\n")
        assert read_line(lease.sock) == b"from behind"
    refused = "through-gate exited with status 1: the gate lets nobody through to db.inner"
    wait_until(lambda: refused in daemon.log(), "the first answer is logged")
    assert asked == [b"db.inner 5432"] * 2
    thread.join()
    gate.close()


def test_a_connection_to_a_unix_socket_may_be_passed_too(berthd, memcached, program):
    path = program("""
there = socket.socket(socket.AF_UNIX)
there.connect(sys.argv[1])
give(there)
""")
    daemon = berthd(pool(memcached, path, "%h"))
    with daemon.session().lease("up") as lease:
        lease.sock.sendall(b"version\r\n")
        assert read_line(lease.sock).startswith(b"VERSION ")


def test_a_program_is_told_what_it_is_for_and_gets_nothing_else(berthd, upstream, program, folder):
    path = program(f"""
out = open("{folder}/seen", "w")
fds = [fd for fd in map(int, os.listdir("/proc/self/fd")) if os.path.exists(f"/proc/self/fd/{{fd}}")]
print(repr((sys.argv[1:], dict(os.environ), os.getcwd(), os.readlink("/proc/self/fd/0"), sorted(fds),
            os.getsid(0) == os.getpgid(0) == os.getpid())), file=out, flush=True)
give(connect())
""")
    daemon = berthd(pool(upstream, path, "--to=%h:%p", "100%%", "a b"), environment={"PATH": "/usr/bin:/bin"},
                    within=[sys.executable, "-c", INHERITED])
    with daemon.session().lease("up") as lease:
        assert ask(lease.sock) == 1
    words, environment, folder_of, stdin, fds, leads = eval((folder / "seen").read_text())  # our own text
    assert words == [f"--to=127.0.0.1:{upstream.port}", "100%", "a b"]
    environment.pop("LC_CTYPE", None)  # Python's own
    assert environment == {"PATH": "/usr/bin:/bin", "BERTH_KEY": "up", "BERTH_ENDPOINT": upstream.url,
                           "BERTH_HOST": "127.0.0.1", "BERTH_PORT": str(upstream.port)}
    assert (folder_of, stdin, leads) == ("/", "/dev/null", True)
    assert fds == [0, 1, 2, 3]  # the last is the file in which it tells


# Runs a program with descriptors of which it knows nothing.
INHERITED = """
import os, sys
for number in (40, 41):
    os.dup2(os.open("/", os.O_RDONLY), number)
os.execvp(sys.argv[1], sys.argv[1:])
"""


def test_a_program_has_none_of_the_capabilities_that_the_daemon_was_given(as_root, berthd, upstream, program, folder):
    seen = folder / "seen"
    seen.touch()
    seen.chmod(0o666)
    path = program(f"""
with open("{seen}", "w") as out, open("/proc/self/status") as status:
    out.writelines(line for line in status if line.startswith(("CapPrm", "CapEff", "CapAmb", "Uid")))
give(connect())
""")
    daemon = berthd(pool(upstream, path, min_idle=1), uid=NOBODY,
                    within=["--inh-caps=+net_admin", "--ambient-caps=+net_admin"])
    status = pathlib.Path(f"/proc/{daemon.pid}/status").read_text()
    assert int(re.search(r"CapEff:\s*(\w+)", status)[1], 16) == 1 << 12, "the daemon has kept its own"
    wait_until(lambda: "CapAmb" in seen.read_text(), "the program has run")
    assert set(re.findall(r"Cap\w+:\s*(\w+)", seen.read_text())) == {"0" * 16}
    assert f"Uid:\t{NOBODY}" in seen.read_text()


def test_the_name_of_the_endpoint_is_for_the_program_to_resolve(berthd, upstream, program):
    path = program(f"give(socket.create_connection(('127.0.0.1', {upstream.port})))")
    daemon = berthd({"up": {"endpoints": ["tcp://nowhere.invalid:1"], "dial_command": [path]}})
    with daemon.session().lease("up") as lease:
        assert ask(lease.sock) == 1


def test_what_a_lessee_did_to_it_is_judged_as_elsewhere(berthd, upstream, program):
    daemon = berthd(pool(upstream, program("give(connect())"), max_connections=1))
    session = daemon.session()
    with session.lease("up") as lease:
        assert ask(lease.sock) == 1
        disconnect(lease.sock)
    with session.lease("up") as lease:
        assert ask(lease.sock) == 2 and not lease.reused
        lease.sock.sendall(b"who reads this?\n")
        assert wait_readable(lease.sock)
    with session.lease("up") as lease:
        assert ask(lease.sock) == 3 and not lease.reused
    wait_until(lambda: daemon.log().count("came back dirty") == 2, "both were found dirty")


def test_another_program_renews_the_pool(berthd, upstream, other_upstream, program):
    to = "give(socket.create_connection(('127.0.0.1', int(sys.argv[1]))))"
    path = program(to)
    daemon = berthd(pool(upstream, path, str(upstream.port)))
    session = daemon.session()
    with session.lease("up") as lease:
        ask(lease.sock)
    daemon.reload(pool(upstream, path, str(other_upstream.port)))
    wait_until(lambda: not upstream.open, "the old connection is closed")
    with session.lease("up") as lease:
        assert ask(lease.sock) == 1
    assert other_upstream.accepted == 1


def test_a_server_hears_the_end_although_the_program_keeps_a_duplicate(berthd, upstream, program):
    daemon = berthd(pool(upstream, program("give(connect())\nsignal.pause()"), max_idle="none"))
    with daemon.session().lease("up") as lease:
        ask(lease.sock)
    wait_until(lambda: not upstream.open, "it is closed")


# --- what else a program may do ---


WRONG = {
    "nothing": ("pass", "ended without passing a descriptor"),
    "text": ("print('connected', flush=True); signal.pause()", "passed bytes instead of a descriptor"),
    "two": ("give(connect(), connect()); signal.pause()", "passed 2 descriptors"),
    "many": ("give(*[connect()] * 20); signal.pause()", "passed more than 8 descriptors"),
    "file": ("give(open('/etc/passwd')); signal.pause()", "passed a regular file, not a socket"),
    "pipe": ("give(open(os.pipe()[0])); signal.pause()", "passed a pipe, not a socket"),
    "listening": ("give(socket.create_server(('127.0.0.1', 0)))", "passed a listening socket"),
    "datagram": ("give(socket.socket(type=socket.SOCK_DGRAM))", "passed a datagram socket"),
    "unconnected": ("give(socket.socket())", "passed a socket that is not connected"),
    "shut down": ("there = connect(); there.shutdown(socket.SHUT_RD); give(there)",
                  "passed a connection that is closed already"),
    "fails": ("sys.exit('no route to host')", "exited with status 1: no route to host"),
    "dies": ("os.kill(os.getpid(), signal.SIGSEGV)", "was killed by signal 11"),
    "closes": ("os.close(1); sys.exit('thought better of it')", "exited with status 1: thought better of it"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_program_that_passes_no_connection_is_a_failed_dial_that_says_why(berthd, upstream, program, wrong):
    text, expected = WRONG[wrong]
    path = program(text)
    daemon = berthd({**pool(upstream, path), "echo": {"endpoints": [upstream.url], "idle_timeout": "50ms"}})
    told = refusal(daemon)
    assert f"{upstream.url}: dial_command: {pathlib.Path(path).name} {expected}" in told
    wait_until(lambda: expected in daemon.log(), "it is logged")
    with daemon.session() as session:
        session.lease("echo").release()
    has_let_go(daemon)


def test_a_program_that_is_gone_is_told(berthd, upstream, program):
    path = program("give(connect())")
    daemon = berthd(pool(upstream, path))
    os.unlink(path)
    assert "program-0.py cannot be started: No such file or directory" in refusal(daemon)
    has_let_go(daemon)


def test_a_program_that_is_not_there_is_an_error_of_the_configuration(berthd, upstream, program):
    path = program("give(connect())")
    daemon = berthd(pool(upstream, path))
    os.unlink(path)
    daemon.hang_up(daemon.config.read_text(), "nothing has changed")
    wait_until(lambda: f'dial_command: "{path}": No such file or directory' in daemon.log(), "it is logged")


def test_a_program_that_hangs_ends_with_the_dial_and_with_all_that_it_has_started(berthd, upstream, program, folder):
    path = program(f"""
helper = subprocess.Popen(["sleep", "1000"])
with open("{folder}/pids.new", "w") as out:
    print(os.getpid(), helper.pid, file=out)
os.rename("{folder}/pids.new", "{folder}/pids")
print("is asking the gate", file=sys.stderr, flush=True)
signal.pause()
""")
    daemon = berthd({**pool(upstream, path, dial_timeout="1s"),
                     "echo": {"endpoints": [upstream.url], "idle_timeout": "50ms"}})
    raw = daemon.raw()
    raw.request("up", timeout_ms=1500)
    pids = [int(word) for word in wait_until(lambda: read(folder / "pids"), "it runs").split()]
    assert children(daemon) == pids[:1]
    with daemon.session() as session:
        session.lease("echo").release()
    told = raw.receive().message
    assert "program-0.py passed no connection within 1 s: is asking the gate" in told
    wait_until(lambda: all(map(is_dead, pids)), "both are dead")
    raw.close()
    has_let_go(daemon)


def read(path):
    return path.read_text() if path.exists() else ""


def test_what_nobody_waits_for_any_more_is_killed_when_its_pool_goes(berthd, upstream, program):
    daemon = berthd(pool(upstream, program("signal.pause()"), dial_timeout="1h"))
    raw = daemon.raw()
    raw.request("up")
    wait_until(lambda: children(daemon), "it runs")
    daemon.reload({"other": {"endpoints": [upstream.url]}})
    raw.close()
    has_let_go(daemon)


def test_a_program_may_take_a_moment_to_end_but_no_longer(berthd, upstream, program):
    daemon = berthd(pool(upstream, program("give(connect())\nsignal.pause()"), idle_timeout="50ms"))
    with daemon.session() as session, session.lease("up") as lease:
        assert ask(lease.sock) == 1
        assert children(daemon), "nobody waits for its end"
    has_let_go(daemon)


def test_a_stopping_daemon_kills_what_runs(berthd, upstream, program):
    daemon = berthd({**pool(upstream, program("signal.pause()"), dial_timeout="1h"),
                     "lingers": {"endpoints": [upstream.url],
                                 "dial_command": [program("give(connect())\nsignal.pause()")]}})
    session = daemon.session()
    session.lease("lingers").release()
    raw = daemon.raw()
    raw.request("up")
    pids = wait_until(lambda: len(children(daemon)) == 2 and children(daemon), "both run")
    daemon.signal(signal.SIGTERM)
    assert daemon.wait() == 0
    wait_until(lambda: all(map(is_dead, pids)), "both are dead")


def test_a_flood_of_requests_runs_few_programs_at_a_time(berthd, upstream, folder):
    netcat, = need("nc.openbsd")
    gate = folder / "gate"
    os.mkfifo(gate)
    script = f': < {gate}; exec {netcat} -F "$0" "$1"'
    daemon = berthd(pool(upstream, "sh", "-c", script, "%h", "%p", max_connections="unlimited", dial_timeout="60s",
                         idle_timeout="50ms"))
    raw = daemon.raw()
    for _ in range(200):
        raw.request("up", timeout_ms=60_000)
    wait_until(lambda: len(children(daemon)) == 64, "as many run as may")
    raw.sync()
    most = len(children(daemon))
    opened = os.open(gate, os.O_WRONLY)
    for _ in range(200):
        raw.expect(frames.Grant)
        most = max(most, len(children(daemon)))
    os.close(opened)
    assert most == 64
    assert len(raw.fds) == 200
    wait_until(lambda: upstream.accepted == 200, "the server has accepted all")
    raw.close()
    has_let_go(daemon)


# --- a program logs in ---


LOGIN = """
with socket.socket(fileno=3) as there, open(sys.argv[1]) as password:
    there.sendall(f"AUTH {password.read().strip()}\\r\\n".encode())
    answer = there.recv(100).decode().strip()
    sys.exit(0 if answer == "+OK" else answer)
"""


def with_login(server, command, **settings):
    return {"up": {"endpoints": [server.url], "login_command": command, "idle_timeout": "100ms", **settings}}


@pytest.fixture
def secret(folder):
    path = folder / "password"
    path.write_text(PASSWORD + "\n")
    return path


def test_a_program_logs_in_before_the_connection_is_leased(berthd, guarded, program, secret):
    daemon = berthd(with_login(guarded, [program(LOGIN), str(secret)]))
    with daemon.session() as session:
        with session.lease("up") as lease:
            assert lease.sock.getblocking()
            assert redis(lease.sock, "SET", "key", "1") == "OK"
        with session.lease("up") as lease:
            assert lease.reused and redis(lease.sock, "GET", "key") == "1"
    assert guarded.calls("auth") == 2  # the admin's, and this one
    has_let_go(daemon)


def test_it_logs_in_again_after_a_reset(berthd, guarded, program, secret):
    daemon = berthd(with_login(guarded, [program(LOGIN), str(secret)], relogin=True, reset_timeout="10s",
                               max_connections=1, reset=[{"send": "RESET\r\n"}, {"expect": "+RESET\r\n"}]))
    session = daemon.session()
    for _ in range(3):
        with session.lease("up") as lease:
            assert redis(lease.sock, "INCR", "key") > 0
    session.close()
    has_let_go(daemon)
    assert guarded.connections() == 1
    assert guarded.calls("auth") >= 4


def test_programs_connect_and_log_in(berthd, guarded, program, secret):
    daemon = berthd(with_login(guarded, [program(LOGIN), str(secret)], dial_command=[program("give(connect())")]))
    with daemon.session() as session, session.lease("up") as lease:
        assert redis(lease.sock, "PING") == "PONG"
    has_let_go(daemon)


def test_a_refused_login_is_a_failed_dial_that_says_why(berthd, guarded, program, folder):
    wrong = folder / "password"
    wrong.write_text("swordfish-0815")
    daemon = berthd(with_login(guarded, [program(LOGIN), str(wrong)]))
    told = refusal(daemon)
    assert f"{guarded.url}: login: program-0.py exited with status 1: -WRONGPASS" in told
    assert "swordfish" not in told + daemon.log()
    has_let_go(daemon)


BAD_LOGINS = {
    "hangs": ("signal.pause()", "did not end within"),
    "leaves a byte": ("there = socket.socket(fileno=3); there.sendall(b'PING\\r\\n'); select.select([there], [], [])",
                      "the program left it unread data"),
    "shuts down": ("socket.socket(fileno=3).shutdown(socket.SHUT_WR)", "the program left it closed by"),
    "dies": ("os.kill(os.getpid(), signal.SIGKILL)", "was killed by signal 9"),
}


@pytest.mark.parametrize("bad", BAD_LOGINS)
def test_a_connection_that_a_program_leaves_in_disorder_is_not_leased(berthd, redis, program, bad):
    text, expected = BAD_LOGINS[bad]
    daemon = berthd({**with_login(redis, [program("import select\n" + text)], dial_timeout="2s"),
                     "echo": {"endpoints": [redis.url], "idle_timeout": "50ms"}})
    told = refusal(daemon)
    assert f"{redis.url}: login: " in told and expected in told
    with daemon.session() as session:
        session.lease("echo").release()
    has_let_go(daemon)


def test_a_login_that_hangs_after_a_reset_closes_the_connection(berthd, redis, program, folder):
    path = program(f"""
if os.path.exists("{folder}/again"):
    signal.pause()
open("{folder}/again", "w")
""")
    daemon = berthd(with_login(redis, [path], relogin=True, reset_timeout="300ms", fail_fast=False, dial_timeout="1s",
                               reset=[{"send": "RESET\r\n"}, {"expect": "+RESET\r\n"}]))
    session = daemon.session()
    session.lease("up").release()
    wait_until(lambda: "login after reset: program-0.py did not end within" in daemon.log(), "it is logged")
    settle(session)
    session.close()
    has_let_go(daemon)


def test_credentials_of_the_daemon_are_there_for_its_programs(berthd, guarded, program, secret):
    path = program(LOGIN.replace("sys.argv[1]", "os.environ['CREDENTIALS_DIRECTORY'] + '/password'"))
    daemon = berthd(with_login(guarded, [path]), environment={"CREDENTIALS_DIRECTORY": str(secret.parent)})
    with daemon.session().lease("up") as lease:
        assert redis(lease.sock, "PING") == "PONG"


def test_a_server_that_is_down_runs_no_login(berthd, program, folder):
    path = program(f"open('{folder}/ran', 'w')")
    daemon = berthd({"up": {"endpoints": [f"tcp://127.0.0.1:{free_port()}"], "login_command": [path]}})
    assert "Connection refused" in refusal(daemon)
    assert not (folder / "ran").exists()

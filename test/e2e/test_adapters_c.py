"""hiredis, libcurl and grpc++ over leased connections: the installed headers, compiled as a user does."""

import pathlib
import subprocess

import pytest

from berthd import TOP
from installation import FLAGS, pkg_config, run, variant
from upstream import Script

PROGRAMS = pathlib.Path(__file__).with_name("programs")


@pytest.fixture(scope="module")
def compiled(installed):
    """compiled(source, module, …) is that program, linked with those modules of pkg-config."""
    made = {}

    def compiled(source, *modules, command=("cc", "-std=c99", *FLAGS)):
        if source not in made:
            program = installed / source.stem
            subprocess.run([*command, *variant()[1], source, "-o", program, *flags(installed, *modules)], check=True)
            made[source] = program
        return made[source]

    return compiled


def flags(installed, *modules):
    """Of berth as it is installed there, and of the system's modules, whose headers may warn."""
    for module in modules:
        if subprocess.run(["pkg-config", "--exists", module]).returncode != 0:
            pytest.skip(f"{module} is not installed")
    others = subprocess.run(["pkg-config", "--cflags", "--libs", *modules], capture_output=True, text=True, check=True)
    return [*pkg_config(installed, "--cflags", "--libs"), *others.stdout.replace("-I", "-isystem ").split()]


# --- hiredis ---


@pytest.fixture
def ask_redis(compiled, installed, berthd, redis):
    """ask_redis(how) is what the program prints."""
    program = compiled(PROGRAMS / "hiredis.c", "hiredis")
    daemon = berthd({"redis": {"endpoints": [redis.url], "max_connections": 2}})
    return lambda *words: run(program, installed, daemon, *words)


@pytest.mark.parametrize("how, said", [
    ("command", "1\n"), ("error", "ERR wrong number of arguments for 'incr' command\n"), ("pipeline", ""),
])
def test_hiredis_gives_back_what_was_answered(ask_redis, how, said):
    done = ask_redis(how)
    assert (done.stdout, done.stderr) == (f"{said}warm\nPONG\n", "")


@pytest.mark.parametrize("how, said", [
    ("discard", ""), ("half a pipeline", ""), ("not sent", ""), ("not received", ""), ("half a reply", ""),
    ("timeout", "failed: Resource temporarily unavailable\n"), ("reconnect", ""),
    ("hang up", "2\nfailed: Server closed the connection\n"),
])
def test_hiredis_discards_what_is_in_doubt(ask_redis, how, said):
    done = ask_redis(how)
    # A server that hangs up over what it has not read resets.
    printed = done.stdout.replace("Connection reset by peer", "Server closed the connection")
    assert (printed, done.stderr) == (f"{said}new\nPONG\n", "")


def test_hiredis_without_a_lease_has_berths_words(ask_redis):
    done = ask_redis("command", "rediss")
    assert done.returncode == 1
    assert 'did you mean "redis"' in done.stderr


# --- libcurl ---


@pytest.fixture
def transfer(compiled, installed, berthd):
    """transfer(url, how, …) has transfers made one after the other and returns what the program prints of each: a body
    and how it ended; and last whether the next lease is warm."""
    program = compiled(PROGRAMS / "curl.c", "libcurl")

    def transfer(url, *ways, key="web"):
        daemon = berthd({"web": {"endpoints": [url], "max_connections": 1}})
        done = run(program, installed, daemon, key, *ways)
        assert (done.stderr, done.returncode) == ("", 0)
        *ends, last = done.stdout.splitlines()
        assert "descriptors were leaked" not in ends
        return [end.rstrip() for end in ends], last

    return transfer


@pytest.fixture
def script():
    started = []

    def start(*answers):
        started.append(Script(*answers))
        return started[-1]

    yield start
    for each in started:
        each.close()


OK = "|No error"
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"


def test_libcurl_gives_back_after_each_transfer(transfer, nginx):
    ends, last = transfer(nginx().url, "get", "get", "head", "get")
    assert [end.partition("|")[0].split()[1:] for end in ends] == [["1"], ["2"], [], ["4"]]
    assert all(end.endswith(OK) for end in ends)
    assert last == "warm"


@pytest.mark.parametrize("answer", [
    PLAIN, CHUNKED, b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n" + PLAIN,
    b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
], ids=["length", "chunks", "204", "100 before", "404"])
def test_libcurl_gives_back_what_was_finished(transfer, script, answer):
    (end,), last = transfer(script(answer).url, "get")
    assert end.endswith(OK)
    assert last == "warm"


@pytest.mark.parametrize("way, answer, end", [
    ("get", b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", OK),
    ("get", b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", OK),
    ("1.0", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello", OK),
    ("get", PLAIN + b"more", OK),
    ("get", b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello", "|Timeout was reached"),
    ("get", b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "|Timeout was reached"),
    ("get", b"SSH-2.0-server\r\n", "|Unsupported protocol"),
    ("get", None, "|Server returned nothing (no headers, no data)"),
    ("get", b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nWWW-Authenticate: NTLM\r\n\r\n", OK),
    ("refuse", PLAIN, "|Failed writing received data to disk/application"),
    ("upload", b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 5\r\n\r\nhello", OK),
], ids=["close", "1.0", "1.0 kept alive", "more than the response", "timeout", "101", "not HTTP", "hung up",
        "login", "refused", "early answer"])
def test_libcurl_discards_what_is_in_doubt(transfer, script, way, answer, end):
    way = "timeout" if "Timeout" in end else way
    (said,), last = transfer(script(answer).url, way)
    assert said.endswith(end)
    assert last == "new"


def test_libcurl_finds_the_next_connection_live(transfer, script):
    server = script(PLAIN, None, PLAIN)
    ends, last = transfer(server.url, "get", "get", "get")
    assert [end.partition("|")[0] for end in ends] == ["hello", "", "hello"]
    assert last == "warm"


def test_libcurl_does_not_follow_a_redirect_that_may_lead_elsewhere(transfer, script):
    server = script(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: http://other.example/\r\n\r\n", PLAIN)
    ends, last = transfer(server.url, "follow")
    assert ends == [OK] and last == "warm"
    assert b"other.example" not in server.asked


def test_libcurl_uses_no_proxy_of_the_environment(transfer, script, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    ends, _ = transfer(script(PLAIN).url, "get")
    assert ends == ["hello" + OK]


def test_libcurl_without_a_lease_has_berths_words(transfer, script):
    (end,), _ = transfer(script(PLAIN).url, "get", key="wep")
    assert "Couldn't connect to server" in end and 'did you mean "web"' in end


# --- grpc++ ---


def test_grpc_speaks_over_a_lease_that_ends_with_it(compiled, installed, berthd):
    server = berthd()
    daemon = berthd({"api": {"endpoints": [f"unix://{server.folder}/control.sock"]}})
    program = compiled(TOP / "contrib/examples/grpc.cc", "grpc++", command=("c++", "-std=c++17", *FLAGS))
    for _ in range(2):
        done = run(program, installed, daemon, "api")
        assert (done.stdout, done.stderr, done.returncode) == ("serving\n", "", 0)
    with daemon.session().lease("api") as lease:
        assert not lease.reused

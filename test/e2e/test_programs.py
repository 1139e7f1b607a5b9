"""Unmodified programs, through a pool's listening socket.

Each story is told twice: through a forwarder of the test's own, so that a failure of the program's is told apart, and
through berthd.
"""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import threading

import pytest

from processes import DEADLINE_S, NOBODY, Program, free_port
from servers import MariaDB, PostgreSQL, need

NPM_VERSIONS = {"ioredis": "@5.4.1", "@grpc/grpc-js": "@1.14.7"}
JDBC = pathlib.Path("/usr/share/java/postgresql.jar")


class Forwarder:
    """Carries each connection to one of its own to the server, half-closes included."""

    def __init__(self, server_port, path, port):
        self._server = "127.0.0.1", server_port
        unix = socket.socket(socket.AF_UNIX)
        unix.bind(path)
        os.chmod(path, 0o666)
        unix.listen(64)
        self._listeners = [unix, socket.create_server(("127.0.0.1", port))]
        for listener in self._listeners:
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener):
        with contextlib.suppress(OSError):
            while True:
                here, _ = listener.accept()
                there = socket.create_connection(self._server)
                for pair in (here, there), (there, here):
                    threading.Thread(target=self._carry, args=pair, daemon=True).start()

    @staticmethod
    def _carry(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def close(self):
        for listener in self._listeners:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()


class Door:
    """Where programs connect: a Unix socket that everybody may use, and a TCP port. It leads `through` what it says."""

    def __init__(self, through, path, port):
        self.through = through
        self.path = str(path)
        self.port = port


@pytest.fixture(params=["forwarder", "berthd"])
def door(request, folder, berthd):
    """door(server, name="x.sock", **settings) leads to it, through berthd with a pool of these settings."""
    with contextlib.ExitStack() as stack:
        def make(server, name="x.sock", **settings):
            path, port = folder / name, free_port()
            if request.param == "forwarder":
                stack.callback(Forwarder(server.port, str(path), port).close)
                return Door(request.param, path, port)
            pool = {"endpoints": [server.url], "allow_users": [0, NOBODY],
                    "listen": [str(path), f"tcp://127.0.0.1:{port}"], **settings}
            berthd({"x": pool}, user=False)
            return Door(request.param, path, port)
        yield make


def run(*command, **options):
    """What it prints; it must end well."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60,
                          stdin=subprocess.DEVNULL, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def assert_shared(server, door, connections):
    """Through berthd one connection serves them one after the other."""
    assert server.connections() == (1 if door.through == "berthd" else connections)


# --- Redis ---


def test_redis_cli(door, redis):
    need("redis-cli")
    through = door(redis, protocol="redis", max_connections=1)
    for number in range(1, 5):
        assert run("redis-cli", "-s", through.path, "INCR", "visits") == str(number)
    assert_shared(redis, through, 4)
    assert run("redis-cli", "-h", "127.0.0.1", "-p", through.port, "GET", "visits") == "4"  # as another user


def test_what_redis_cli_leaves_behind_is_reset(door, redis):
    need("redis-cli")
    through = door(redis, protocol="redis", max_connections=1)
    assert run("redis-cli", "-s", through.path, "-n", "3", "SET", "key", "in database 3") == "OK"
    assert run("redis-cli", "-s", through.path, "GET", "key") == ""
    assert_shared(redis, through, 2)


class PhpFpm:
    """Four workers, of an unprivileged user."""

    CONFIG = """
        [global]
        error_log = /dev/stderr
        daemonize = no
        [www]
        listen = {folder}/fpm.sock
        listen.mode = 0666
        {user}
        pm = static
        pm.max_children = 4
        catch_workers_output = yes
    """

    def __init__(self, folder):
        program, php = need("php-fpm8.2", "php")
        if "redis" not in run(php, "-m").split():
            pytest.skip("php-redis is not installed")
        self.path = str(folder / "fpm.sock")
        config = folder / "fpm.conf"
        user = "user = nobody\ngroup = nogroup" if os.getuid() == 0 else ""
        config.write_text(re.sub("^ +", "", self.CONFIG.format(folder=folder, user=user), flags=re.MULTILINE))
        # Debian's php.ini and its modules; nothing of the system's pools.
        self._running = Program(folder, program, "--nodaemonize", "--allow-to-run-as-root", "--fpm-config", config)
        self._running.ready(lambda: os.path.exists(self.path))

    def kill(self):
        self._running.signal(signal.SIGTERM)  # its workers end with it then, and only then
        self._running.wait()

    def get(self, script):
        """What the script prints: the body of one FastCGI response."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(DEADLINE_S)
            sock.connect(self.path)
            parameters = {"SCRIPT_FILENAME": str(script), "REQUEST_METHOD": "GET", "QUERY_STRING": ""}
            pairs = b"".join(bytes([len(name), len(value)]) + name.encode() + value.encode()
                             for name, value in parameters.items())
            sock.sendall(_fastcgi(1, struct.pack("!HB5x", 1, 0)) + _fastcgi(4, pairs) + _fastcgi(4) + _fastcgi(5))
            with sock.makefile("rb") as answer:
                return _fastcgi_body(answer)


def _fastcgi(kind, content=b""):
    return struct.pack("!BBHHBx", 1, kind, 1, len(content), 0) + content


def _fastcgi_body(answer):
    printed = complaints = b""
    while True:
        _, kind, _, size, padding = struct.unpack("!BBHHBx", answer.read(8))
        content = answer.read(size)
        answer.read(padding)
        if kind == 6:
            printed += content
        elif kind == 7:
            complaints += content
        elif kind == 3:
            head, _, body = printed.decode().partition("\r\n\r\n")
            assert not complaints and "Status:" not in head, (head, complaints, body)
            return body


PHP = """<?php
$redis = new Redis();
$redis->connect("{path}");
echo $redis->incr("visits"), " ", getmypid();
"""


def test_php_redis_in_workers_of_php_fpm(door, redis, folder, start):
    fpm = start(PhpFpm)
    through = door(redis, protocol="redis", max_connections=2)
    script = folder / "visit.php"
    script.write_text(PHP.format(path=through.path))
    script.chmod(0o644)
    answers = [fpm.get(script).split() for _ in range(20)]
    assert [int(number) for number, _ in answers] == list(range(1, 21))
    assert len({pid for _, pid in answers}) > 1
    assert redis.connections() <= (2 if through.through == "berthd" else 20)


def test_php_redis_in_many_workers_at_once(door, redis, folder, start):
    fpm = start(PhpFpm)
    through = door(redis, protocol="redis", max_connections=2)
    script = folder / "visit.php"
    script.write_text(PHP.format(path=through.path))
    script.chmod(0o644)
    numbers = []

    def visit():
        for _ in range(25):
            numbers.append(int(fpm.get(script).split()[0]))

    threads = [threading.Thread(target=visit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(1, 101))
    assert redis.connections() <= (2 if through.through == "berthd" else 100)


@pytest.fixture(scope="session")
def ioredis(tmp_path_factory):
    """A folder with node_modules that have it."""
    need("npm", "node")
    folder = tmp_path_factory.mktemp("ioredis")
    failure = npm_install(folder, "ioredis")
    if failure:
        pytest.skip(f"npm cannot install ioredis here: {failure}")
    return folder


def npm_install(folder, package):
    """Needs a network. Why it failed, or nothing."""
    if shutil.which("npm") is None:
        return "npm is not installed"
    done = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=0",
                           "--fetch-timeout=10000", package + NPM_VERSIONS[package]], cwd=folder, text=True,
                          capture_output=True, stdin=subprocess.DEVNULL)
    return (done.stderr.strip().splitlines() or ["it does not say why"])[0] if done.returncode != 0 else ""


IOREDIS = """
const Redis = require("ioredis");
const redis = new Redis(process.argv[2]);
(async () => {
  const answers = [await redis.incr("visits"), await redis.multi().incr("visits").get("visits").exec()];
  console.log(JSON.stringify(answers));
  await redis.quit();
})();
"""


def test_ioredis_of_node(door, redis, ioredis):
    through = door(redis, protocol="redis", max_connections=2)
    script = ioredis / "visits.js"
    script.write_text(IOREDIS)
    assert run("node", script, through.path) == '[1,[[null,2],[null,"2"]]]'


# --- HTTP ---


NODE_HTTP = """
const http = require("http");
const agent = new http.Agent({keepAlive: true, maxSockets: 1});
const where = {socketPath: process.argv[2], path: "/", agent};
const get = () => new Promise((resolve, reject) => http.get(where, (answer) => {
  let body = "";
  answer.on("data", (part) => body += part).on("end", () => resolve(body));
}).on("error", reject));
(async () => { console.log([await get(), await get(), await get()].join("|")); agent.destroy(); })();
"""


def test_http_of_node(door, nginx, folder):
    node, = need("node")
    through = door(nginx(), protocol="http1")
    script = folder / "get.js"
    script.write_text(NODE_HTTP)
    numbers = [answer.split() for answer in run(node, script, through.path).split("|")]
    assert [request for _, request in numbers] == ["1", "2", "3"]
    assert len({connection for connection, _ in numbers}) == 1


def test_curl(door, nginx):
    curl, = need("curl")
    through = door(nginx(), protocol="http1")
    for _ in range(3):
        assert run(curl, "-sS", "--unix-socket", through.path, "http://www.example.org/").split()[1] == "1"
    twice = run(curl, "-sS", "-w", r"\n", "http://www.example.org/", "http://www.example.org/", "--unix-socket",
                through.path)
    assert [line.split()[1] for line in twice.split("\n")[:2]] == ["1", "2"]


# --- databases, whose clients log in themselves ---


def test_psql(door, start):
    psql, = need("psql")
    through = door(start(PostgreSQL), ".s.PGSQL.5432", protocol="postgres")
    ask = "SELECT current_user, 6 * 7"
    at_the_socket = run(psql, "-h", pathlib.Path(through.path).parent, "-U", "postgres", "-Atc", ask)
    at_the_port = run(psql, "-h", "127.0.0.1", "-p", through.port, "-U", "postgres", "-Atc", ask)
    assert (at_the_socket, at_the_port) == ("postgres|42", "postgres|42")


def test_psycopg2(door, start):
    psycopg2 = pytest.importorskip("psycopg2")
    through = door(start(PostgreSQL), ".s.PGSQL.5432", protocol="postgres")
    for number in range(3):
        connection = psycopg2.connect(host=str(pathlib.Path(through.path).parent), user="postgres")
        with connection, connection.cursor() as cursor:
            cursor.execute("CREATE TEMPORARY TABLE mine AS SELECT %s AS number", (number,))
            cursor.execute("SELECT number FROM mine")
            assert cursor.fetchall() == [(number,)]
        connection.close()


def test_the_client_of_mariadb(door, start):
    mariadb, = need("mariadb")
    through = door(start(MariaDB), protocol="mysql")
    for way in ["--protocol=socket", f"--socket={through.path}"], ["--protocol=tcp", "--host=127.0.0.1",
                                                                   f"--port={through.port}"]:
        assert run(mariadb, "--no-defaults", *way, "--user=app", "-N", "-e", "SELECT 6 * 7") == "42"


JAVA = """
import java.sql.*;

public class Query {
  public static void main(String[] arguments) throws Exception {
    for (int i = 0; i < 3; ++i) {
      try (Connection connection = DriverManager.getConnection(arguments[0]);
           ResultSet rows = connection.createStatement().executeQuery("SELECT 6 * 7")) {
        rows.next();
        System.out.println(rows.getInt(1));
      }
    }
  }
}
"""


def test_jdbc_of_java(door, start, folder):
    java, _ = need("java", "javac")  # which compiles a source that it is given
    if not JDBC.exists():
        pytest.skip("libpostgresql-jdbc-java is not installed")
    through = door(start(PostgreSQL), protocol="postgres")
    source = folder / "Query.java"
    source.write_text(JAVA)
    url = f"jdbc:postgresql://127.0.0.1:{through.port}/postgres?user=postgres"
    assert run(java, "-cp", JDBC, source, url).split() == ["42"] * 3

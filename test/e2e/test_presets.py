"""protocol = "redis" and so on: what a holder leaves behind is not the next one's."""

import http.client
import struct
import subprocess

import pytest

import berth
from berthd import BERTHD, settle
from clients import bind, execute, ldap_bind, log_in, query, select, simple_query, smtp, smtp_reply, who_am_i
from processes import DEADLINE_S, wait_readable, wait_until
from servers import Exim, MariaDB, Memcached, PostgreSQL, Redis, Slapd, frozen, redis
from upstream import read_line

LATE = "5s"  # longer than a frozen server makes a reset last


def pool(server, protocol, **settings):
    return {"key": {"endpoints": [server.url], "protocol": protocol, "max_connections": 1, **settings}}


def secret(folder, text):
    path = folder / "secret"
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


def escaped(data):
    """Bytes as a step has them."""
    return "".join(f"\\x{byte:02x}" for byte in data)


def left_unanswered(session, server, request):
    """Lease, request, release, while the server is too slow to answer before."""
    lease = session.lease("key")
    with frozen(server):
        lease.sock.sendall(request)
        lease.release()
        settle(session)


# --- Redis ---


def say(sock, command):
    """Sends a command as one types it, and reads the answer if one comes."""
    sock.sendall(command.encode() + b"\r\n")
    if "REPLY" not in command:
        assert wait_readable(sock)
        sock.recv(65536)


def redis_state(sock):
    """What the server knows of the connection, without what changes by itself."""
    fields = dict(field.split("=", 1) for field in redis(sock, "CLIENT", "INFO").split())
    return {name: fields[name] for name in ("id", "name", "flags", "db", "sub", "psub", "ssub", "multi", "user",
                                            "redir", "resp")}


@pytest.mark.parametrize("left", [
    "SELECT 5", "CLIENT SETNAME mine", "HELLO 3", "CLIENT TRACKING ON", "AUTH other sesame",
    "CLIENT NO-EVICT ON", "READONLY"])
def test_redis_forgets_what_a_holder_left(berthd, start, left):
    server = start(Redis)
    server.command("ACL", "SETUSER", "other", "on", ">sesame", "~*", "&*", "+@all")
    session = berthd(pool(server, "redis")).session()
    with session.lease("key") as lease:
        fresh = redis_state(lease.sock)
        say(lease.sock, left)
    with session.lease("key") as lease:
        assert lease.reused
        assert redis_state(lease.sock) == fresh


@pytest.mark.parametrize("kind", ["YES", "SYNC"])
def test_redis_forgets_that_a_holder_meant_to_debug_a_script(berthd, redis, kind):
    session = berthd(pool(redis, "redis")).session()
    with session.lease("key") as lease:
        say(lease.sock, f"SCRIPT DEBUG {kind}")
    with session.lease("key") as lease:
        assert lease.reused
        say(lease.sock, "EVAL \"return 1\" 0")
        assert redis_state(lease.sock)["flags"] == "N"  # which a debugger would not have answered


def test_redis_forgets_a_holder_who_may_not_do_what_its_reset_undoes(berthd, start):
    server = start(Redis)
    server.command("ACL", "SETUSER", "other", "on", ">sesame", "~*", "&*", "+@all", "-@dangerous")
    session = berthd(pool(server, "redis")).session()
    for n in range(3):
        with session.lease("key") as lease:
            assert lease.reused == (n > 0)
            assert redis_state(lease.sock)["user"] == "default"
            say(lease.sock, "AUTH other sesame")


def test_redis_forgets_which_keys_a_holder_watched(berthd, redis):
    session = berthd(pool(redis, "redis")).session()
    with session.lease("key") as lease:
        say(lease.sock, "WATCH watched")
    redis.command("SET", "watched", "changed")
    with session.lease("key") as lease:
        assert lease.reused
        say(lease.sock, "MULTI")
        say(lease.sock, "INCR counter")
        lease.sock.sendall(b"EXEC\r\n")
        assert read_line(lease.sock) == b"*1"  # not *-1, as when a watched key has changed
        assert read_line(lease.sock) == b":1"


@pytest.mark.parametrize("left", [
    "*2\r\n$3\r\nGET\r\n$100\r\nabc", "GET ke", "SET key \"", "BLPOP nothing 60\r\n", "CLIENT REPLY SKIP\r\n",
    "EVAL \"return redis.call('BLPOP'\" 0"])
def test_a_connection_to_redis_that_does_not_answer_as_new_is_closed(berthd, start, left):
    session = berthd(pool(start(Redis), "redis", reset_timeout="300ms")).session()
    with session.lease("key") as lease:
        number = redis_state(lease.sock)["id"]
        lease.sock.sendall(left.encode())
    with session.lease("key") as lease:
        assert not lease.reused
        assert redis_state(lease.sock)["id"] != number


@pytest.mark.parametrize("left", [
    "MULTI", "SUBSCRIBE channel", "PSUBSCRIBE c*", "SSUBSCRIBE channel", "MONITOR", "CLIENT REPLY OFF"])
def test_a_connection_to_redis_is_closed_if_its_holder_left_off_in_the_middle(berthd, redis, left):
    session = berthd(pool(redis, "redis", reset_timeout="300ms")).session()
    with session.lease("key") as lease:
        say(lease.sock, left)
    with session.lease("key") as lease:
        assert not lease.reused
        assert redis_state(lease.sock)["flags"] == "N"


def test_where_redis_has_no_reset_each_connection_serves_once(berthd, start):
    server = start(Redis, options=["--rename-command", "RESET", ""])
    daemon = berthd(pool(server, "redis"))
    session = daemon.session()
    for n in range(3):
        with session.lease("key") as lease:
            assert not lease.reused
            assert redis_state(lease.sock)["db"] == "0"
            say(lease.sock, "SELECT 5")
    wait_until(lambda: "unknown command" in daemon.log(), "the log says why")


def test_where_redis_wants_a_password_each_holder_logs_in_himself(berthd, start):
    server = start(Redis, password="sesame")
    daemon = berthd(pool(server, "redis", check_after="0s"))
    session = daemon.session()
    for n in range(3):
        with session.lease("key") as lease:
            assert lease.reused == (n > 0)
            with pytest.raises(RuntimeError, match="NOAUTH"):
                redis(lease.sock, "GET", "key")
            assert redis(lease.sock, "AUTH", "sesame") == "OK"
            redis(lease.sock, "SELECT", 5)
    assert server.connections() == 1


def test_what_logs_in_to_redis_for_its_holders_does_so_again_after_each(berthd, start, folder):
    server = start(Redis, password="sesame")
    server.command("ACL", "SETUSER", "other", "on", ">other", "~*", "&*", "+@all")
    login = [{"send": "AUTH "}, {"send_file": secret(folder, "sesame")}, {"send": "\r\n"}, {"expect": "+OK\r\n"}]
    session = berthd(pool(server, "redis", login=login, check_after="0s")).session()
    for n in range(3):
        with session.lease("key") as lease:
            assert lease.reused == (n > 0)
            assert redis(lease.sock, "ACL", "WHOAMI") == "default"
            assert redis_state(lease.sock)["db"] == "0"
            redis(lease.sock, "SELECT", 5)
            assert redis(lease.sock, "AUTH", "other", "other") == "OK"
    assert server.connections() == 1


@pytest.mark.parametrize("request_line", [b"RESET\r\n", b"PING\r\n", b"RESET\r\nSELECT 5\r\n"])
def test_an_answer_of_redis_that_is_still_to_come_is_nobody_elses(berthd, start, request_line):
    server = start(Redis)
    session = berthd(pool(server, "redis", reset_timeout=LATE)).session()
    left_unanswered(session, server, request_line)
    with session.lease("key") as lease:
        assert not lease.reused
        assert redis(lease.sock, "ECHO", "mine") == "mine"
        assert redis_state(lease.sock)["db"] == "0"


def test_what_came_back_before_there_was_a_protocol_is_not_taken_for_new(berthd, start):
    server = start(Redis)
    daemon = berthd(pool(server, "raw"))
    session = daemon.session()
    with session.lease("key") as lease:
        say(lease.sock, "SELECT 5")
    held = session.lease("key")
    assert redis_state(held.sock)["db"] == "5"
    daemon.reload(pool(server, "redis"))
    held.release()
    for n in range(2):
        with session.lease("key") as lease:
            assert lease.reused == (n > 0)
            assert redis_state(lease.sock)["db"] == "0"
            say(lease.sock, "SELECT 5")


# --- memcached ---


def memcached_get(sock, key):
    sock.sendall(b"get " + key + b"\r\n")
    lines = [read_line(sock)]
    while lines[-1] != b"END":
        lines.append(read_line(sock))
    return lines[1:-1]


def test_memcached_is_reused_and_checked(berthd, memcached):
    session = berthd(pool(memcached, "memcached", check_after="0s")).session()
    for n in range(5):
        with session.lease("key") as lease:
            assert lease.reused == (n > 0)
            assert memcached_get(lease.sock, b"nothing") == []
    assert memcached.connections() == 1


@pytest.mark.parametrize("left", [b"set half 0 0 100\r\nabc", b"get hal", b"set half 0 0 100 noreply\r\n",
                                  b"set half 0 0 4\r\n"])
def test_half_a_command_to_memcached_is_not_completed_by_the_next_holder(berthd, memcached, left):
    session = berthd(pool(memcached, "memcached", reset_timeout="300ms")).session()
    with session.lease("key") as lease:
        lease.sock.sendall(left)
    with session.lease("key") as lease:
        assert not lease.reused
        assert memcached_get(lease.sock, b"nothing") == []


@pytest.mark.parametrize("request_line", [b"version\r\n", b"mn\r\n", b"get nothing\r\n"])
def test_an_answer_of_memcached_that_is_still_to_come_is_nobody_elses(berthd, start, request_line):
    server = start(Memcached)
    session = berthd(pool(server, "memcached", reset_timeout=LATE)).session()
    left_unanswered(session, server, request_line)
    with session.lease("key") as lease:
        assert not lease.reused
        assert memcached_get(lease.sock, b"nothing") == []


# --- HTTP ---


def test_http_requests_go_over_a_connection_that_is_kept_alive(berthd, nginx):
    session = berthd(pool(nginx(), "http1")).session()
    seen = []
    for _ in range(5):
        with session.lease("key") as lease:
            connection = http.client.HTTPConnection("upstream")
            connection.sock = lease.sock
            connection.request("GET", "/")
            seen.append(connection.getresponse().read().split())
    assert len({number for number, _ in seen}) == 1
    assert [int(count) for _, count in seen] == [1, 2, 3, 4, 5]


def test_an_http_answer_that_nobody_read_is_not_the_next_ones(berthd, nginx):
    session = berthd(pool(nginx(), "http1")).session()
    with session.lease("key") as lease:
        lease.sock.sendall(b"GET / HTTP/1.1\r\nHost: upstream\r\n\r\n")
        assert wait_readable(lease.sock)
    with session.lease("key") as lease:
        assert not lease.reused


# --- SMTP ---


def test_a_holder_of_smtp_begins_after_ehlo_and_finds_no_mail_of_another(berthd, start):
    session = berthd(pool(start(Exim), "smtp", check_after="0s")).session()
    for n in range(5):
        with session.lease("key") as lease:
            assert lease.reused == (n > 0)
            assert smtp(lease.sock, "MAIL FROM:<one@example.org>")[0] == 250  # with what was left, it would be 503
            assert smtp(lease.sock, "RCPT TO:<two@example.org>")[0] == 250


def test_mails_of_several_holders_go_over_one_connection(berthd, start):
    session = berthd(pool(start(Exim), "smtp")).session()
    for n in range(15):  # Exim ends a connection after ten commands that were for no mail
        with session.lease("key") as lease:
            assert lease.reused == (n > 0)
            assert smtp(lease.sock, "MAIL FROM:<one@example.org>")[0] == 250
            assert smtp(lease.sock, "RCPT TO:<two@example.org>")[0] == 250
            assert smtp(lease.sock, "DATA")[0] == 354
            assert smtp(lease.sock, "Subject: hello\r\n\r\nhello\r\n.")[0] == 250


def test_a_holder_may_give_smtp_a_name_of_his_own(berthd, start):
    session = berthd(pool(start(Exim), "smtp")).session()
    for n in range(2):
        with session.lease("key") as lease:
            assert lease.reused == (n > 0)
            code, lines = smtp(lease.sock, "EHLO client.example")
            assert code == 250 and "client.example" in lines[0]


@pytest.mark.parametrize("left", ["", "MAIL FROM:<on"])
def test_half_a_mail_is_neither_sent_nor_the_next_ones(berthd, start, left):
    session = berthd(pool(start(Exim), "smtp", reset_timeout="300ms")).session()
    with session.lease("key") as lease:
        if left:
            lease.sock.sendall(left.encode())
        else:
            smtp(lease.sock, "MAIL FROM:<one@example.org>")
            smtp(lease.sock, "RCPT TO:<two@example.org>")
            assert smtp(lease.sock, "DATA")[0] == 354
            lease.sock.sendall(b"Subject: half\r\n")
    with session.lease("key") as lease:
        assert not lease.reused
        assert smtp(lease.sock, "MAIL FROM:<one@example.org>")[0] == 250


@pytest.mark.parametrize("request_line", ["NOOP", "MAIL FROM:<one@example.org>", "EHLO client.example"])
def test_an_answer_of_smtp_that_is_still_to_come_is_nobody_elses(berthd, start, request_line):
    server = start(Exim)
    session = berthd(pool(server, "smtp", reset_timeout=LATE)).session()
    left_unanswered(session, server, request_line.encode() + b"\r\n")
    with session.lease("key") as lease:
        assert smtp(lease.sock, "HELP")[0] == 214
        assert not lease.reused


def test_the_greeting_of_smtp_can_be_left_to_holders_who_do_not_share(berthd, start):
    session = berthd(pool(start(Exim), "smtp", greeting="leave", warm="single-use")).session()
    for _ in range(2):
        with session.lease("key") as lease:
            assert smtp_reply(lease.sock)[0] == 220
            assert smtp(lease.sock, "EHLO client.example")[0] == 250


def test_what_is_no_smtp_server_is_told_of(berthd, start):
    daemon = berthd(pool(start(Redis), "smtp", dial_timeout="300ms"))
    with pytest.raises(berth.Error, match="greeting: step 1"):
        daemon.session().lease("key", timeout=2)


# --- PostgreSQL ---

START_UP = b"user\0postgres\0database\0postgres\0\0"
LOGIN = [{"send": escaped(struct.pack("!II", 8 + len(START_UP), 3 << 16) + START_UP)},
         {"until_re": r"Z\x00\x00\x00\x05I"}]


def test_each_client_of_postgresql_has_a_connection_to_itself(berthd, start):
    session = berthd(pool(start(PostgreSQL), "postgres", min_idle=1)).session()
    backends = set()
    for _ in range(3):
        with session.lease("key") as lease:
            assert not lease.reused
            log_in(lease.sock)
            backends.add(select(lease.sock, "SELECT pg_backend_pid()"))
    assert len(backends) == 3


def postgres_state(sock):
    return {sql: select(sock, sql) for sql in (
        "SELECT pg_backend_pid()", "SHOW search_path", "SELECT current_user",
        "SELECT count(*) FROM pg_listening_channels()",
        "SELECT count(*) FROM pg_prepared_statements", "SELECT count(*) FROM pg_cursors",
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'",
        "SELECT count(*) FROM pg_class WHERE relpersistence = 't'", "SHOW TimeZone")}


@pytest.mark.parametrize("left", [
    "SET search_path TO nowhere", "SET ROLE pg_monitor", "SET SESSION AUTHORIZATION other", "LISTEN channel",
    "PREPARE mine AS SELECT 1", "DECLARE mine CURSOR WITH HOLD FOR SELECT 1", "SELECT pg_advisory_lock(4711)::text",
    "CREATE TEMP TABLE mine (n int)", "SET TimeZone TO 'Asia/Tokyo'"])
def test_postgresql_forgets_what_a_holder_left_where_the_pool_logs_in(berthd, start, left):
    server = start(PostgreSQL)
    session = berthd(pool(server, "postgres", login=LOGIN, check_after="0s")).session()
    with session.lease("key") as lease:
        execute(lease.sock, "CREATE ROLE other")
        fresh = postgres_state(lease.sock)
        execute(lease.sock, left)
        assert postgres_state(lease.sock) != fresh
    with session.lease("key") as lease:
        assert lease.reused
        assert postgres_state(lease.sock) == fresh


@pytest.mark.parametrize("left", [simple_query("SELECT 1")[:-3], b"P\0\0\0\x0d\0SELEC 1\0", b"S\0\0"])
def test_a_connection_to_postgresql_that_is_in_the_midst_of_something_is_closed(berthd, start, left):
    session = berthd(pool(start(PostgreSQL), "postgres", login=LOGIN, reset_timeout="500ms")).session()
    with session.lease("key") as lease:
        backend = select(lease.sock, "SELECT pg_backend_pid()")
        lease.sock.sendall(left)
    with session.lease("key") as lease:
        assert not lease.reused
        assert select(lease.sock, "SELECT pg_backend_pid()") != backend


def test_a_transaction_that_is_left_open_in_postgresql_comes_to_nothing(berthd, start):
    session = berthd(pool(start(PostgreSQL), "postgres", login=LOGIN, reset_timeout="500ms")).session()
    with session.lease("key") as lease:
        execute(lease.sock, "BEGIN")
        execute(lease.sock, "CREATE TABLE mine (n int)")
    with session.lease("key") as lease:
        assert not lease.reused
        assert select(lease.sock, "SELECT count(*) FROM pg_class WHERE relname = 'mine'") == "0"


@pytest.mark.parametrize("request_text", ["DISCARD ALL", "", "SELECT 4711"])
def test_an_answer_of_postgresql_that_is_still_to_come_is_nobody_elses(berthd, start, request_text):
    server = start(PostgreSQL)
    session = berthd(pool(server, "postgres", login=LOGIN, reset_timeout=LATE)).session()
    left_unanswered(session, server, simple_query(request_text))
    with session.lease("key") as lease:
        assert select(lease.sock, "SELECT 6 * 7") == "42"
        assert lease.reused == (request_text != "DISCARD ALL")


# --- MariaDB ---


def test_each_client_of_mariadb_reads_the_greeting_of_a_connection_of_its_own(berthd, start):
    pymysql = pytest.importorskip("pymysql")
    session = berthd(pool(start(MariaDB), "mysql", min_idle=1)).session()
    for _ in range(3):
        with session.lease("key") as lease:
            assert not lease.reused
            client = pymysql.Connection(user="app", defer_connect=True)
            client.connect(sock=lease.sock)
            assert query(lease.sock, "SELECT @mine") is None
            query(lease.sock, "SET @mine = 1")


# --- LDAP ---


def test_slapd_forgets_whom_a_holder_was_bound_as(berthd, start):
    session = berthd(pool(start(Slapd), "ldap", check_after="0s")).session()
    for n in range(3):
        with session.lease("key") as lease:
            assert lease.reused == (n > 0)
            assert who_am_i(lease.sock) == ""
            assert bind(lease.sock, "cn=admin,dc=one", "one") == 0
            assert who_am_i(lease.sock) == "dn:cn=admin,dc=one"


def test_what_binds_for_its_holders_does_so_again_after_each(berthd, start):
    done = r"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00"
    login = [{"send": escaped(ldap_bind("cn=admin,dc=one", "one"))}, {"expect": done}]
    session = berthd(pool(start(Slapd), "ldap", login=login, check_after="0s")).session()
    for n in range(3):
        with session.lease("key") as lease:
            assert lease.reused == (n > 0)
            assert who_am_i(lease.sock) == "dn:cn=admin,dc=one"
            assert bind(lease.sock, "cn=admin,dc=two", "two") == 0


@pytest.mark.parametrize("left", [ldap_bind("cn=admin,dc=one", "one")[:-1], b"GET / HTTP/1.0\r\n\r\n"])
def test_half_a_request_to_slapd_is_not_completed_by_the_next_holder(berthd, start, left):
    session = berthd(pool(start(Slapd), "ldap", reset_timeout="300ms")).session()
    with session.lease("key") as lease:
        lease.sock.sendall(left)
    with session.lease("key") as lease:
        assert not lease.reused
        assert who_am_i(lease.sock) == ""


def test_a_bind_to_slapd_that_is_still_to_be_answered_is_undone(berthd, start):
    server = start(Slapd)
    session = berthd(pool(server, "ldap", reset_timeout=LATE)).session()
    left_unanswered(session, server, ldap_bind("cn=admin,dc=one", "one"))
    with session.lease("key") as lease:
        assert lease.reused
        assert who_am_i(lease.sock) == ""


def test_where_slapd_refuses_anonymous_binds_each_connection_serves_once(berthd, start):
    session = berthd(pool(start(Slapd, options="disallow bind_anon\n"), "ldap")).session()
    for _ in range(3):
        with session.lease("key") as lease:
            assert not lease.reused
            assert bind(lease.sock, "cn=admin,dc=one", "one") == 0


# --- what has come of it ---


def test_berthd_prints_what_a_protocol_has_brought(folder):
    config = folder / "berthd.toml"
    config.write_text('[pool.key]\nendpoints = ["tcp://127.0.0.1:6379"]\nprotocol = "redis"\ncheck = []\n')
    done = subprocess.run([BERTHD, "--user", "--runtime-dir", folder, "--config", config, "--check-config"],
                          capture_output=True, text=True, timeout=DEADLINE_S)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert 'protocol = "redis"' in lines
    assert "check = []" in lines
    assert any(line.startswith("reset = ") and "RESET" in line for line in lines)

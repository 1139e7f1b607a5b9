"""Servers that speak first, and servers whose clients log in themselves: an SMTP server, MariaDB, PostgreSQL."""

import smtplib
import struct

import pytest

from clients import log_in, query, select
from processes import wait_until
from servers import Exim, MariaDB, PostgreSQL

grpc = pytest.importorskip("grpc")

from control import rows  # noqa: E402


def pool(server, **settings):
    return {"db": {"endpoints": [server.url], **settings}}


def closes(daemon):
    """{reason: how many}."""
    (row,) = rows(daemon, "pools")
    return {each["reason"]: int(each["count"]) for each in row.get("closes", [])}


# --- SMTP ---


def smtp(lease):
    """Python's own client on the leased connection."""
    client = smtplib.SMTP(local_hostname="client.example")
    client.sock, client.file = lease.sock, None
    return client


def test_the_greeting_of_an_smtp_server_is_left_for_a_client_that_reads_it(berthd, start):
    session = berthd(pool(start(Exim), warm="single-use")).session()
    for _ in range(3):
        with session.lease("db") as lease:
            assert not lease.reused
            client = smtp(lease)
            code, text = client.getreply()
            assert (code, text.startswith(b"mail.example ESMTP")) == (220, True)
            assert client.ehlo()[0] == 250


def test_an_smtp_session_is_greeted_once_and_reset_for_each_holder(berthd, start):
    daemon = berthd(pool(start(Exim), max_connections=1, check_after="0s",
                         greeting=[{"expect_re": "220 mail.example ESMTP .*"}],
                         login=[{"send": "EHLO berth.example\r\n"}, {"until_re": "^250 .*\n"}],
                         check=[{"send": "NOOP\r\n"}, {"expect_re": "250 .*"}],
                         reset=[{"send": "RSET\r\n"}, {"expect_re": "250 .*"}]))
    session = daemon.session()
    for n in range(3):
        with session.lease("db") as lease:
            assert lease.reused == (n > 0)
            client = smtp(lease)
            assert client.docmd("MAIL", "FROM:<one@example.org>")[0] == 250  # with what was left, it would be 503
            assert client.docmd("RCPT", "TO:<two@example.org>")[0] == 250
    with session.lease("db") as lease:
        smtp(lease).docmd("QUIT")
        lease.discard()


# --- MariaDB ---

PING = [{"send": r"\x01\x00\x00\x00\x0e"}, {"expect": r"\x07\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00"}]
RESET_CONNECTION = [{"send": r"\x01\x00\x00\x00\x1f"}, {"expect": r"\x07\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00"}]
# The answer to the handshake: protocol 4.1 with plugins, packets of 16 MiB, utf8mb4, "app", no password.
ANSWER = (struct.pack("<IIB23x", 0x0008_0000 | 0x8000 | 0x0200 | 0x0001, 1 << 24, 45) + b"app\0" + b"\0"
          + b"mysql_native_password\0")
LOGIN = [{"send": "".join(f"\\x{byte:02x}" for byte in struct.pack("<I", len(ANSWER) | 1 << 24) + ANSWER)},
         {"expect": r"\x07\x00\x00\x02\x00\x00\x00\x02\x00\x00\x00"}]
GREETING = [{"until_re": r"mysql_native_password\x00"}]


def test_a_client_of_mariadb_reads_the_greeting_and_logs_in_on_its_leased_connection(berthd, start):
    pymysql = pytest.importorskip("pymysql")
    session = berthd(pool(start(MariaDB), warm="single-use", min_idle=1)).session()
    for _ in range(3):
        with session.lease("db") as lease:
            client = pymysql.Connection(user="app", defer_connect=True)
            client.connect(sock=lease.sock)
            with client.cursor() as cursor:
                cursor.execute("SELECT 6 * 7")
                assert cursor.fetchone() == (42,)


def test_a_connection_to_mariadb_is_logged_in_once_and_forgets_its_holder(berthd, start):
    daemon = berthd(pool(start(MariaDB), max_connections=1, greeting=GREETING, login=LOGIN, check=PING,
                         check_after="0s", reset=RESET_CONNECTION))
    session = daemon.session()
    threads = set()
    for n in range(3):
        with session.lease("db") as lease:
            assert lease.reused == (n > 0)
            assert query(lease.sock, "SELECT @secret") is None
            query(lease.sock, "SET @secret = 4711")
            assert query(lease.sock, "SELECT @secret") == "4711"
            threads.add(query(lease.sock, "SELECT CONNECTION_ID()"))
    assert len(threads) == 1


def test_what_mariadb_would_give_up_is_dialled_anew_before(berthd, start):
    daemon = berthd(pool(start(MariaDB, connect_timeout=3), warm="single-use", min_idle=2, max_warm_age="1s"))
    wait_until(lambda: closes(daemon).get("CLOSE_AGE", 0) >= 10, "connections grow old")
    assert set(closes(daemon)) == {"CLOSE_AGE"}


# --- PostgreSQL ---


def test_clients_of_postgresql_find_connections_that_it_has_not_given_up(berthd, start):
    server = start(PostgreSQL, authentication_timeout=3)
    daemon = berthd(pool(server, warm="single-use", min_idle=2, max_warm_age="1s"))
    session = daemon.session()
    backends = set()
    for n in range(8):
        with session.lease("db") as lease:
            assert not lease.reused
            log_in(lease.sock)
            backends.add(select(lease.sock, "SELECT pg_backend_pid()"))
        wait_until(lambda: closes(daemon).get("CLOSE_AGE", 0) >= n, "others grow old")
    assert len(backends) == 8, "each client has one of its own"
    assert set(closes(daemon)) <= {"CLOSE_AGE", "CLOSE_USES"}


def test_without_an_age_postgresql_gives_them_up_and_they_are_replaced(berthd, start):
    server = start(PostgreSQL, authentication_timeout=1)
    daemon = berthd(pool(server, warm="single-use", min_idle=1))
    wait_until(lambda: closes(daemon).get("CLOSE_DEAD", 0) >= 2, "it gives up one after another")
    with daemon.session().lease("db") as lease:
        log_in(lease.sock)
        assert select(lease.sock, "SELECT 6 * 7") == "42"

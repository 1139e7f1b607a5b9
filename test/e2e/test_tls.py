"""TLS: Redis, nginx, stunnel, OpenSSL's s_server, and mail, database and directory servers that turn to it."""

import contextlib
import http.client
import re
import shutil
import smtplib
import socket
import ssl
import subprocess
import threading

import pytest

import berth
from berthd import BERTHD, settle
from clients import bind
from processes import DEADLINE_S, wait_until
from servers import Exim, Nginx, OpenSsl, PostgreSQL, Redis, Slapd, Stunnel, redis
from upstream import Mute, read_line

HOST = "127.0.0.1"


def pool(url, certificates, **settings):
    return {"key": {"endpoints": [url], "ca": str(certificates.ca), **settings}}


def starting_tls(server, protocol, certificates, **settings):
    return pool(server.url, certificates, protocol=protocol, starttls=True, **settings)


def identity(certificate):
    return {"certificate": str(certificate.file), "private_key": str(certificate.key)}


def refusal(berthd, pools):
    """What a request is told that no connection can be made for."""
    with pytest.raises(berth.UpstreamDown) as refused:
        berthd(pools).session().lease("key", timeout=20)
    return str(refused.value)


def answer(session, path="/"):
    """nginx's, on a connection that is given back."""
    with session.lease("key") as lease:
        connection = http.client.HTTPConnection(HOST)
        connection.sock = lease.sock
        connection.request("GET", path)
        text = connection.getresponse().read().decode()
        connection.sock = None
        return text


# --- all as over TCP ---


@pytest.mark.parametrize("handoff", ["auto", "relay"])
@pytest.mark.parametrize("rsa", [False, True], ids=["ECDSA", "RSA"])
def test_a_lease_speaks_in_plain_with_a_server_that_speaks_tls(berthd, start, certificates, handoff, rsa):
    server = start(Redis, tls=certificates.server(HOST, rsa=rsa))
    session = berthd(pool(server.tls_url, certificates, handoff=handoff)).session()
    for n in range(5):
        with session.lease("key") as lease:
            assert lease.reused == (n > 0)
            assert redis(lease.sock, "INCR", "count") == n + 1
    assert server.connections() == 1


def test_much_is_carried_both_ways_as_it_is(berthd, start, certificates):
    server = start(Redis, tls=certificates.server(HOST))
    with berthd(pool(server.tls_url, certificates)).session().lease("key") as lease:
        value = "0123456789abcdef" * (1 << 18)
        large = b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$%d\r\n%s\r\n" % (len(value), value.encode())
        sender = threading.Thread(target=lambda: lease.sock.sendall(large))
        sender.start()
        assert read_line(lease.sock) == b"+OK"
        sender.join()
        assert redis(lease.sock, "GET", "key") == value


def test_checks_resets_and_ready_connections_are_as_over_tcp(berthd, start, certificates):
    server = start(Redis, password="sesame", tls=certificates.server(HOST))
    login = [{"send": "AUTH sesame\r\n"}, {"expect": "+OK\r\n"}]
    session = berthd(pool(server.tls_url, certificates, protocol="redis", login=login, check_after="0s", min_idle=1,
                          max_connections=1)).session()
    wait_until(lambda: server.connections() == 1, "one is kept ready")
    with session.lease("key") as lease:
        assert redis(lease.sock, "SELECT", 7) == "OK"
    with session.lease("key") as lease:
        assert "db=0" in redis(lease.sock, "CLIENT", "INFO")
    assert server.connections() == 1


def test_a_server_that_has_ended_an_idle_connection_is_dialled_again(berthd, start, certificates):
    server = start(Redis, tls=certificates.server(HOST))
    daemon = berthd(pool(server.tls_url, certificates))
    session = daemon.session()
    with session.lease("key") as lease:
        assert redis(lease.sock, "PING") == "PONG"
    settle(session)
    server.kill_clients()
    wait_until(lambda: daemon.connections_to(server.tls_port) == 0, "berthd closes its end")
    with session.lease("key") as lease:
        assert not lease.reused
        assert redis(lease.sock, "PING") == "PONG"


def test_a_connection_that_is_too_old_is_replaced(berthd, start, certificates):
    server = start(Nginx, tls=certificates.server(HOST), answer="$connection")
    daemon = berthd(pool(server.url, certificates, max_lifetime="300ms"))
    session = daemon.session()
    first = answer(session)
    wait_until(lambda: daemon.connections_to(server.port) == 0, "it is closed")
    assert answer(session) != first


def test_a_url_with_tls_may_be_a_key(berthd, start, certificates):
    server = start(Redis, tls=certificates.server(HOST))
    dynamic = {"allow": ["tls://127.0.0.1:*"], "ca": str(certificates.ca)}
    session = berthd({}, dynamic=dynamic).session()
    with session.lease(server.tls_url) as lease:
        assert redis(lease.sock, "PING") == "PONG"
    with pytest.raises(berth.NotPermitted):
        session.lease(server.url)


def test_a_url_that_contradicts_the_settings_of_dynamic_keys_is_refused(berthd, certificates):
    dynamic = {"allow": ["*"], "ca": str(certificates.ca), "handoff": "direct"}
    with pytest.raises(berth.InvalidRequest, match='handoff = "direct", which is not for TLS'):
        berthd({}, dynamic=dynamic).session().lease("tls://127.0.0.1:1")


def test_a_program_without_tls_connects_to_a_socket_of_the_pool(berthd, start, certificates, folder):
    server = start(Redis, tls=certificates.server(HOST))
    path = str(folder / "listen.sock")
    berthd(pool(server.tls_url, certificates, listen=path, protocol="redis"))
    with socket.socket(socket.AF_UNIX) as program:
        program.connect(path)
        assert redis(program, "PING") == "PONG"


def test_stunnel_is_told_of_the_end_in_good_order(berthd, start, certificates):
    server = start(Redis)
    stunnel = start(Stunnel, server_port=server.port, tls=certificates.server(HOST), options="debug = debug")
    lease = berthd(pool(stunnel.url, certificates)).session().lease("key")
    assert redis(lease.sock, "PING") == "PONG"
    lease.discard()
    wait_until(lambda: "TLS alert (read): warning: close notify" in stunnel.output(), "stunnel has been told")


# --- who the server is ---


def test_a_name_is_verified_and_asked_for(berthd, start, certificates):
    server = start(Nginx, tls=certificates.server("a.internal.example"), answer="$ssl_server_name")
    session = berthd(pool(server.url, certificates, server_name="a.internal.example")).session()
    assert answer(session) == "a.internal.example"


def test_a_wildcard_is_for_names_of_one_more_label(berthd, start, certificates):
    server = start(Redis, tls=certificates.server("*.internal.example"))
    session = berthd({
        "right": {"endpoints": [server.tls_url], "ca": str(certificates.ca), "server_name": "a.internal.example"},
        "wrong": {"endpoints": [server.tls_url], "ca": str(certificates.ca), "server_name": "a.b.internal.example"},
    }).session()
    with session.lease("right") as lease:
        assert redis(lease.sock, "PING") == "PONG"
    with pytest.raises(berth.UpstreamDown, match=r'not for a\.b\.internal\.example, but for "\*\.internal\.example"'):
        session.lease("wrong")


@pytest.mark.parametrize("make, told", [
    (lambda files: files.expired(HOST), "expired on 2020-01-02 00:00:00 UTC"),
    (lambda files: files.server("other.example", "192.0.2.1"), 'is not for 127.0.0.1, but for "other.example", 192.0.2.1'),
    (lambda files: files.self_signed(HOST), "is self-signed"),
    (lambda files: files.other_authority().server(HOST), "was issued by"),
    (lambda files: files.with_unknown_critical_extension(HOST), "marked as critical and not known (1.2.3.4.5)"),
    (lambda files: files.client("me"), "extendedKeyUsage"),
], ids=["expired", "wrong name", "self-signed", "wrong authority", "unknown critical extension", "a client's"])
def test_a_certificate_that_is_not_right_is_told_of(berthd, start, certificates, make, told):
    server = start(Nginx, tls=make(certificates))
    assert told in refusal(berthd, pool(server.url, certificates))


def test_less_is_verified_only_where_the_pool_says_so(berthd, start, certificates):
    wrong_name = start(Redis, tls=certificates.server("other.example"))
    unknown = start(OpenSsl, tls=certificates.self_signed("other.example"))
    session = berthd({
        "chain": {"endpoints": [wrong_name.tls_url], "ca": str(certificates.ca), "verify": "chain-only"},
        "stranger": {"endpoints": [unknown.url], "ca": str(certificates.ca), "verify": "chain-only"},
        "none": {"endpoints": [unknown.url], "verify": "none", "insecure": True},
    }).session()
    with session.lease("chain") as lease:
        assert redis(lease.sock, "PING") == "PONG"
    with pytest.raises(berth.UpstreamDown, match="is self-signed"):
        session.lease("stranger")
    with session.lease("none") as lease:
        lease.sock.sendall(b"abc\n")
        assert read_line(lease.sock) == b"cba"


def test_no_verification_is_warned_of_at_the_start(berthd, certificates):
    daemon = berthd({"key": {"endpoints": ["tls://127.0.0.1:1"], "verify": "none", "insecure": True}})
    assert "warning: " in daemon.log() and "everybody who is on the way can be the server" in daemon.log()


# --- who we are ---


def test_a_server_that_wants_a_certificate_gets_it(berthd, start, certificates):
    server = start(Redis, tls=certificates.server(HOST), clients=certificates.ca)
    session = berthd(pool(server.tls_url, certificates, **identity(certificates.client("me")))).session()
    with session.lease("key") as lease:
        assert redis(lease.sock, "PING") == "PONG"


def test_nginx_sees_whose_certificate_it_is(berthd, start, certificates):
    server = start(Nginx, tls=certificates.server(HOST), answer="$ssl_client_verify $ssl_client_s_dn",
                   tls_options=f"ssl_verify_client on; ssl_client_certificate {certificates.ca};")
    session = berthd(pool(server.url, certificates, **identity(certificates.client("me")))).session()
    assert answer(session) == "SUCCESS CN=me"


def test_a_server_that_wants_a_certificate_and_gets_none_says_so(berthd, start, certificates):
    server = start(Redis, tls=certificates.server(HOST), clients=certificates.ca)
    assert "none is set (certificate)" in refusal(berthd, pool(server.tls_url, certificates))


def test_files_that_have_changed_are_read_again(berthd, start, certificates, folder):
    server = start(Redis, tls=certificates.server(HOST))
    ca = folder / "ca.pem"
    shutil.copy(certificates.other_authority().ca, ca)
    session = berthd({"key": {"endpoints": [server.tls_url], "ca": str(ca)}}).session()
    with pytest.raises(berth.UpstreamDown, match="was issued by"):
        session.lease("key")
    shutil.copy(certificates.ca, ca)

    def serves():
        with contextlib.suppress(berth.UpstreamDown), session.lease("key") as lease:
            return redis(lease.sock, "PING") == "PONG"
    wait_until(serves, "what is trusted now is trusted")


# --- what is spoken ---


@pytest.mark.parametrize("options, told", [
    (["-tls1_3"], "protocol_version (70)"),
    (["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], "handshake_failure (40)"),
    (["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256"], "handshake_failure (40)"),
    (["-tls1_2", "-named_curve", "P-521"], "handshake_failure (40)"),
], ids=["TLS 1.3 only", "TLS 1.1 only", "CBC only", "P-521 only"])
def test_a_server_with_nothing_that_we_speak_is_told_of(berthd, start, certificates, options, told):
    server = start(OpenSsl, tls=certificates.server(HOST), options=options)
    assert told in refusal(berthd, pool(server.url, certificates))


@pytest.mark.parametrize("cipher", ["AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305"])
@pytest.mark.parametrize("rsa", [False, True], ids=["ECDSA", "RSA"])
def test_each_cipher_serves(berthd, start, certificates, cipher, rsa):
    name = f"ECDHE-{'RSA' if rsa else 'ECDSA'}-{cipher}"
    server = start(OpenSsl, tls=certificates.server(HOST, rsa=rsa), options=["-tls1_2", "-cipher", name])
    with berthd(pool(server.url, certificates)).session().lease("key") as lease:
        lease.sock.sendall(b"hello\n")
        assert read_line(lease.sock) == b"olleh"


@pytest.mark.parametrize("how", ["ssl_session_tickets on; ssl_session_cache off;",
                                 "ssl_session_tickets off; ssl_session_cache shared:s:1m;"], ids=["ticket", "id"])
def test_a_session_is_resumed(berthd, start, certificates, how):
    server = start(Nginx, tls=certificates.server(HOST), tls_options=how, answer="$ssl_session_reused")
    session = berthd(pool(server.url, certificates, max_uses=1)).session()
    assert [answer(session) for _ in range(3)] == [".", "r", "r"]


def test_protocols_are_offered_by_alpn(berthd, start, certificates):
    server = start(Nginx, tls=certificates.server(HOST), answer="$ssl_alpn_protocol")
    session = berthd({"key": {"endpoints": [server.url], "ca": str(certificates.ca), "alpn": ["odd", "http/1.1"]},
                      "none": {"endpoints": [server.url], "ca": str(certificates.ca)}}).session()
    assert answer(session) == "http/1.1"


def test_a_server_that_stalls_in_the_handshake_fails_the_dial_in_time(berthd, certificates):
    with contextlib.closing(Mute()) as server:
        url = server.url.replace("tcp://", "tls://")
        told = refusal(berthd, pool(url, certificates, dial_timeout="300ms"))
        assert re.search(r"the handshake was not over within (2..|300) ms", told), told


def test_a_server_without_tls_is_told_of(berthd, start, certificates):
    server = start(Exim)
    told = refusal(berthd, pool(server.url.replace("tcp://", "tls://"), certificates))
    assert 'does not speak TLS, but says "220 ' in told


# --- connections that turn to TLS ---


def test_mail_goes_through_starttls(berthd, start, certificates):
    server = start(Exim, tls=certificates.server(HOST))
    session = berthd(starting_tls(server, "smtp", certificates, max_connections=1)).session()
    for n in range(3):
        with session.lease("key") as lease:
            assert lease.reused == (n > 0)
            mail = smtplib.SMTP(local_hostname="[127.0.0.1]")
            mail.sock, mail.file = lease.sock, None
            assert mail.ehlo()[0] == 250
            assert not mail.has_extn("starttls"), "it has begun"
            assert mail.sendmail("a@example.org", "b@example.org", "Subject: hello\r\n\r\n") == {}
            mail.sock = None


def test_a_mail_server_without_starttls_gets_no_mail(berthd, start, certificates):
    told = refusal(berthd, starting_tls(start(Exim), "smtp", certificates))
    assert "step 5 (expect_re)" in told and "503" in told


def test_postgresql_is_asked_for_tls_and_programs_log_in_through_it(berthd, start, certificates, folder):
    psycopg2 = pytest.importorskip("psycopg2")
    server = start(PostgreSQL, tls=certificates.server(HOST))
    berthd(starting_tls(server, "postgres", certificates, listen=str(folder / ".s.PGSQL.5432")))
    with contextlib.closing(psycopg2.connect(host=str(folder), user="postgres", sslmode="disable")) as connection:
        with connection.cursor() as cursor:
            cursor.execute("SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            assert cursor.fetchone() == (True, "TLSv1.2")


def test_a_postgresql_without_tls_is_not_spoken_to_in_plain(berthd, start, certificates):
    told = refusal(berthd, starting_tls(start(PostgreSQL), "postgres", certificates))
    assert '"S" expected, but "N" came' in told


def test_a_directory_is_asked_to_start_tls(berthd, start, certificates):
    tls = certificates.server(HOST)
    options = f"TLSCertificateFile {tls.file}\nTLSCertificateKeyFile {tls.key}\nsecurity ssf=128\n"
    server = start(Slapd, options=options)
    session = berthd(starting_tls(server, "ldap", certificates, max_connections=1)).session()
    for n in range(3):
        with session.lease("key") as lease:
            assert lease.reused == (n > 0)
            assert bind(lease.sock, "cn=admin,dc=one", "one") == 0


def test_what_is_injected_before_tls_is_not_taken_for_the_servers_word(berthd, certificates):
    """A man in the middle, who cannot read TLS, but could say something before it."""
    with socket.create_server((HOST, 0)) as listener:
        def tamper():
            with contextlib.suppress(OSError):
                sock, _ = listener.accept()
                with sock:
                    sock.sendall(b"220 mail.example\r\n")
                    for reply in (b"250 STARTTLS\r\n", b"220 go ahead\r\n250 injected\r\n"):
                        read_line(sock)
                        sock.sendall(reply)
                    sock.recv(1)
        thread = threading.Thread(target=tamper, daemon=True)
        thread.start()
        settings = pool(f"tcp://{HOST}:{listener.getsockname()[1]}", certificates, protocol="smtp", starttls=True)
        assert "more than is expected" in refusal(berthd, settings)
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(DEADLINE_S)


# --- its end, by a server of ours ---


class Talker:
    """A server with TLS, on whose connections the test says what it likes."""

    def __init__(self, certificate):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.file, certificate.key)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        self._listener = socket.create_server((HOST, 0))
        self.url = f"tls://{HOST}:{self._listener.getsockname()[1]}"
        self._context = context
        self._accepted = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self._accepted.append(self._context.wrap_socket(sock, server_side=True))

    @property
    def first(self):
        wait_until(lambda: self._accepted, "a handshake")
        return self._accepted[0]

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(DEADLINE_S)
        for sock in [self._listener, *self._accepted]:
            sock.close()


@pytest.mark.parametrize("happens", ["data", "garbage", "close_notify", "cut off"])
def test_an_idle_connection_on_which_something_happens_is_not_granted(berthd, certificates, happens):
    with contextlib.closing(Talker(certificates.server(HOST))) as server:
        daemon = berthd(pool(server.url, certificates, max_connections=1, greeting=[{"send": "hello\n"}]))
        session = daemon.session()
        session.lease("key").release()
        settle(session)
        if happens == "data":
            server.first.sendall(b"unexpected")
        elif happens == "garbage":
            with socket.socket(fileno=socket.dup(server.first.fileno())) as raw:
                raw.sendall(b"\x15\x03\x03\x00\x20" + bytes(32))  # an alert that nobody can decrypt
        elif happens == "close_notify":
            with contextlib.suppress(OSError):
                server.first.settimeout(0.1)
                server.first.unwrap()
        else:
            server.first.shutdown(socket.SHUT_RDWR)
        port = int(server.url.rpartition(":")[2])
        wait_until(lambda: daemon.connections_to(port) == 0, "berthd closes it")
        with session.lease("key") as lease:
            assert not lease.reused


def test_a_handshake_goes_on_although_a_reload_takes_tls_from_the_pool(berthd, certificates):
    certificate = certificates.server(HOST)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.file, certificate.key)
    with socket.create_server((HOST, 0)) as listener:
        address = f"{HOST}:{listener.getsockname()[1]}"
        daemon = berthd(pool(f"tls://{address}", certificates))
        with daemon.raw() as raw:
            raw.request("key")
            sock, _ = listener.accept()
            daemon.reload({"key": {"endpoints": [f"tcp://{address}"]}})
            with sock, contextlib.suppress(OSError):
                context.wrap_socket(sock, server_side=True).close()
            assert daemon.session().keys() == ["key"]


def test_a_program_reads_to_the_end_what_was_said_before_close_notify(berthd, certificates):
    with contextlib.closing(Talker(certificates.server(HOST))) as server:
        with berthd(pool(server.url, certificates, handoff="relay")).session().lease("key") as lease:
            server.first.sendall(b"last words")
            with contextlib.suppress(OSError):
                server.first.settimeout(0.1)
                server.first.unwrap()
            assert lease.sock.recv(100, socket.MSG_WAITALL) == b"last words"
            lease.discard()


# --- files ---


def check(folder, text):
    config = folder / "checked.toml"
    config.write_text(text)
    done = subprocess.run([BERTHD, "--user", "--runtime-dir", folder, "--config", config, "--check-config"],
                          capture_output=True, text=True, timeout=DEADLINE_S)
    return done.returncode, done.stderr.replace(str(config), "FILE")


def test_files_are_checked_with_the_configuration(folder, certificates):
    good = certificates.client("me")
    other = certificates.client("you")
    open_key = folder / "open.key"
    shutil.copy(good.key, open_key)
    open_key.chmod(0o644)

    def told(ca=certificates.ca, certificate=good.file, key=good.key):
        return check(folder, f'[pool.a]\nendpoints = ["tls://h:1"]\nallow_users = [0]\nca = "{ca}"\n'
                             f'certificate = "{certificate}"\nprivate_key = "{key}"\n')
    assert told() == (0, "")
    for wrong, line, name in [({"ca": "/nowhere"}, 4, "ca"), ({"ca": good.key}, 4, "ca"),
                              ({"certificate": "/nowhere"}, 5, "certificate"),
                              ({"certificate": good.key}, 5, "certificate"),
                              ({"key": "/nowhere"}, 6, "private_key"), ({"key": good.file}, 6, "private_key"),
                              ({"key": other.key}, 6, "private_key"), ({"key": open_key}, 6, "private_key")]:
        status, text = told(**wrong)
        assert status == 78
        assert text.startswith(f"berthd: FILE:{line}: {name}"), text
        assert "PRIVATE" not in text


def test_a_reload_with_a_file_that_cannot_be_used_changes_nothing(berthd, start, certificates, folder):
    server = start(Redis, tls=certificates.server(HOST))
    daemon = berthd(pool(server.tls_url, certificates))
    session = daemon.session()
    with session.lease("key") as lease:
        assert redis(lease.sock, "PING") == "PONG"
    text = daemon.config.read_text().replace(str(certificates.ca), str(folder / "nowhere"))
    daemon.hang_up(text, "reload: nothing has changed")
    with session.lease("key") as lease:
        assert lease.reused


def test_a_private_key_is_in_no_log_and_no_output(berthd, start, certificates):
    server = start(Redis, tls=certificates.server(HOST), clients=certificates.ca)
    client = certificates.client("me")
    daemon = berthd(pool(server.tls_url, certificates, **identity(client)), log_level="trace")
    with daemon.session().lease("key") as lease:
        assert redis(lease.sock, "PING") == "PONG"
    for line in client.key.read_text().splitlines():
        assert line not in daemon.log()

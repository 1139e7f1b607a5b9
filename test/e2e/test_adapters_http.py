"""http.client, urllib3 and requests over leased connections, and how an exchange can end in doubt."""

import contextlib
import gc
import http.client
import io
import os
import socket

import pytest

import berth
import berth.http
from berthd import settle
from processes import wait_until
from upstream import Script


@pytest.fixture
def served(berthd):
    """served(*answers) is a session whose pool "web" has one connection to a Script."""
    with contextlib.ExitStack() as stack:
        def start(*answers):
            script = Script(*answers)
            stack.callback(script.close)
            session = berthd({"web": {"endpoints": [script.url], "max_connections": 1}}).session()
            return session, script
        yield start


def reuses(session):
    """Whether what was given back last is granted again."""
    settle(session)
    try:
        lease = session.lease("web", timeout=0)
    except berth.TimedOut:
        return False
    reused = lease.reused
    lease.release()
    return reused


PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\nTrailer: yes\r\n\r\n"


# --- http.client ---


def test_a_response_that_was_read_gives_the_connection_back(berthd, nginx):
    server = nginx()
    session = berthd({"web": {"endpoints": [server.url]}}).session()
    connection = berth.http.Connection(session, "web")
    answers = []
    for _ in range(3):
        connection.request("GET", "/")
        answers.append(connection.getresponse().read().split()[1])
        settle(session)
    assert answers == [b"1", b"2", b"3"]  # the requests of one connection


def read_into(response):
    data, part = b"", bytearray(2)
    while n := response.readinto(part):
        data += part[:n]
    return data


READINGS = {
    "read": lambda response: response.read(),
    "read in parts": lambda response: b"".join(iter(lambda: response.read(2), b"")),
    "readinto": read_into,
    "lines": b"".join,
}


@pytest.mark.parametrize("answer", [PLAIN, CHUNKED], ids=["length", "chunks"])
@pytest.mark.parametrize("reading", READINGS.values(), ids=READINGS)
def test_however_it_is_read(served, answer, reading):
    session, script = served(answer)
    connection = berth.http.Connection(session, "web")
    connection.request("GET", "/")
    response = connection.getresponse()
    assert reading(response) == b"hello"
    response.close()
    assert reuses(session)


@pytest.mark.parametrize("method, answer", [
    ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
    ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
    ("GET", b"HTTP/1.1 304 Not Modified\r\n\r\n"),
    ("GET", b"HTTP/1.1 100 Continue\r\n\r\n" + PLAIN),
    ("GET", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello"),
    ("GET", b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
], ids=["HEAD", "HEAD of chunks", "204", "304", "100 before", "1.0 kept alive", "404"])
def test_a_finished_exchange_is_reused(served, method, answer):
    session, _ = served(answer)
    connection = berth.http.Connection(session, "web")
    connection.request(method, "/")
    connection.getresponse().read()
    assert reuses(session)


@pytest.mark.parametrize("answer", [
    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    PLAIN + b"HTTP/1.1",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\nContent-Length: 5\r\n\r\nhello",
    CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\n", 1),
    CHUNKED + b"more",
    b"HTTP/1.1 103 Early Hints\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\n\r\n",
], ids=["close", "1.0", "more than the response", "two lengths", "odd length", "other coding", "length and chunks",
        "more than the chunks", "103", "101"])
def test_a_doubtful_response_discards(served, answer):
    session, _ = served(answer)
    connection = berth.http.Connection(session, "web")
    connection.request("GET", "/")
    connection.getresponse().read()
    assert not reuses(session)


@pytest.mark.parametrize("answer, error", [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello", TimeoutError),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", TimeoutError),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nTrail", TimeoutError),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfive\r\n", http.client.IncompleteRead),
], ids=["body", "chunks", "trailer", "bad chunk"])
def test_an_exception_in_mid_response_discards(served, answer, error):
    session, _ = served(answer)
    connection = berth.http.Connection(session, "web", timeout=0.2)
    connection.request("GET", "/")
    response = connection.getresponse()
    with pytest.raises(error):
        response.read()
    response.close()
    connection.close()
    assert not reuses(session)


@pytest.mark.parametrize("answer, error", [
    (b"HTTP/1.1 200", TimeoutError),
    (b"SSH-2.0-server\r\n", http.client.BadStatusLine),
    (None, http.client.RemoteDisconnected),
], ids=["silence", "not HTTP", "hung up"])
def test_no_response_discards(served, answer, error):
    session, _ = served(answer)
    connection = berth.http.Connection(session, "web", timeout=0.2)
    connection.request("GET", "/")
    with pytest.raises(error):
        connection.getresponse()
    connection.close()
    assert not reuses(session)


def test_a_partial_read_discards(served):
    session, _ = served(PLAIN, PLAIN)
    connection = berth.http.Connection(session, "web")
    connection.request("GET", "/")
    response = connection.getresponse()
    assert response.read(3) == b"hel"
    connection.close()
    assert not reuses(session)
    connection.request("GET", "/")
    assert connection.getresponse().read() == b"hello"
    assert reuses(session)


def test_a_response_that_is_closed_before_its_end_discards(served):
    session, _ = served(PLAIN)
    connection = berth.http.Connection(session, "web")
    connection.request("GET", "/")
    connection.getresponse().close()
    assert not reuses(session)


def test_a_request_without_a_response_discards(served):
    session, _ = served()
    connection = berth.http.Connection(session, "web")
    connection.request("GET", "/")
    connection.close()
    assert not reuses(session)


def test_what_is_forgotten_is_discarded(served):
    session, _ = served(PLAIN)
    connection = berth.http.Connection(session, "web")
    connection.request("GET", "/")
    response = connection.getresponse()
    assert response.read(1) == b"h"
    del response, connection
    gc.collect()
    assert not reuses(session)


def test_the_last_response_of_a_connection_can_be_read(served):
    session, _ = served(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto the end", None)
    connection = berth.http.Connection(session, "web")
    connection.request("GET", "/")
    response = connection.getresponse()
    assert response.read(10) == b"to the end"
    response.close()
    assert not reuses(session)


def _hand_made(body, *headers, chunks=()):
    def send(connection):
        connection.putrequest("POST", "/")
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders(body)
        for chunk in chunks:
            connection.send(chunk)
    return send


REQUESTS = {
    "bytes": (lambda c: c.request("POST", "/", body=b"12345"), True),
    "text": (lambda c: c.request("POST", "/", body="12345"), True),
    "nothing": (lambda c: c.request("POST", "/"), True),
    "file": (lambda c: c.request("POST", "/", body=io.BytesIO(b"12345")), True),
    "pieces": (lambda c: c.request("POST", "/", body=iter([b"123", b"45"])), True),
    "by hand": (_hand_made(b"12345", ("Content-Length", "5")), True),
    "in two": (_hand_made(b"123", ("Content-Length", "5"), chunks=[b"45"]), True),
    "chunks by hand": (_hand_made(None, ("Transfer-Encoding", "chunked"),
                                  chunks=[b"5;a=b\r\n12", b"345", b"\r\n0\r", b"\n\r\n"]), True),
    "too short": (_hand_made(b"123", ("Content-Length", "5")), False),
    "too long": (_hand_made(b"123456", ("Content-Length", "5")), False),
    "no last chunk": (_hand_made(b"3\r\n123\r\n", ("Transfer-Encoding", "chunked")), False),
    "an end inside a chunk": (_hand_made(b"9\r\n1\r\n0\r\n\r\n", ("Transfer-Encoding", "chunked")), False),
    "bad chunks": (_hand_made(b"five\r\n12345\r\n0\r\n\r\n", ("Transfer-Encoding", "chunked")), False),
    "more than the chunks": (_hand_made(b"0\r\n\r\nmore", ("Transfer-Encoding", "chunked")), False),
    "close": (lambda c: c.request("GET", "/", headers={"Connection": "close"}), False),
    "upgrade": (lambda c: c.request("GET", "/", headers={"Connection": "upgrade", "Upgrade": "h2c"}), False),
    "basic login": (lambda c: c.request("GET", "/", headers={"Authorization": "Basic dTpw"}), True),
    "NTLM login": (lambda c: c.request("GET", "/", headers={"Authorization": "NTLM TlRMTVNTUAAB"}), False),
    "unknown length": (_hand_made(io.BytesIO(b"12345"), ("Content-Length", "5")), True),
    "a file by hand": (_hand_made(None, ("Content-Length", "5"), chunks=[io.BytesIO(b"12345")]), False),
}


@pytest.mark.parametrize("send, whole", REQUESTS.values(), ids=REQUESTS)
def test_only_a_request_that_was_sent_whole_is_finished(served, send, whole):
    """The server answers early, once it has the head."""
    session, _ = served(PLAIN)
    connection = berth.http.Connection(session, "web")
    send(connection)
    assert connection.getresponse().read() == b"hello"
    assert reuses(session) == whole


def test_a_request_that_failed_half_way_discards_even_if_it_was_answered(served):
    def broken():
        yield b"123"
        raise ZeroDivisionError

    session, _ = served(PLAIN)
    connection = berth.http.Connection(session, "web")
    with pytest.raises(ZeroDivisionError):
        connection.request("POST", "/", body=broken(), headers={"Content-Length": "3"})
    assert connection.getresponse().read() == b"hello"
    assert reuses(session)  # all that was declared has been sent
    with pytest.raises(ZeroDivisionError):
        connection.request("POST", "/", body=broken())
    connection.close()
    assert not reuses(session)


def test_an_upload_that_fails_discards_even_if_it_was_answered(served):
    session, _ = served(PLAIN)
    connection = berth.http.Connection(session, "web")
    connection.putrequest("POST", "/")
    connection.putheader("Content-Length", str(100 << 20))
    connection.endheaders()
    connection.sock.shutdown(socket.SHUT_WR)
    with pytest.raises(OSError):
        connection.send(bytes(100 << 20))
    assert connection.getresponse().read() == b"hello"
    assert not reuses(session)


def test_a_tunnel_is_the_pools_to_make(served):
    session, _ = served()
    with pytest.raises(ValueError, match="set `via` of the pool 'web'"):
        berth.http.Connection(session, "web").set_tunnel("elsewhere")


def test_the_timeout_holds_for_the_lease_too(served):
    session, _ = served()
    with session.lease("web"):
        with pytest.raises(berth.TimedOut, match="1/1 leased"):
            berth.http.Connection(session, "web", timeout=0.05).request("GET", "/")


def test_a_forked_child_has_a_session_of_its_own(berthd, nginx, child):
    server = nginx()
    daemon = berthd({"web": {"endpoints": [server.url], "max_connections": 2}})

    def get(connection):
        connection.request("GET", "/")
        return connection.getresponse().read()

    def life(parent):
        connection = berth.http.Connection(daemon.path, "web")
        get(connection)
        connection.request("GET", "/")
        pid = os.fork()
        if pid == 0:
            connection.close()
            good = get(berth.http.Connection(daemon.path, "web"))
            os._exit(7 if good else 1)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return status, connection.getresponse().read().split()[1]  # the child has done no harm

    assert child(life).result() == (7, b"2")


# --- urllib3 ---


@pytest.fixture
def urllib3():
    pytest.importorskip("berth.urllib3", reason="python3-urllib3 is not installed")
    import urllib3
    return urllib3


def test_urllib3_gives_connections_back(urllib3, berthd, nginx):
    server = nginx()
    session = berthd({"web": {"endpoints": [server.url]}}).session()
    pool = berth.urllib3.Pool(session, "web", "www.example.org")
    assert [pool.request("GET", "/").data.split()[1] for _ in range(3)] == [b"1", b"2", b"3"]
    assert reuses(session)


@pytest.mark.parametrize("answer", [PLAIN, CHUNKED], ids=["length", "chunks"])
@pytest.mark.parametrize("read", [
    lambda r: r.read(), lambda r: b"".join(r.stream(2)), lambda r: b"".join(iter(lambda: r.read(2), b"")),
], ids=["read", "stream", "parts"])
def test_urllib3_streams_to_the_end(urllib3, served, answer, read):
    session, _ = served(answer)
    pool = berth.urllib3.Pool(session, "web", "www.example.org")
    response = pool.urlopen("GET", "/", preload_content=False)
    assert read(response) == b"hello"
    response.release_conn()
    assert reuses(session)


@pytest.mark.parametrize("end", [lambda r: r.close(), lambda r: r.release_conn()], ids=["close", "release_conn"])
def test_urllib3_that_does_not_read_on_discards(urllib3, served, end):
    session, _ = served(PLAIN, PLAIN)
    pool = berth.urllib3.Pool(session, "web", "www.example.org")
    response = pool.urlopen("GET", "/", preload_content=False)
    assert response.read(2) == b"he"
    end(response)
    assert not reuses(session)
    assert pool.request("GET", "/").data == b"hello"


def test_urllib3_that_times_out_discards(urllib3, served):
    session, _ = served(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello")
    pool = berth.urllib3.Pool(session, "web", "www.example.org", timeout=0.1, retries=False)
    with pytest.raises(urllib3.exceptions.ReadTimeoutError):
        pool.request("GET", "/")
    assert not reuses(session)


def test_urllib3_has_berths_words(urllib3, served):
    session, _ = served()
    pool = berth.urllib3.Pool(session, "wep", "www.example.org", retries=False)
    with pytest.raises(urllib3.exceptions.NewConnectionError, match='did you mean "web"'):
        pool.request("GET", "/")
    pool = berth.urllib3.Pool(session, "web", "www.example.org", retries=False, timeout=0.05)
    with session.lease("web"), pytest.raises(urllib3.exceptions.ConnectTimeoutError, match="1/1 leased"):
        pool.request("GET", "/")


def test_a_pool_manager_leases_for_the_origins_it_was_told_only(urllib3, served, nginx):
    other = nginx()
    session, script = served(PLAIN, b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: http://127.0.0.1:%d/\r\n\r\n"
                             % other.port)
    manager = berth.urllib3.PoolManager(session, {"http://www.example.org": "web"})
    assert manager.request("GET", "http://www.example.org/").data == b"hello"
    assert b"Host: www.example.org\r\n" in script.asked
    assert manager.request("GET", f"http://127.0.0.1:{other.port}/").data.endswith(b" 1")
    assert manager.request("GET", "http://www.example.org/").data.endswith(b" 2")  # where it was redirected to
    assert script.accepted == 1
    with pytest.raises(ValueError, match="not of the form http://host"):
        berth.urllib3.PoolManager(session, {"https://www.example.org": "web"})


# --- requests ---


@pytest.fixture
def requests():
    pytest.importorskip("berth.requests", reason="python3-requests is not installed")
    import requests
    return requests


@pytest.fixture
def web(requests):
    """web(session) is a requests.Session that leases for www.example.org."""
    with requests.Session() as web:
        def mounted(session):
            web.mount("http://www.example.org/", berth.requests.Adapter(session, "web"))
            return web
        yield mounted


def test_requests_gives_connections_back(web, berthd, nginx):
    server = nginx()
    session = berthd({"web": {"endpoints": [server.url]}}).session()
    numbers = [web(session).get("http://www.example.org/").text.split()[1] for _ in range(3)]
    assert numbers == ["1", "2", "3"]
    assert reuses(session)


@pytest.mark.parametrize("answer", [PLAIN, CHUNKED], ids=["length", "chunks"])
def test_requests_streams_to_the_end(web, served, answer):
    session, _ = served(answer)
    response = web(session).get("http://www.example.org/", stream=True)
    assert b"".join(response.iter_content(2)) == b"hello"
    assert reuses(session)


@pytest.mark.parametrize("body", [b"12345", io.BytesIO(b"12345"), iter([b"123", b"45"])],
                         ids=["bytes", "file", "pieces"])
def test_requests_sends_a_body_whole(web, served, body):
    session, _ = served(PLAIN)
    assert web(session).post("http://www.example.org/", data=body).text == "hello"
    assert reuses(session)


def test_requests_that_does_not_read_on_discards(web, served):
    session, _ = served(PLAIN)
    with web(session).get("http://www.example.org/", stream=True) as response:
        assert next(response.iter_content(2)) == b"he"
    assert not reuses(session)


def test_requests_uses_no_proxy_of_the_environment(web, served, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    session, _ = served(PLAIN)
    assert web(session).get("http://www.example.org/").text == "hello"


def test_requests_refuses_what_the_key_does_not_speak(requests, served):
    session, _ = served()
    with requests.Session() as web:
        web.mount("https://", berth.requests.Adapter(session, "web"))
        with pytest.raises(requests.exceptions.InvalidURL, match="https"):
            web.get("https://www.example.org/")


def test_two_leases_are_never_of_one_exchange(served):
    """close() of the connection after the response's end must not end the next one's lease."""
    session, script = served(PLAIN, PLAIN)
    first, second = (berth.http.Connection(session, "web") for _ in range(2))
    first.request("GET", "/")
    assert first.getresponse().read() == b"hello"
    second.request("GET", "/")
    first.close()
    assert second.getresponse().read() == b"hello"
    wait_until(lambda: script.accepted == 1, "one connection served both")

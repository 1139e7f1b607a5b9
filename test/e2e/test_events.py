"""What happens, as berthctl events and gRPC clients are told; and what would happen, as explain tells."""

import json
import os
import re
import signal
import subprocess

import pytest

from berth import _frames as frames
from processes import DEADLINE_S, NOBODY, free_port, wait_until

grpc = pytest.importorskip("grpc")

from control import BERTHCTL, Channel, control, ctl, rows  # noqa: E402


def pool(upstream, **settings):
    return {"echo": {"endpoints": [upstream.url], **settings}}


class Watcher:
    """berthctl events --follow, from when it has begun."""

    def __init__(self, daemon, *words):
        self._command = subprocess.Popen([BERTHCTL, "--socket", control(daemon), "events", "--follow", *words],
                                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.pid = self._command.pid

    def expect(self, kind):
        """The next event of the kind."""
        for line in self._command.stdout:
            event = json.loads(line)
            if event["kind"] == f"EVENT_{kind}":
                return event
        raise AssertionError(f"the stream has ended: {self._command.stderr.read()}")

    def end(self):
        out, err = self._command.communicate(timeout=DEADLINE_S)
        return self._command.returncode, out, err

    def stop(self):
        self._command.kill()
        self._command.communicate()


@pytest.fixture
def watch(berthd):
    """watch(daemon, words...) starts a watcher that misses nothing of what the test does next."""
    started = []

    def start(daemon, *words):
        before = ctl(daemon, "status", "--json")
        watcher = Watcher(daemon, "--json", *words)
        started.append(watcher)
        wait_until(lambda: json.loads(ctl(daemon, "status", "--json").stdout)["watchers"] >
                   json.loads(before.stdout)["watchers"], "it watches")
        return watcher

    yield start
    for watcher in started:
        watcher.stop()


def test_a_watcher_is_told_what_happens_in_order_and_who_does_it(berthd, upstream, watch):
    daemon = berthd(pool(upstream))
    watcher = watch(daemon)
    raw = daemon.raw()
    lease_id, sock = raw.lease("echo")
    sock.close()
    raw.release(lease_id)
    ctl(daemon, "evict", "echo")
    dial = watcher.expect("DIAL")
    assert dial["key"] == "echo" and int(dial["time_unix_ms"]) > 1_600_000_000_000
    connection = watcher.expect("DIALED")["connection_id"]
    assert connection == dial["connection_id"]
    grant = watcher.expect("GRANT")
    assert (int(grant["lease_id"]), grant["connection_id"]) == (lease_id, connection)
    assert (grant["pid"], grant["uid"]) == (os.getpid(), os.getuid())
    assert watcher.expect("RELEASE")["lease_id"] == grant["lease_id"]
    assert watcher.expect("EVICT")["count"] == "1"
    assert watcher.expect("CLOSE")["close_reason"] == "CLOSE_EVICTED"


def test_a_connection_that_leaves_for_good_is_told_and_counted(berthd, upstream, watch):
    daemon = berthd(pool(upstream))
    watcher = watch(daemon)
    daemon.session().take("echo").close()
    connection = watcher.expect("GRANT")["connection_id"]
    close = watcher.expect("CLOSE")
    assert (close["close_reason"], close["connection_id"]) == ("CLOSE_DETACHED", connection)
    assert rows(daemon, "pools")[0]["closes"] == [{"reason": "CLOSE_DETACHED", "count": "1"}]


def test_orders_and_refusals_are_events(berthd, upstream, watch):
    daemon = berthd(pool(upstream))
    watcher = watch(daemon)
    for command, kind in [("pause", "PAUSE"), ("resume", "OPEN"), ("disable", "DISABLE")]:
        ctl(daemon, command, "echo")
        assert watcher.expect(kind)["key"] == "echo"
    raw = daemon.raw()
    raw.request("echo")
    raw.expect(frames.Refusal)
    assert watcher.expect("REFUSE")["code"] == "DISABLED"
    ctl(daemon, "enable", "echo")
    lease_id, sock = raw.lease("echo")
    ctl(daemon, "revoke", str(lease_id))
    assert watcher.expect("REVOKE")["text"] == "an administrator has revoked it"
    daemon.reload({})
    assert watcher.expect("REMOVE")["key"] == "echo"
    sock.close()


def test_a_server_that_is_down_is_told_with_its_error_and_the_backoff(berthd, watch):
    daemon = berthd({"echo": {"endpoints": [f"tcp://127.0.0.1:{free_port()}"]}})
    watcher = watch(daemon)
    raw = daemon.raw()
    raw.request("echo", timeout_ms=300)
    assert "refused" in watcher.expect("DIAL_FAILED")["text"]
    assert 80 <= int(watcher.expect("BACKOFF")["count"]) <= 120


def test_a_watcher_of_one_key_is_told_of_that_only(berthd, upstream, other_upstream, watch):
    daemon = berthd({**pool(upstream), "other": {"endpoints": [other_upstream.url]}})
    watcher = watch(daemon, "echo")
    for key in "other", "echo":
        ctl(daemon, "pause", key)
    assert watcher.expect("PAUSE")["key"] == "echo"


def test_past_events_are_told_in_lines_for_people(berthd, upstream):
    daemon = berthd(pool(upstream))
    with daemon.session().lease("echo"):
        pass
    ctl(daemon, "evict", "echo")
    done = ctl(daemon, "events")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    words = [line.split() for line in lines]
    assert [word[2:4] for word in words] == [[kind, "echo"] for kind in ("dial", "dialed", "evict", "close")]
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}  ", line) for line in lines)
    assert lines[-1].endswith("reason=evicted") and words[2][-1] == "count=1"
    assert ctl(daemon, "events", "--recent", "1").stdout.splitlines() == lines[-1:]
    assert ctl(daemon, "events", "--recent", "0").stdout == ""


def test_a_stream_of_events_ends_with_the_daemon(berthd, upstream, watch):
    daemon = berthd(pool(upstream))
    watcher = watch(daemon)
    daemon.signal(signal.SIGTERM)
    assert daemon.wait() == 0
    code, _, err = watcher.end()
    assert (code, err) == (69, "berthctl: berthd is stopping\n")


def test_only_sixteen_watch_at_a_time(berthd, upstream, watch):
    daemon = berthd(pool(upstream))
    watchers = [watch(daemon) for _ in range(16)]
    done = ctl(daemon, "events", "--follow")
    assert done.returncode == 75
    assert "16 programs watch already; try again later" in done.stderr
    watchers[0].stop()
    wait_until(lambda: ctl(daemon, "events").returncode == 0, "there is room for one more")


def test_a_watcher_that_does_not_read_delays_nobody_and_is_told_how_many_it_has_missed(berthd, upstream, watch):
    daemon = berthd(pool(upstream))
    watcher = watch(daemon)
    os.kill(watcher.pid, signal.SIGSTOP)
    raw = daemon.raw()
    granted = 0
    try:
        # More than its queue, gRPC's windows and the socket hold together.
        while granted < 30_000:
            lease_id, sock = raw.lease("echo")
            sock.close()
            raw.send(frames.Release(lease_id, frames.Outcome.REUSE, 0))
            granted += 1
        raw.sync()
    finally:
        os.kill(watcher.pid, signal.SIGCONT)
    told = missed = 0
    ctl(daemon, "pause", "echo")
    while True:
        event = json.loads(next(iter(watcher._command.stdout)))
        missed += int(event["missed"])
        told += 1
        if event["kind"] == "EVENT_PAUSE":
            break
    assert missed > 0
    assert told + missed == 2 + 2 * granted + 1


def test_events_over_grpc_begin_with_the_initial_metadata(berthd, upstream, messages):
    daemon = berthd(pool(upstream))
    with Channel(daemon, messages) as channel:
        stream = channel.events(key="echo")
        stream.initial_metadata()
        ctl(daemon, "pause", "echo")
        assert next(stream).key == "echo"
        stream.cancel()
        wait_until(lambda: ctl(daemon, "pause", "echo").returncode == 0 and watchers(daemon) == 0, "it has gone")
        unknown = channel.events(key="ech")
        with pytest.raises(grpc.RpcError) as error:
            next(unknown)
        assert error.value.code() == grpc.StatusCode.NOT_FOUND
        assert error.value.details() == 'no pool serves "ech"; did you mean "echo"?'


def watchers(daemon):
    return json.loads(ctl(daemon, "status", "--json").stdout)["watchers"]


# ---- explain ----


def explain(daemon, *words):
    done = ctl(daemon, "explain", *words)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def told(daemon, *words):
    return json.loads(explain(daemon, *words, "--json"))


def test_explain_tells_what_a_lease_would_come_to(berthd, upstream):
    daemon = berthd(pool(upstream, max_connections=1))
    assert told(daemon, "echo")["step"] == "DIAL"
    raw = daemon.raw()
    lease_id, sock = raw.lease("echo")
    waits = told(daemon, "echo")
    assert (waits["step"], waits["why"]["cause"], waits["why"]["holders"][0]["pid"]) == \
        ("WAIT", "EXHAUSTED", os.getpid())
    assert f"would wait: every connection is leased: 1/1 leased; oldest pid {os.getpid()}" in explain(daemon, "echo")
    sock.close()
    raw.release(lease_id)
    idle = told(daemon, "echo")
    assert idle["step"] == "GRANT"
    assert idle["connection_id"] == rows(daemon, "connections")[0]["connection_id"]
    assert " would be granted" in explain(daemon, "echo")
    ctl(daemon, "disable", "echo")
    refused = told(daemon, "echo")
    assert (refused["step"], refused["code"]) == ("REFUSE", "DISABLED")
    assert upstream.accepted == 1  # it has only asked


def test_explain_tells_it_of_another_user(berthd, upstream):
    daemon = berthd(pool(upstream))
    for user in "nobody", str(NOBODY):
        refused = told(daemon, "echo", "--user", user)
        assert (refused["step"], refused["code"], refused["uid"]) == ("REFUSE", "NOT_PERMITTED", NOBODY)
    words = explain(daemon, "echo", "--user", "nobody")
    assert "uid 65534 (nobody) may not: neither allow_users nor allow_groups" in words
    done = ctl(daemon, "explain", "echo", "--user", "nobody-at-all")
    assert (done.returncode, done.stderr) == (64, "berthctl: there is no user nobody-at-all\n")


def test_explain_of_a_url_makes_no_pool(berthd, upstream):
    daemon = berthd()
    assert told(daemon, upstream.url)["step"] == "DIAL"
    assert "a pool would be made for this key" in explain(daemon, upstream.url)
    assert rows(daemon, "pools") == []
    done = ctl(daemon, "explain", "tcp://127.0.0.1:0")
    assert done.returncode == 64 and "port" in done.stderr

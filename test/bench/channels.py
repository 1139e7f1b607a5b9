"""What calls cost that a channel pool carries, against other HTTP/2 proxies: rows of test/bench/run.

h2load calls, nghttpd answers, both with 128 bytes; between them one worker of each proxy, on a core
of its own unless a row says otherwise. h2load repeats its header fields and sends no trailers: what
varies is the path, and trailers are nghttpd's.
"""

import contextlib
import dataclasses
import os
import re
import shutil
import statistics
import subprocess

from harness import (BUILD, ONE_CORE, OTHER_CORES, PATIENCE_S, Broken, Row, answers, berthd, compared, cpu_ns,
                     free_port, in_turns, pin, resident_bytes, start, wait_until)

CALL = "/bench.Echo/Call"
LARGE = "/large"  # 1 MiB
BODY = 128  # bytes, both ways
STALLED = 50  # large answers that one client does not read
PATHS = 1000  # that vary, of 64 random digits
TOOLS = {"h2load": "nghttp2-client", "nghttpd": "nghttp2-server"}
TARGETS = {(4, 16): {"HAProxy": "<=0.75", "nghttpx": "<=0.75", "nginx": "<=0.2"}, (4, 1): {"HAProxy": "<=0.9"}}


def haproxy(folder, port, server):
    config = folder / "haproxy-http2.cfg"
    config.write_text(f"""global
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
listen calls
  bind 127.0.0.1:{port} proto h2
  server up 127.0.0.1:{server} proto h2
""")
    return "haproxy", "-db", "-q", "-f", config


def nghttpx(folder, port, server):
    return ("nghttpx", "--conf=/dev/null", "--single-process", "--workers=1", "--accesslog-file=/dev/null",
            "--log-level=ERROR", f"--frontend=127.0.0.1,{port};no-tls", f"--backend=127.0.0.1,{server};;proto=h2",
            f"--pid-file={folder}/nghttpx.pid")


def nginx(folder, port, server):
    config = folder / "nginx.conf"
    temporary = "".join(f"  {of}_temp_path {folder}/nginx;\n"
                        for of in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    config.write_text(f"""daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{}}
http {{
  access_log off;
  keepalive_requests 1000000000;
{temporary}  upstream calls {{
    server 127.0.0.1:{server};
    keepalive 128;
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port} http2;
    location / {{ grpc_pass grpc://calls; }}
  }}
}}
""")
    return "nginx", "-e", "stderr", "-p", folder, "-c", config


COMMANDS = {"HAProxy": haproxy, "nghttpx": nghttpx, "nginx": nginx}


@dataclasses.dataclass
class Proxy:
    pid: int
    where: tuple  # h2load's words


class Calls:
    """The server, with berthd and each proxy that is there before it."""

    def __init__(self, stack, folder, *words_for_server):
        folder.mkdir()
        self.folder, self.stack = folder, stack
        files = folder / "htdocs"
        (files / CALL[1:]).parent.mkdir(parents=True)
        (files / CALL[1:]).write_bytes(bytes(BODY))
        (files / LARGE[1:]).write_bytes(bytes(1 << 20))
        (folder / "body").write_bytes(bytes(BODY))
        (folder / "paths").write_text("".join(f"http://localhost{CALL}?{os.urandom(32).hex()}\n"
                                              for _ in range(PATHS)))
        self.port = free_port()
        self.server = start(stack, OTHER_CORES, "nghttpd", "--no-tls", "-m", "100000", "-d", files,
                            *words_for_server, self.port)
        wait_until(lambda: answers(self.port), "nghttpd")
        self.direct = Proxy(self.server.pid, over_tcp(self.port))
        self.others = {name: self.start(name) for name in COMMANDS if shutil.which(name.lower())}
        self.ours, self.path = self.berthd("calls")
        self.local = Proxy(self.ours.pid, over_unix(self.path))
        for proxy in (*self.others.values(), self.ours, self.local):
            self.load(proxy, 100, 4, 16)

    def start(self, name):
        port = free_port()
        process = start(self.stack, ONE_CORE, *COMMANDS[name](self.folder, port, self.port),
                        stderr=subprocess.DEVNULL)
        wait_until(lambda: answers(port), name)
        return Proxy(process.pid, over_tcp(port))

    def berthd(self, name, stack=None):
        """One more, by its TCP port; and the path of its socket."""
        port, path = free_port(), self.folder / f"{name}.sock"
        server = berthd(stack or self.stack, self.folder, name, f"""[pool.up]
endpoints = ["grpc://127.0.0.1:{self.port}"]
listen = ["{path}", "tcp://127.0.0.1:{port}"]
""")
        return Proxy(server.pid, over_tcp(port)), path

    def load(self, proxy, calls, clients, streams, *more, cores=OTHER_CORES):
        """So many calls; the seconds that they took."""
        words = ["h2load", "-n", calls, "-c", clients, "-m", streams, "-d", self.folder / "body",
                 "-H", "content-type: application/grpc", "-H", "te: trailers", *proxy.where, *more]
        done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=PATIENCE_S,
                              preexec_fn=lambda: os.sched_setaffinity(0, cores))
        if f"{calls} succeeded" not in done.stdout or f"status codes: {calls} 2xx" not in done.stdout:
            raise Broken(f"h2load {' '.join(proxy.where)}: not every call was answered\n{done.stdout}")
        seconds, unit = re.search(r"finished in ([\d.]+)(us|ms|s),", done.stdout).groups()
        return float(seconds) * {"us": 1e-6, "ms": 1e-3, "s": 1}[unit]

    def cpu_us(self, proxy, calls, clients, streams, **options):
        """Of a call."""
        before = cpu_ns(proxy.pid)
        self.load(proxy, calls, clients, streams, **options)
        return (cpu_ns(proxy.pid) - before) / calls / 1000

    def p50_us(self, proxy, calls):
        """Of one call after another, all on one core."""
        log = self.folder / "calls.log"
        self.load(proxy, calls, 1, 1, f"--log-file={log}", cores=ONE_CORE)
        times = [int(line.split()[2]) for line in log.read_text().splitlines()]
        log.unlink()
        return statistics.median(times)

    @contextlib.contextmanager
    def held(self, how, socket, streams, path):
        """Yields a function that opens the streams, which stay open until this is over."""
        with contextlib.ExitStack() as stack:
            holder = start(stack, OTHER_CORES, BUILD / "bench/http2_hold", how, socket, streams, path,
                           stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

            def heard(word):
                if holder.stdout.readline() != word + "\n":
                    raise Broken("http2_hold has failed")

            def begin():
                holder.stdin.write("\n")
                holder.stdin.flush()
                heard("open")

            heard("connected")
            yield begin


def over_tcp(port):
    return (f"http://127.0.0.1:{port}{CALL}",)


def over_unix(path):
    return f"--base-uri=unix:{path}", f"http://localhost{CALL}"


def costs(scale, calls, clients, streams, count, what="", **options):
    """CPU for a call; and what the socket that is no proxy's costs."""
    proxies = [calls.ours, calls.local, *calls.others.values()]
    ours, local, *others = in_turns(scale.rounds_of_calls, *(
        lambda proxy=proxy: calls.cpu_us(proxy, count, clients, streams, **options) for proxy in proxies))
    name = f"channel pool's CPU for a call, {clients} × {streams} streams{what}; against "
    for proxy, theirs in zip(calls.others, others):
        target = TARGETS.get((clients, streams), {}).get(proxy)
        yield compared(name + proxy, ours, theirs, "µs", target)
        name = "  against "
    yield compared("  by its Unix socket; against itself by TCP", local, ours, "µs")


def varying_costs(scale, calls):
    """As h2load takes a list of paths in place of one."""
    def varying(proxy):
        base = proxy.where[0].removesuffix(CALL)
        return Proxy(proxy.pid, (f"--base-uri={base}", f"--input-file={calls.folder}/paths"))

    ours, *others = in_turns(scale.rounds_of_calls, *(
        lambda proxy=varying(proxy): calls.cpu_us(proxy, scale.calls, 4, 16)
        for proxy in (calls.ours, *calls.others.values())))
    name = "channel pool's CPU for a call, 4 × 16 streams, paths that vary and trailers; against "
    for proxy, theirs in zip(calls.others, others):
        yield compared(name + proxy, ours, theirs, "µs")
        name = "  against "


def latencies(scale, calls):
    turns = scale.calls // 8
    pin(calls.server.pid, ONE_CORE)
    direct, ours, local, *others = in_turns(scale.rounds_of_calls, *(
        lambda proxy=proxy: calls.p50_us(proxy, turns)
        for proxy in (calls.direct, calls.ours, calls.local, *calls.others.values())))
    yield from costs(scale, calls, 1, 1, turns, " [all on one core]", cores=ONE_CORE)
    pin(calls.server.pid, OTHER_CORES)

    def added(times):
        return [through - alone for through, alone in zip(times, direct)]

    name = "latency that a channel pool adds to a call, p50 [all on one core]; against "
    for proxy, theirs in zip(calls.others, others):
        yield compared(name + proxy, added(ours), added(theirs), "µs")
        name = "  against "
    yield compared("  by its Unix socket; against itself by TCP", added(local), added(ours), "µs")


def open_streams(calls, streams):
    with contextlib.ExitStack() as stack:
        proxy, path = calls.berthd(f"open{streams}", stack)
        calls.load(proxy, 1000, 4, 16)
        with calls.held("requests", path, streams, CALL) as begin:
            before = resident_bytes(proxy.pid)
            begin()
            return (resident_bytes(proxy.pid) - before) / streams


def stalls(scale, calls):
    def rate():
        return scale.calls / calls.load(calls.ours, scale.calls, 4, 16)

    def while_stalled():
        with calls.held("stall", calls.path, STALLED, LARGE) as begin:
            begin()
            return rate()

    stalled, quiet = in_turns(scale.rounds_of_calls, while_stalled, rate)
    yield compared(f"calls in a second, 4 × 16 streams, while one client does not read {STALLED} × 1 MiB; "
                   "against none that stalls", stalled, quiet, "/s")


def channels(scale, stack, folder):
    """Yields rows, in the order in which they are measured."""
    missing = [f"{tool} (Debian package {package})" for tool, package in TOOLS.items() if not shutil.which(tool)]
    if missing:
        print(f"not measured: channel pools, for want of {' and '.join(missing)}\n")
        return
    for name in COMMANDS:
        if not shutil.which(name.lower()):
            print(f"not measured: channel pools against {name}, which is not installed\n")
    calls = Calls(stack, folder / "calls")
    yield from costs(scale, calls, 4, 16, scale.calls)
    yield from costs(scale, calls, 4, 1, scale.calls // 4)
    yield from varying_costs(scale, Calls(stack, folder / "trailers", "--trailer=grpc-status: 0"))
    yield from latencies(scale, calls)
    # 1,000 come in one turn, which takes more for a moment; that is not given back to the system.
    for streams, target in (1000, None), (10_000, "<=2048"):
        yield Row(f"memory of berthd for an open stream ({streams:,} of them)", open_streams(calls, streams), "bytes",
                  target=target)
    yield from stalls(scale, calls)

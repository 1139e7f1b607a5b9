"""What the benchmarks share: rows, processes and their costs, and measurements in turns."""

import contextlib
import dataclasses
import json
import os
import pathlib
import socket
import statistics
import subprocess
import time

BUILD = pathlib.Path(os.environ.get("BERTH_BUILD") or pathlib.Path(__file__).resolve().parents[2] / "build")
ALL_CORES = os.sched_getaffinity(0)
ONE_CORE = {max(ALL_CORES)}
OTHER_CORES = ALL_CORES - ONE_CORE or ALL_CORES
PATIENCE_S = 30
HELLO = b"\x0a\x02\x08\x01"  # ClientFrame{hello{version: 1}}


class Broken(Exception):
    """Something does not work, so there is nothing to measure."""


# ---- rows ----


@dataclasses.dataclass
class Row:
    name: str
    value: float
    unit: str
    baseline: float = None  # measured in the same run
    ratio: float = None  # None: the target is for the value itself
    target: str = None  # "<=1.25"; None: for information

    def verdict(self):
        if self.target is None:
            return ""
        found = self.value if self.ratio is None else self.ratio
        limit = float(self.target[2:])
        return "met" if (found <= limit if self.target.startswith("<=") else found >= limit) else "missed"


def number(value, unit):
    if value is None:
        return ""
    return f"{value:,.0f} {unit}" if value >= 1000 or value == int(value) else f"{value:.3g} {unit}"


def print_table(rows):
    lines = [("what", "measured", "against", "ratio", "target", "")]
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        unit = "" if row.target is None or row.ratio is not None else f" {row.unit}"
        target = "" if row.target is None else row.target[:2] + " " + row.target[2:] + unit
        lines.append((row.name, number(row.value, row.unit), number(row.baseline, row.unit), ratio, target,
                      row.verdict()))
    widths = [max(map(len, column)) for column in zip(*lines)]
    for index, line in enumerate(lines):
        cells = [cell.rjust(width) if 0 < at < 4 else cell.ljust(width)
                 for at, (cell, width) in enumerate(zip(line, widths))]
        print("  ".join(cells).rstrip())
        if index == 0:
            print("-" * (sum(widths) + 2 * (len(widths) - 1)))


# ---- processes ----


def start(stack, cores, *command, **options):
    """A process that ends with `stack`, pinned to `cores` with all its threads."""
    process = subprocess.Popen([str(word) for word in command], **options)
    stack.callback(stop, process)
    if cores != ALL_CORES:
        pin(process.pid, cores)
    return process


def stop(process):
    process.kill()
    process.wait()


def pin(pid, cores):
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):  # its end is noticed elsewhere
            os.sched_setaffinity(int(task.name), cores)


def cpu_ns(pid):
    """Of all its threads, those that have ended too: the clock of clock_getcpuclockid(3)."""
    return time.clock_gettime_ns(~pid << 3 | 2)


def cpu_of_children_ns(pid):
    """Of those that have ended and were waited for; in ticks of the clock."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def wake_ups(pid):
    """Of the main thread, which is the loop's."""
    lines = pathlib.Path(f"/proc/{pid}/task/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)


def resident_bytes(pid):
    lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("Rss:"))


def wait_until(condition, what):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise Broken(f"{what}: not within {PATIENCE_S} s")
        time.sleep(0.02)


class Server:
    """berthd, or the baseline."""

    def __init__(self, stack, path, cores, *command):
        self.path = path
        started = time.monotonic()
        self.process = start(stack, cores, *command)
        self.pid = self.process.pid
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() - started > PATIENCE_S:
                raise Broken(f"{command[0]} does not serve {path}")
            time.sleep(0.0002)
        self.ready_ms = (time.monotonic() - started) * 1000

    def answers(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
            client.settimeout(PATIENCE_S)
            try:
                client.connect(str(self.path))
                client.send(HELLO)
                return client.recv(4096)[:1] == b"\x0a"  # Welcome
            except (FileNotFoundError, ConnectionRefusedError):
                return False


def berthctl(server, *words):
    done = subprocess.run([BUILD / "bin/berthctl", "--socket", server.path.with_name("control.sock"), *words],
                          check=True, stdout=subprocess.PIPE, timeout=PATIENCE_S)
    return done.stdout


def connecting(server, key):
    pools = json.loads(berthctl(server, "pools", "--json"))["pools"]
    return next(int(pool["connections"]["connecting"]) for pool in pools if pool["key"] == key)


def berthd(stack, folder, name, config, cores=ONE_CORE):
    file = folder / f"{name}.toml"
    file.write_text('[daemon]\nlog_level = "warn"\n' + config)
    return Server(stack, folder / name / "lease.sock", cores, BUILD / "bin/berthd", "--user", "--config", file,
                  "--runtime-dir", folder / name)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# ---- the load ----


def keys(count):
    return [f"p{index:04}" for index in range(count)]


def load(cores, *arguments, program="lease_load"):
    done = subprocess.run([BUILD / "bench" / program, *map(str, arguments)], stdout=subprocess.PIPE,
                          preexec_fn=lambda: os.sched_setaffinity(0, cores), timeout=PATIENCE_S)
    if done.returncode != 0:
        raise Broken(f"{program} {' '.join(map(str, arguments[:4]))}… has failed")
    return json.loads(done.stdout)


@dataclasses.dataclass
class Sample:
    p50_us: float
    p99_us: float
    cpu_us: float


def lease(server, turns, count=1, key_count=1, key=None):
    before = cpu_ns(server.pid)
    times = load(ONE_CORE, "lease", server.path, turns, count, *([key] if key else keys(key_count)))
    turns += times["warm_up"]
    return Sample(times["p50_ns"] / 1000, times["p99_ns"] / 1000, (cpu_ns(server.pid) - before) / turns / 1000)


def in_turns(rounds, *measurements):
    """The results of each, as columns; who goes first changes from round to round."""
    columns = [[] for _ in measurements]
    for index in range(rounds):
        order = list(zip(columns, measurements))
        for column, measure in order if index % 2 == 0 else reversed(order):
            column.append(measure())
    return columns


def compared(name, ours, theirs, unit, target=None):
    """A row of medians. The ratio is the median of each round's own: the machine's mood cancels out."""
    ratio = statistics.median(our / their for our, their in zip(ours, theirs))
    return Row(name, statistics.median(ours), unit, statistics.median(theirs), ratio, target)


def p50s(samples):
    return [sample.p50_us for sample in samples]


def p99s(samples):
    return [sample.p99_us for sample in samples]

"""`make demo` shows what it says, in plain text, and leaves nothing behind, however it ends."""

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import time

import pytest

DEMO = pathlib.Path(__file__).with_name("demo")
LIMIT_S = 60


def heed_interrupts():
    """A shell starts its background jobs with SIGINT ignored, and they pass that on."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def demo(tmp_path):
    """Starts the demo with a folder of its own for temporary files."""
    started = []

    def start():
        process = subprocess.Popen([DEMO], env={**os.environ, "TMPDIR": str(tmp_path)}, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
                                   preexec_fn=heed_interrupts)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def processes_of(group):
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            stat = path.read_text()
            found += [stat] if int(stat.rsplit(")", 1)[1].split()[2]) == group else []
    return found


def assert_nothing_is_left(process, folder):
    assert not list(folder.iterdir())
    assert not processes_of(process.pid)


def counted(output, name):
    """(connections opened, requests) in the table's line of that name."""
    connections, requests = re.search(rf"^  {name} +([\d,]+) +([\d,]+) ", output, re.MULTILINE).groups()
    return int(connections.replace(",", "")), int(requests.replace(",", ""))


def test_shows_the_main_job_and_stops_everything(demo, tmp_path):
    process = demo()
    output, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, output
    assert counted(output, "each worker for itself") == (1000, 1000)
    connections, requests = counted(output, "leased from berthd")
    assert (connections <= 8, requests) == (True, 1000), output
    words = " ".join(output.split())
    assert re.search(r"TimedOut: timed out after [\d.]+ m?s: .* 2/2 leased; oldest pid \d+ month-end ", words)
    assert re.search(r"month-end +\d+ .*\n +audit +\d+ ", output)
    assert 'NoSuchKey: no pool serves "report"; did you mean "reports"?' in words
    assert_nothing_is_left(process, tmp_path)


def test_is_plain_text_of_80_columns(demo):
    output, _ = demo().communicate(timeout=LIMIT_S)
    assert output.isprintable() or set(re.findall(r"[^ -~]", output)) == {"\n"}
    assert max(map(len, output.splitlines())) <= 80


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("after", ["has this configuration", "in all", "asks for a third"])
def test_leaves_nothing_when_interrupted(demo, tmp_path, which, after):
    process = demo()
    seen = ""
    while after not in " ".join(seen.split()):
        line = process.stdout.readline()
        assert line, f"the demo has ended: {seen}"
        seen += line
    os.kill(process.pid, which)
    process.communicate(timeout=LIMIT_S)
    assert process.returncode == 128 + which
    deadline = time.monotonic() + LIMIT_S  # a worker under way ends by itself
    while processes_of(process.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert_nothing_is_left(process, tmp_path)

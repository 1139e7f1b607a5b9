"""The berth command: programs and scripts that know nothing of leases get one."""

import contextlib
import os
import pty
import re
import resource
import signal
import subprocess

import pytest

import berth
from berthd import BERTH, settle
from processes import free_port, wait_until
from upstream import ask

PING = r'printf "hello\n" >&$FD; head -n 1 <&$FD'


def pool(upstream, **settings):
    return {"echo": {"endpoints": [upstream.url], "max_connections": 1, **settings}}


@pytest.fixture
def daemon(berthd, upstream):
    return berthd(pool(upstream))


def lease_again(daemon):
    """The number of the connection that the next one gets, at once."""
    with daemon.session().lease("echo", timeout=5) as lease:
        return ask(lease.sock)


def test_a_program_finds_its_connection_at_descriptor_3(daemon):
    done = daemon.berth("exec", "echo", "--", "sh", "-c", "FD=3; " + PING)
    assert (done.stdout, done.stderr, done.returncode) == ("1 hello\n", "", 0)


def test_a_program_may_want_another_number(daemon):
    done = daemon.berth("exec", "--fd", "7", "echo", "--", "sh", "-c", "FD=7; " + PING)
    assert done.stdout == "1 hello\n"


@pytest.mark.parametrize("number", ["-1", "-0x3", "", "x", "3x", "2", "64", "65", "2147483648", "99999999999999999999"])
def test_a_number_that_cannot_be_is_refused_before_anything_is_leased(daemon, upstream, number):
    for options in [], ["--return"]:
        done = daemon.berth("exec", "echo", *options, "--fd", number, "--", "true", preexec_fn=few_descriptors)
        assert done.returncode == 64
        assert f'0 to 63 (ulimit -n is 64) other than 2, not "{number}"' in done.stderr
    settle(daemon.session())
    assert upstream.accepted == 0


def few_descriptors():
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))


@pytest.mark.parametrize("number", [0, 1, 3, 4, 9, 10, 62, 63])
def test_every_number_that_can_be_is_served(daemon, number):
    """Those among them that berth itself uses until then, and the last one."""
    script = (f"import socket; s = socket.socket(fileno={number}); s.sendall(b'hello\\n');"
              "import sys; sys.stderr.write(s.recv(99).decode())")
    done = daemon.berth("exec", "echo", f"--fd={number}", "--", "/usr/bin/python3", "-c", script,
                        preexec_fn=few_descriptors)
    assert (done.stderr, done.returncode) == ("1 hello\n", 0)


def test_a_variable_tells_the_number(daemon):
    done = daemon.berth("exec", "echo", "--env", "FD", "--fd=5", "--", "sh", "-c", 'echo $FD; ' + PING)
    assert done.stdout == "5\n1 hello\n"


def test_a_program_may_have_it_as_standard_input_and_output(daemon):
    done = daemon.berth("exec", "--stdio", "echo", "--", "sh", "-c", "echo hello; read answer; echo $answer >&2")
    assert (done.stdout, done.stderr) == ("", "1 hello\n")


def start(daemon, *words, **options):
    return subprocess.Popen([BERTH, *words], env=daemon.environment(), text=True, stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, **options)


def test_the_program_takes_berths_place(daemon):
    program = start(daemon, "exec", "echo", "--", "sh", "-c", "echo $$")
    assert int(program.communicate(timeout=20)[0]) == program.pid


def test_the_lease_lives_as_long_as_the_program(daemon, upstream):
    program = start(daemon, "exec", "echo", "--", "sh", "-c", "FD=3; " + PING + "; read line")
    assert program.stdout.readline() == "1 hello\n"
    with pytest.raises(berth.TimedOut, match=f"oldest pid {program.pid} sh"):
        daemon.session().lease("echo", timeout=0.1)
    program.communicate("end\n", timeout=20)
    assert lease_again(daemon) == 2
    wait_until(lambda: 1 not in upstream.open, "the first connection is closed")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_program_gives_back(daemon, number):
    program = start(daemon, "exec", "echo", "--", "sh", "-c", "FD=3; " + PING + "; read line")
    assert program.stdout.readline() == "1 hello\n"
    program.send_signal(number)
    assert program.wait(20) == -number
    assert lease_again(daemon) == 2
    program.communicate()


def test_a_program_that_leaves_a_child_behind_gives_back(daemon):
    """The child inherits the connection and the session; the lease was the program's."""
    script = "FD=3; " + PING + "; sleep 100 & echo $!"
    program = start(daemon, "exec", "echo", "--", "sh", "-c", script)
    try:
        assert program.stdout.readline() == "1 hello\n"
        survivor = int(program.stdout.readline())
        assert program.wait(20) == 0
        assert lease_again(daemon) == 2
    finally:
        os.kill(survivor, signal.SIGKILL)
        program.communicate()


def test_return_gives_back_for_reuse_if_the_program_did_well(daemon):
    for _ in range(3):
        done = daemon.berth("exec", "--return", "echo", "--", "sh", "-c", "FD=3; " + PING)
        assert (done.stdout, done.returncode) == ("1 hello\n", 0)
    assert lease_again(daemon) == 1


def test_return_discards_if_the_program_failed(daemon):
    done = daemon.berth("exec", "--return", "echo", "--", "sh", "-c", "FD=3; " + PING + "; exit 3")
    assert (done.stdout, done.returncode) == ("1 hello\n", 3)
    assert lease_again(daemon) == 2


def test_return_discards_if_the_program_was_killed(daemon):
    done = daemon.berth("exec", "--return", "echo", "--", "sh", "-c", "kill -9 $$")
    assert done.returncode in (-9, 137)
    assert lease_again(daemon) == 2


@pytest.mark.parametrize("command, status", [
    (["sh", "-c", "exit 42"], 42), (["no-such-program"], 127), (["/"], 126), (["true"], 0)])
def test_exec_exits_as_the_program_does(daemon, command, status):
    for options in [], ["--return"]:
        assert daemon.berth("exec", *options, "echo", "--", *command).returncode == status


def test_a_shell_sees_the_signal_that_killed_the_program(daemon):
    script = f"{BERTH} exec echo --return -- sh -c 'kill -TERM $$'; echo $?"
    done = subprocess.run(["sh", "-c", script], env=daemon.environment(), capture_output=True, text=True, timeout=20)
    assert done.stdout == f"{128 + signal.SIGTERM}\n"


def test_return_serves_one_script_after_another_with_one_connection_as_standard_input_and_output(berthd, redis):
    daemon = berthd({"redis": {"endpoints": [redis.url]}})
    script = r'printf "INCR runs\r\n"; read -r answer; echo "$answer" >&2'
    for number in 1, 2, 3:
        done = daemon.berth("exec", "redis", "--stdio", "--return", "--env", "FD", "--", "sh", "-c",
                            script + '; test "$FD" = 0')
        assert (done.stdout, done.stderr.strip(), done.returncode) == ("", f":{number}", 0)
    assert redis.connections() == 1


def test_the_session_goes_with_the_program_but_not_with_one_that_is_waited_for(daemon):
    """The connection's descriptor, the one that lists them, and without --return the session's."""
    script = "import os; print(sorted(int(n) for n in os.listdir('/proc/self/fd')))"
    for options, count in ([], 6), (["--return"], 5):
        done = daemon.berth("exec", "echo", *options, "--", "/usr/bin/python3", "-c", script)
        assert len(done.stdout.split(",")) == count, done.stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1])
def test_a_signal_to_berth_reaches_the_program_that_it_waits_for(daemon, number):
    program = start(daemon, "exec", "echo", "--return", "--", "/usr/bin/python3", "-c", TRAP, str(int(number)))
    assert program.stdout.readline() == "waits\n"
    program.send_signal(number)
    assert program.communicate(timeout=20)[0] == f"got {int(number)}\n"
    assert program.returncode == 7


# Says which signal has come, once for each, and ends shortly after the first.
TRAP = """
import signal, sys, time
came = []
signal.signal(int(sys.argv[1]), lambda number, _: came.append(number))
print("waits", flush=True)
while not came: time.sleep(0.01)
time.sleep(0.2)
print("got", *came, flush=True)
sys.exit(7)
"""


def test_return_does_not_wait_for_a_child_that_the_program_leaves_behind(daemon):
    script = "FD=3; " + PING + "; sleep 100 </dev/null >/dev/null 2>&1 & echo $!"
    done = daemon.berth("exec", "echo", "--return", "--", "sh", "-c", script)
    survivor = next(int(line) for line in done.stdout.splitlines() if line.isdigit())
    try:
        assert done.returncode == 0
        assert lease_again(daemon) == 1
    finally:
        os.kill(survivor, signal.SIGKILL)


@pytest.fixture
def terminal():
    """terminal(daemon, *words) runs berth on a terminal, as the first process of its session; gives the pid and the
    terminal's other end."""
    started = []

    def run(daemon, *words):
        pid, end = pty.fork()
        if pid == 0:
            os.execve(BERTH, ["berth", *words], daemon.environment())
        started.append((pid, open(end, "r+b", buffering=0)))
        return started[-1]

    yield run
    for pid, end in started:
        end.close()
        with contextlib.suppress(ChildProcessError):  # it has ended, and the test has seen it
            if os.waitpid(pid, os.WNOHANG)[0] == 0:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def shown(end, text):
    """What the terminal shows from `text` to the end of its line."""
    said = b""
    while not (line := re.search(text + rb"[^\r\n]*\r?\n", said)):
        said += end.read(4096)
    return line[0].decode().strip()


def test_an_interrupt_from_the_terminal_reaches_the_program_once(daemon, terminal):
    pid, end = terminal(daemon, "exec", "echo", "--return", "--", "/usr/bin/python3", "-c", TRAP, "2")
    shown(end, b"waits")
    end.write(b"\x03")
    assert shown(end, b"got") == "got 2"
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_the_end_of_the_terminal_reaches_the_program(daemon, terminal, folder):
    """The kernel tells the first process of the terminal's session alone."""
    out = folder / "out"
    pid, end = terminal(daemon, "exec", "echo", "--return", "--", "sh", "-c", f"exec >{out}; exec \"$@\"", "sh",
                        "/usr/bin/python3", "-c", TRAP, "1")
    wait_until(lambda: out.exists() and out.read_text() == "waits\n", "the program waits")
    end.close()
    wait_until(lambda: "got 1" in out.read_text(), "the program is told")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_a_program_that_the_terminal_stops_goes_on_with_berth(daemon):
    """As a shell does it: each job a group, which is stopped and continued."""
    program = start(daemon, "exec", "echo", "--return", "--", "/usr/bin/python3", "-c", TRAP, "10", preexec_fn=os.setpgrp)
    assert program.stdout.readline() == "waits\n"
    os.killpg(program.pid, signal.SIGTSTP)
    assert os.WIFSTOPPED(os.waitpid(program.pid, os.WUNTRACED)[1])
    os.killpg(program.pid, signal.SIGCONT)
    program.send_signal(signal.SIGUSR1)
    assert program.communicate(timeout=20)[0] == "got 10\n"


def test_pipe_connects_standard_input_and_output(daemon):
    pipe = start(daemon, "pipe", "echo")
    for word in "hello", "again":
        pipe.stdin.write(word + "\n")
        pipe.stdin.flush()
        assert pipe.stdout.readline() == f"1 {word}\n"
    rest, _ = pipe.communicate(timeout=20)
    assert (rest, pipe.returncode) == ("", 0)
    assert lease_again(daemon) == 2


@pytest.mark.parametrize("words", [["echo", "--"], ["--", "echo"], ["echo", "--timeout", "5s", "--"]])
def test_pipe_lets_its_options_end_as_exec_does(daemon, words):
    done = daemon.berth("pipe", *words, input="hello\n")
    assert (done.stdout, done.stderr, done.returncode) == ("1 hello\n", "", 0)


def test_pipe_carries_much_both_ways(daemon):
    lines = [f"{n:060}\n" for n in range(50_000)]
    done = daemon.berth("pipe", "echo", input="".join(lines))
    assert done.returncode == 0
    assert done.stdout == "".join("1 " + line for line in lines)


def test_pipe_ends_when_the_server_does(daemon, upstream):
    pipe = start(daemon, "pipe", "echo")
    pipe.stdin.write("hello\n")
    pipe.stdin.flush()
    assert pipe.stdout.readline() == "1 hello\n"
    upstream.hang_up(1)
    assert pipe.wait(20) == 0
    pipe.communicate()


def test_keys_lists_what_one_may_lease(berthd, upstream):
    daemon = berthd({name: {"endpoints": [upstream.url]} for name in ["redis", "mail", "a.b-c_d"]})
    done = daemon.berth("keys")
    assert (done.stdout, done.stderr, done.returncode) == ("a.b-c_d\nmail\nredis\n", "", 0)


def test_a_long_list_of_keys_is_complete(berthd, upstream):
    names = sorted(f"pool-{n:04}" for n in range(1100))
    daemon = berthd({name: {"endpoints": [upstream.url]} for name in names})
    assert daemon.berth("keys").stdout.split() == names
    assert daemon.session().keys() == names


def test_ping_tells_that_berthd_answers(daemon):
    done = daemon.berth("ping")
    assert done.returncode == 0
    assert "berthd" in done.stdout and "ms" in done.stdout


def test_ping_leases_and_gives_back_unused(daemon):
    for state in "new", "warm", "warm":
        done = daemon.berth("ping", "echo")
        assert (done.returncode, done.stderr) == (0, "")
        assert state in done.stdout
    assert lease_again(daemon) == 1


def test_an_unknown_key_is_64_and_names_the_nearest(daemon):
    done = daemon.berth("exec", "ecco", "--", "true")
    assert done.returncode == 64
    assert 'did you mean "echo"' in done.stderr


def test_a_timeout_is_75_and_says_who_holds_it(daemon):
    lease = daemon.session().lease("echo")
    done = daemon.berth("exec", "echo", "--timeout", "100ms", "--", "true")
    assert done.returncode == 75
    assert f"oldest pid {os.getpid()}" in done.stderr
    lease.release()


def test_a_server_that_is_down_is_69(berthd):
    daemon = berthd({"gone": {"endpoints": [f"tcp://127.0.0.1:{free_port()}"]}})
    for words in ["exec", "gone", "--", "true"], ["pipe", "gone"], ["ping", "gone"]:
        done = daemon.berth(*words, stdin=subprocess.DEVNULL)
        assert done.returncode == 69
        assert "Connection refused" in done.stderr and done.stderr.startswith("berth: ")


def test_no_berthd_is_69(folder):
    environment = {**os.environ, "BERTH_SOCKET": f"{folder}/none.sock"}
    done = subprocess.run([BERTH, "ping"], env=environment, capture_output=True, text=True, timeout=20)
    assert done.returncode == 69
    assert f"{folder}/none.sock" in done.stderr


def test_what_is_not_permitted_is_77(berthd, upstream):
    daemon = berthd({"echo": {"endpoints": [upstream.url], "allow_users": [12345]}}, user=False)
    done = daemon.berth("ping", "echo")
    assert done.returncode == 77
    assert "may not" in done.stderr


@pytest.mark.parametrize("words", [
    [], ["exce"], ["exec"], ["exec", "echo"], ["exec", "echo", "--fd"], ["exec", "echo", "--fd", "x", "--", "true"],
    ["exec", "echo", "--fd", "2", "--", "true"], ["exec", "echo", "--env", "A=B", "--", "true"],
    ["exec", "echo", "--stdio", "--fd", "3", "--", "true"],
    ["pipe"], ["pipe", "--"], ["pipe", "echo", "--", "x"], ["pipe", "echo", "--", "--timeout", "5s"], ["ping", "a", "b"], ["keys", "a"], ["ping", "--timeout", "5"], ["--no-such-option"]])
def test_wrong_usage_is_64(daemon, words):
    done = daemon.berth(*words, stdin=subprocess.DEVNULL)
    assert done.returncode == 64
    assert done.stderr and not done.stdout


def test_berth_explains_itself(daemon):
    done = daemon.berth("--help")
    assert done.returncode == 0
    for command in "exec", "pipe", "keys", "ping":
        assert command in done.stdout
        more = daemon.berth(command, "--help")
        assert more.returncode == 0 and command in more.stdout
    assert daemon.berth("--version").stdout.startswith("berth ")


def test_the_socket_may_be_named(daemon, folder):
    environment = {name: value for name, value in os.environ.items() if name != "BERTH_SOCKET"}
    done = subprocess.run([BERTH, "--socket", daemon.path, "ping"], env=environment, timeout=20)
    assert done.returncode == 0


def test_a_program_that_knows_sockets_uses_its_descriptor(daemon):
    """Descriptor 3 is the connected socket itself, blocking, and no relay."""
    script = ("import socket; s = socket.socket(fileno=3); s.sendall(b'hello\\n');"
              "print(s.getpeername()[1], s.recv(99), s.gettimeout())")
    done = daemon.berth("exec", "echo", "--", "/usr/bin/python3", "-c", script)
    assert done.stdout.split(" ", 1)[1] == "b'1 hello\\n' None\n"


def test_ping_gives_back_before_it_exits(daemon):
    """A release and the exit right behind it: many times, so that they meet at times."""
    for _ in range(30):
        assert daemon.berth("ping", "echo").returncode == 0
    session = daemon.session()
    settle(session)
    assert lease_again(daemon) == 1

"""libberth as a user has it: installed, found by pkg-config, linked into programs of one's own."""

import pathlib
import subprocess

import pytest

from installation import FLAGS, config_of, environment, pkg_config, run, variant
from processes import wait_until
from upstream import ask

PROGRAMS = pathlib.Path(__file__).with_name("programs")


def compile_with(installed, command, source, *more):
    # Named after the whole command: coverage data is named after the program.
    program = installed / "-".join([source.name.replace(".", "-"), *command])
    subprocess.run([*command, *FLAGS, *variant()[1], source, "-o", program,
                    *pkg_config(installed, "--cflags", "--libs"), *more], check=True)
    return program


def pool(upstream):
    return {"echo": {"endpoints": [upstream.url], "max_connections": 2}}


@pytest.mark.parametrize("standard", ["c99", "c11"])
def test_a_c_program_leases_and_gives_back(installed, berthd, upstream, standard):
    program = compile_with(installed, ["cc", f"-std={standard}"], PROGRAMS / "ask.c")
    done = run(program, installed, berthd(pool(upstream)))
    assert (done.stdout, done.stderr, done.returncode) == ("new 1 hello\nwarm 1 hello\n", "", 0)


def test_a_c_program_has_the_error_in_words(installed, berthd, upstream):
    program = compile_with(installed, ["cc"], PROGRAMS / "ask.c")
    done = run(program, installed, berthd(pool(upstream)), "ecko")
    assert done.returncode == 1
    assert 'did you mean "echo"' in done.stderr


def test_a_c_program_out_of_descriptors_is_told_leaks_none_and_loses_no_connection(installed, berthd, upstream):
    """A grant that does not fit goes back untouched: the next one to ask has it."""
    program = compile_with(installed, ["cc"], PROGRAMS / "crowded.c")
    daemon = berthd({"echo": {"endpoints": [upstream.url], "max_connections": 40}})
    crowded = subprocess.Popen([program], env=environment(installed, daemon), stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    try:
        one, words, five, three, holds = [crowded.stdout.readline().rstrip("\n") for _ in range(5)]
        assert one == "one without room: Too many open files, 16 open"
        assert "too few free descriptors" in words and "ulimit -n" in words
        assert five == "five with room for three: Too many open files, 13 open"
        assert three == "three: leased, 16 open"
        held = int(holds.removeprefix("holds "))
        dialled = held + 2  # a batch of five, where three of the held ones had gone back
        wait_until(lambda: upstream.open == list(range(1, dialled + 1)), "all that was dialled is accepted")
        with daemon.session().lease_many("echo", dialled - held, timeout=5) as leases:
            assert all(lease.reused for lease in leases)
            assert len({ask(lease.sock) for lease in leases}) == dialled - held
        crowded.communicate(timeout=20)
        assert crowded.returncode == 0
        with daemon.session().lease_many("echo", dialled, timeout=5) as leases:
            assert sorted(ask(lease.sock) for lease in leases) == upstream.open
        assert upstream.accepted == dialled
    finally:
        crowded.kill()
        crowded.communicate()


def test_a_c_program_goes_on_while_berthd_is_away(installed, berthd, upstream, folder):
    """It starts before berthd, and survives its end; what berthd refuses stays refused."""
    program = compile_with(installed, ["cc"], PROGRAMS / "fallback.c")
    daemon = berthd(pool(upstream))
    nowhere = {**environment(installed, daemon), "BERTH_SOCKET": str(folder / "later.sock")}
    running = subprocess.Popen([program, upstream.url], env=nowhere, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               text=True)

    def asked():
        running.stdin.write("\n")
        running.stdin.flush()
        return running.stdout.readline().rstrip("\n")

    try:
        assert asked() == "1 hello without berthd, 1 in all"
        assert asked() == "2 hello without berthd, 2 in all"
        (folder / "later.sock").symlink_to(daemon.path)
        assert asked() == "3 hello from berthd, 2 in all"
        with daemon.session().lease_many("echo", 2):
            assert asked().startswith("error: timed out after 1 s")
        daemon.kill()
        assert asked().endswith("hello without berthd, 3 in all")
        running.communicate(timeout=20)
        assert running.returncode == 0
    finally:
        running.kill()
        running.communicate()


@pytest.mark.parametrize("standard", ["c++17", "c++20"])
def test_a_cpp_program_has_leases_that_end_by_themselves(installed, berthd, upstream, standard):
    program = compile_with(installed, ["c++", f"-std={standard}"], PROGRAMS / "ask.cc")
    done = run(program, installed, berthd(pool(upstream)))
    assert (done.stdout, done.stderr) == ("new 1 hello\nwarm 1 hello\n2 together\n", "")


def test_the_static_library_serves_too(installed, berthd, upstream):
    libraries = config_of(installed).parent
    program = installed / "static"
    flags = [flag for flag in pkg_config(installed, "--static", "--cflags", "--libs") if flag != "-lberth"]
    subprocess.run(["cc", *variant()[1], PROGRAMS / "ask.c", libraries / "libberth.a", *flags, "-o", program],
                   check=True)
    done = run(program, installed, berthd(pool(upstream)))
    assert done.stdout == "new 1 hello\nwarm 1 hello\n"


def test_the_installed_programs_work(installed, berthd, upstream):
    daemon = berthd(pool(upstream))
    berth, = installed.rglob("bin/berth")
    berthd_, = installed.rglob("sbin/berthd")
    assert subprocess.run([berth, "keys"], env=daemon.environment(), capture_output=True, text=True).stdout == "echo\n"
    assert subprocess.run([berthd_, "--version"], capture_output=True).returncode == 0

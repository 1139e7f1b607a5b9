"""libberth as a user has it: installed, found by pkg-config, linked into programs of one's own."""

import os
import pathlib
import subprocess
import tempfile

import pytest

from berthd import BUILD, TOP
from servers import need

PROGRAMS = pathlib.Path(__file__).with_name("programs")
FLAGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]


def variant():
    """The make variables and compiler flags of the build under test."""
    folder = f"BUILD={BUILD.relative_to(TOP) if BUILD.is_relative_to(TOP) else BUILD}"
    if BUILD.name == "coverage":
        return [folder, "COVERAGE=yes"], ["--coverage"]
    sanitizers = BUILD.name.replace("-", ",") if "address" in BUILD.name or "thread" in BUILD.name else ""
    return [folder, f"SANITIZE={sanitizers}"], [f"-fsanitize={sanitizers}"] if sanitizers else []


def make(*words):
    environment = {name: value for name, value in os.environ.items()
                   if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    return subprocess.run(["make", "--no-print-directory", "-C", TOP, *words], env=environment, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)


@pytest.fixture(scope="module")
def installed():
    """Where make install has put everything."""
    need("pkg-config", "cc", "c++")
    with tempfile.TemporaryDirectory(prefix="berth-e2e-") as folder:
        done = make("install", f"DESTDIR={folder}", *variant()[0])
        assert done.returncode == 0, done.stdout
        yield pathlib.Path(folder)


def config_of(installed):
    return next(installed.rglob("berth.pc")).parent


def pkg_config(installed, *words):
    environment = {**os.environ, "PKG_CONFIG_LIBDIR": str(config_of(installed)),
                   "PKG_CONFIG_SYSROOT_DIR": str(installed)}
    done = subprocess.run(["pkg-config", *words, "berth"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def compile_with(installed, command, source, *more):
    # Named after the whole command: coverage data is named after the program.
    program = installed / "-".join([source.name.replace(".", "-"), *command])
    subprocess.run([*command, *FLAGS, *variant()[1], source, "-o", program,
                    *pkg_config(installed, "--cflags", "--libs"), *more], check=True)
    return program


def run(program, installed, daemon, *words):
    libraries = config_of(installed).parent
    return subprocess.run([program, *words], env={**daemon.environment(), "LD_LIBRARY_PATH": str(libraries)},
                          capture_output=True, text=True, timeout=20)


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

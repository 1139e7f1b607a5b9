"""libberth as a user has it: installed, found by pkg-config, linked into programs of one's own."""

import os
import subprocess

from berthd import BUILD, TOP

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


def config_of(installed):
    return next(installed.rglob("berth.pc")).parent


def pkg_config(installed, *words):
    environment = {**os.environ, "PKG_CONFIG_LIBDIR": str(config_of(installed)),
                   "PKG_CONFIG_SYSROOT_DIR": str(installed)}
    done = subprocess.run(["pkg-config", *words, "berth"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def environment(installed, daemon):
    return {**daemon.environment(), "LD_LIBRARY_PATH": str(config_of(installed).parent)}


def run(program, installed, daemon, *words):
    return subprocess.run([program, *words], env=environment(installed, daemon), capture_output=True, text=True,
                          timeout=20)

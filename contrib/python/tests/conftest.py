import gc
import os

import pytest

from daemon import Daemon


def open_descriptors():
    """Number -> target of what this process has open, without what the test machinery opens."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            pass  # the directory itself
    return found


@pytest.fixture(autouse=True)
def no_leaked_descriptors():
    before = open_descriptors()
    yield
    if open_descriptors() != before:
        gc.collect()
    assert open_descriptors() == before


@pytest.fixture
def daemon(tmp_path):
    """daemon(script) starts a scripted berthd and returns it; its path is `.path`."""
    started = []

    def start(script, **options):
        started.append(Daemon(str(tmp_path / f"{len(started)}.sock"), script, **options))
        return started[-1]

    yield start
    for each in started:
        each.finish()

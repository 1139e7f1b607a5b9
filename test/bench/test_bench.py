"""The benchmarks run and say what they measured; whether the numbers are good is not asked here."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import pytest

BENCH = pathlib.Path(__file__).parent
LIMIT_S = 240


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)


@pytest.fixture
def folder():
    """A short path, as sockets need."""
    with tempfile.TemporaryDirectory(prefix="berth-") as path:
        yield pathlib.Path(path)


def test_a_quick_run_measures_all_rows_and_leaves_nothing(folder):
    (folder / "tmp").mkdir()
    done = run("env", f"TMPDIR={folder}/tmp", BENCH / "run", "--quick", "--output", folder / "bench.json")
    assert done.returncode == 0, done.stderr
    rows = json.loads((folder / "bench.json").read_text())
    assert len(rows) >= 6
    for row in rows:
        assert set(row) == {"name", "value", "unit", "baseline", "ratio", "target"}
        assert row["name"] in done.stdout
        assert row["value"] >= 0
        assert row["ratio"] is None or row["ratio"] > 0
        assert row["target"] is None or re.fullmatch(r"[<>]=[\d.]+", row["target"])
    assert not list((folder / "tmp").iterdir())


def test_a_broken_server_is_a_failure(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/berthd").symlink_to(shutil.which("false"))
    for folder in ("bench", "test"):
        (tmp_path / folder).symlink_to(pathlib.Path(os.environ["BERTH_BUILD"]).resolve() / folder)
    done = run("env", f"BERTH_BUILD={tmp_path}", BENCH / "run", "--quick")
    assert done.returncode == 1
    assert re.match(r"bench: .*/bin/berthd does not serve ", done.stderr)
    assert not (tmp_path / "bench.json").exists()


@pytest.mark.skipif(not shutil.which("valgrind"), reason="valgrind is not installed")
def test_instructions_are_counted():
    done = run(BENCH / "callgrind", "--leases", "500", "--top", "3")
    assert done.returncode == 0, done.stderr
    assert re.match(r" +[\d,]+  instructions of berthd for a lease \+ release\n", done.stdout), done.stdout

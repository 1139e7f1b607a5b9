"""test/tidy/layers finds what breaks the layering, and nothing in a tree that keeps it."""

import pathlib
import subprocess

import pytest

LAYERS = pathlib.Path(__file__).with_name("layers")


def check(tmp_path, files):
    for name, text in files.items():
        file = tmp_path / "src" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    done = subprocess.run([LAYERS, tmp_path], capture_output=True, text=True)
    return done.returncode, done.stdout


def test_a_tree_that_points_down_is_clean(tmp_path):
    status, output = check(tmp_path, {
        "base/ids.h": "#include <cstdint>\n",
        "base/clock.cc": "#include <ctime>\nauto now() { return std::chrono::steady_clock::now(); }\n",
        "pool/depot.h": '#include "base/ids.h"\n#include "pool/waiter.h"\n',
        "pool/waiter.h": "// not steady_clock::now(), nor\n/* #include <uv.h>\n#include <sys/socket.h> */\n",
        "wire/session_frames.h": "",
        "wire/tls_engine.cc": "#include <mbedtls/ssl.h>\n",
        "loop/loop.cc": "#include <uv.h>\n",
        "net/dial.cc": '#include <sys/socket.h>\n#include "loop/loop.h"\n',
        "control/leases.cc": '#include <grpcpp/grpcpp.h>\n#include "berth/v1/leases.grpc.pb.h"\n',
        "client/berth/berth.h": "",
        "client/session.cc": '#include "berth/berth.h"\n#include "wire/session_frames.h"\n#include "base/ids.h"\n',
        "cli/main.cc": "#include <berth/berth.h>\n",
    })
    assert (status, output) == (0, "")


@pytest.mark.parametrize("file, line, wrong, right", [
    ("base/ids.h", '#include "pool/depot.h"', "src/base includes pool/depot.h", "turn the dependency around"),
    ("pool/depot.h", '#include "channel/balancer.h"', "includes channel/balancer.h", "may include base, pool;"),
    ("pool/depot.h", '#include "../net/dial.h"', "includes ../net/dial.h", "turn the dependency around"),
    ("pool/depot.h", "#  include <sys/socket.h>", "includes sys/socket.h", "policy knows no sockets"),
    ("pool/depot.h", "#include <uv.h>", "includes uv.h", "ask src/loop"),
    ("net/dial.cc", "#include <uv.h>", "includes uv.h", "ask src/loop"),
    ("channel/balancer.cc", "auto t = std::chrono::steady_clock::now();", "reads a clock", "take `now`"),
    ("pool/depot.cc", "clock_gettime(CLOCK_MONOTONIC, &t);", "reads a clock", "take `now`"),
    ("broker/broker.cc", "#include <grpcpp/grpcpp.h>", "includes grpcpp/grpcpp.h", "stay in control"),
    ("broker/broker.cc", '#include "berth/v1/admin.pb.h"', "includes berth/v1/admin.pb.h", "stay in control"),
    ("broker/broker.cc", "#include <systemd/sd-daemon.h>", "includes systemd/sd-daemon.h", "only src/daemon"),
    ("net/ktls.cc", "#include <mbedtls/ssl.h>", "includes mbedtls/ssl.h", "only wire/tls_*.cc"),
    ("wire/socks5.cc", "#include <mbedtls/ssl.h>", "includes mbedtls/ssl.h", "only wire/tls_*.cc"),
    ("keeper/keeper.cc", '#include "net/close.h"', "includes net/close.h", "may include keeper, base, table"),
    ("client/session.cc", '#include "wire/steps.h"', "includes wire/steps.h", "wire/session_frames.h"),
    ("client/session.cc", "#include <absl/status/status.h>", "includes absl/status/status.h", "no library here"),
    ("cli/main.cc", '#include "wire/session_frames.h"', "includes wire/session_frames.h", "include cli, base, client"),
    ("ctl/main.cc", '#include "broker/broker.h"', "includes broker/broker.h", "may include ctl, base, wire"),
    ("util/strings.h", "", "src/util is no layer", "put the file into one"),
])
def test_a_breach_is_told_with_its_place_and_its_remedy(tmp_path, file, line, wrong, right):
    first = "" if file.startswith("util") else "#pragma once\n"
    status, output = check(tmp_path, {"net/dial.h": "", file: first + line + "\n"})
    number = 2 if first else 1
    assert status == 1
    assert output.startswith(f"src/{file}:{number}: ")
    assert wrong in output and right in output
    assert output.count("\n") == 1


def test_a_tree_without_sources_is_not_taken_for_a_clean_one(tmp_path):
    (tmp_path / "src").mkdir()
    assert check(tmp_path, {})[0] == 1

"""The units, as make install leaves them: judged by systemd's own tools, which start nothing here."""

import configparser
import os
import pathlib
import re
import subprocess

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BERTH_BUILD", TOP / "build"))


def run(*words, **options):
    return subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=60, **options)


@pytest.fixture(scope="module")
def configured():
    """The directories of config.mak."""
    return dict(re.findall(r"^(\w+) := (.*)$", (TOP / "config.mak").read_text(), re.MULTILINE))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("root")
    done = run("make", "--silent", "-C", TOP, f"BUILD={BUILD.relative_to(TOP)}", f"DESTDIR={folder}", "install")
    assert done.returncode == 0, done.stdout
    return folder


def place(root, configured, variable):
    return root / configured[variable].lstrip("/")


@pytest.fixture
def service(root, configured):
    return place(root, configured, "systemdsystemunitdir") / "berthd.service"


def settings(unit):
    """Of [Service]; of what is there more than once the last."""
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str
    parser.read(unit)
    return parser["Service"]


def test_the_service_is_exposed_little(service):
    done = run("systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager", service)
    assert done.returncode == 0, done.stdout
    assert re.search(r"Overall exposure level for berthd.service: [01]\.\d OK", done.stdout)


def test_nothing_hides_the_clients_from_the_service(service):
    """Their uids, their processes' names, their network namespaces."""
    hides = {"PrivateUsers", "ProtectProc", "PrivatePIDs", "PrivateNetwork", "NetworkNamespacePath"}
    assert not hides & set(settings(service))


def test_the_service_may_pin_sockets_and_nothing_else(service):
    assert settings(service)["AmbientCapabilities"] == "CAP_NET_ADMIN"
    assert settings(service)["CapabilityBoundingSet"] == "CAP_NET_ADMIN"


def system_calls(name):
    """What a set of systemd's, such as @process, has in it."""
    shown = run("systemd-analyze", "syscall-filter", "--no-pager", name).stdout
    words = [line.split("#")[0].strip() for line in shown.splitlines()[1:]]
    return {call for word in words if word for call in (system_calls(word) if word.startswith("@") else {word})}


def test_the_service_may_run_programs(service):
    """What libuv, the C library and a program's start need; and nothing in the unit forbids execution."""
    filters = re.findall(r"^SystemCallFilter=(.*)$", service.read_text(), re.MULTILINE)
    assert filters == ["@system-service", "~@privileged @resources"]
    allowed = system_calls("@system-service") - system_calls("@privileged") - system_calls("@resources")
    needed = {"clone", "clone3", "vfork", "execve", "wait4", "kill", "setsid", "pipe2", "dup3", "fcntl", "socketpair",
              "sendmsg", "recvmsg", "close_range", "prctl", "chdir", "rt_sigaction", "rt_sigprocmask"}
    assert needed <= allowed, needed - allowed
    assert not {"NoExecPaths", "ExecPaths", "TasksMax", "RootDirectory"} & set(settings(service))


@pytest.mark.parametrize("kind", ["system", "user"])
def test_the_units_are_valid(root, configured, tmp_path, kind):
    """With the program where it is installed to here, which is not where it will be."""
    for unit in place(root, configured, f"systemd{kind}unitdir").iterdir():
        text = unit.read_text().replace(configured["sbindir"], str(place(root, configured, "sbindir")))
        (tmp_path / unit.name).write_text(text)
    units = sorted(tmp_path.glob("berthd*"))
    assert len(units) == {"system": 3, "user": 1}[kind]
    done = run("systemd-analyze", "verify", "--man=no", *(["--user"] if kind == "user" else []), *units,
               env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)})
    complaints = [line for line in done.stdout.splitlines() if "berth" in line]
    assert not complaints, done.stdout


@pytest.mark.parametrize("kind", ["system", "user"])
def test_a_stop_may_take_longer_than_the_drain(root, configured, kind):
    unit = settings(place(root, configured, f"systemd{kind}unitdir") / "berthd.service")
    shown = run(BUILD / "bin/berthd", "--config", "/dev/null", "--check-config").stdout
    drain = re.search(r'drain_timeout = "(\d+)s"', shown)
    assert int(unit["TimeoutStopSec"].removesuffix("s")) > int(drain[1])


def test_the_sockets_are_those_that_the_daemon_knows_where_clients_look(root, configured):
    units = place(root, configured, "systemdsystemunitdir")
    run_dir = configured["runstatedir"]
    lease, control = (units / name for name in ("berthd.socket", "berthd-control.socket"))
    assert f"FileDescriptorName=lease\nListenSequentialPacket={run_dir}/berth/lease.sock\n" in lease.read_text()
    assert f"FileDescriptorName=control\nListenStream={run_dir}/berth/control.sock\n" in control.read_text()
    assert "\nService=berthd.service\n" in control.read_text()


def test_the_kernels_tls_is_loaded_at_boot(root, configured):
    lines = (place(root, configured, "modulesloaddir") / "berth.conf").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["tls"]


def test_the_user_and_its_folder_can_be_made(root, configured):
    (root / "etc").mkdir(exist_ok=True)
    done = run("systemd-sysusers", f"--root={root}", place(root, configured, "sysusersdir") / "berth.conf")
    assert done.returncode == 0, done.stdout
    assert re.search(r"^berth:", (root / "etc/passwd").read_text(), re.MULTILINE)
    if os.getuid() != 0:
        pytest.skip("needs root, to give a folder to another user")
    done = run("systemd-tmpfiles", f"--root={root}", "--create", place(root, configured, "tmpfilesdir") / "berth.conf")
    assert done.returncode == 0, done.stdout
    folder = root / configured["runstatedir"].lstrip("/") / "berth"
    uid = re.search(r"^berth:[^:]*:(\d+):", (root / "etc/passwd").read_text(), re.MULTILINE)[1]
    for made in (folder.stat(), (folder / "sockets").stat()):
        assert (made.st_mode & 0o7777, made.st_uid) == (0o755, int(uid))

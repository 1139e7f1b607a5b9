"""Every recipe of contrib/cookbook.md, as it is printed there, on a host as it presumes one."""

import contextlib
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import tempfile

import pytest

from berthd import TOP
from installation import variant
from processes import Program, a_host, mount_over, try_connect
from servers import MariaDB, Nginx, PostgreSQL, Redis, need
from test_programs import npm_install
from tls_files import TlsFiles

# What coverage of programs that another user runs complains of.
PROFILING = re.compile(r"^profiling:.*\n", re.MULTILINE)

COOKBOOK = TOP / "contrib/cookbook.md"
MAX_LINES = 10
USER = "www-data"


class Recipe:
    """A heading, what is under it, and how it is run."""

    def __init__(self, title, text):
        self.title = title
        blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        self.settings = "".join(body for language, body in blocks if language == "toml")
        self.outputs = [body for language, body in blocks if language == "output"]
        self.codes = [block for block in blocks if block[0] not in ("toml", "output")]

    @property
    def language(self):
        return self.codes[0][0]

    @property
    def code(self):
        return self.codes[0][1]

    def complaints(self):
        """Why it is none."""
        if len(self.codes) != 1:
            yield f"has {len(self.codes)} blocks of code instead of one"
        for language, code in self.codes:
            if language not in RUNNERS:
                yield f"is in {language or 'no language'}, which nothing here runs"
            if code.count("\n") > MAX_LINES:
                yield f"has {code.count(chr(10))} lines, over {MAX_LINES}"
        if len(self.outputs) > 1:
            yield "prints twice"


def file_in(suffix, *command):
    def run(recipe):
        name = f"recipe.{suffix}"
        return {name: recipe.code}, shlex.join([*command, name])
    return run


def named(recipe):
    """By the command in its first line, which names the file."""
    command = recipe.code.splitlines()[0].removeprefix("//").removeprefix("/*").removesuffix("*/").strip()
    name = re.search(r"\S+\.(c|cc|java)\b", command)[0]
    return {name: recipe.code}, command


# Language -> a function from the recipe to the files that it needs and the command for a shell.
RUNNERS = {
    "sh": lambda recipe: ({}, recipe.code),
    "python": file_in("py", "/usr/bin/python3", "-W", "error"),
    "php": file_in("php", "php"),
    "js": file_in("js", "node"),
    "c": named,
    "cpp": named,
    "java": named,
}


def parse(text):
    """The configuration of all, and a recipe for each heading that has none below it."""
    # Headings are looked for where code and comments are blank, so that a # there is none.
    plain = re.sub(r"^```.*?^```$|<!--.*?-->", lambda found: re.sub(r"[^\n]", " ", found[0]), text,
                   flags=re.MULTILINE | re.DOTALL)
    headings = list(re.finditer(r"^(#+) (.+)$", plain, re.MULTILINE))
    bodies = [text[here.end():there] for here, there in
              zip(headings, [heading.start() for heading in headings[1:]] + [len(text)])]
    depths = [len(heading[1]) for heading in headings] + [0]
    first, *recipes = [Recipe(heading[2], body) for heading, body, depth, next_depth
                       in zip(headings, bodies, depths, depths[1:])
                       if depth == 1 or next_depth <= depth]
    return first.settings, recipes


CONFIG, RECIPES = parse(COOKBOOK.read_text())


def healthy(folder, port):
    program = Program(folder, "/usr/bin/python3", pathlib.Path(__file__).with_name("programs") / "healthy.py", port)
    return program.ready(lambda: try_connect(port))


def redis_with_tls(folder, port):
    """Its certificates are where the recipes have them."""
    place = pathlib.Path("/run/redis")
    place.mkdir()
    files = TlsFiles(folder)
    shutil.copy(files.ca, place / "ca.pem")
    return Redis(folder, tls=files.server("127.0.0.1"), tls_port=port)


# By their usual ports: those that a configuration names run.
SERVERS = {
    80: lambda folder, port: Nginx(folder, port=port, answer="hello\\n"),
    3306: lambda folder, port: MariaDB(folder, port=port),
    5432: lambda folder, port: PostgreSQL(folder, port=port),
    6379: lambda folder, port: Redis(folder, port=port),
    6380: redis_with_tls,
    50051: healthy,
}


class Host:
    """What the cookbook presumes: berth installed, servers at their usual ports, berthd as a service."""

    def __init__(self, folder, stack):
        self.folder = folder
        self._stack = stack
        self._path = f"{self._compilers()}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
        shutil.copytree(TOP / "contrib", folder / "contrib", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.chown(folder, USER)
        self._servers = set()
        self._berthd = None
        self._settings = None

    def _place(self, name):
        path = self.folder / name
        path.mkdir()
        return path

    def _compilers(self):
        """A folder before all others, with compilers that know of sanitizers if the library has them."""
        place = self._place("bin")
        flags = variant()[1]
        for name in ("cc", "c++") if flags else ():
            path = place / name
            path.write_text(f'#!/bin/sh\nexec /usr/bin/{name} {shlex.join(flags)} "$@"\n')
            path.chmod(0o755)
        return place

    def _need_server(self, port):
        if port not in self._servers:
            server = SERVERS[port](self._place(str(port)), port)
            self._stack.callback(server.kill)
            self._servers.add(port)

    def configure(self, settings):
        """berthd runs with this configuration from now on."""
        if settings == self._settings:
            return
        for port in re.findall(r"^endpoints = .*t(?:cp|ls)://127\.0\.0\.1:(\d+)", settings, re.MULTILINE):
            self._need_server(int(port))
        if self._berthd is not None:
            self._settings = None
            self._berthd.signal(signal.SIGTERM)
            assert self._berthd.wait() == 0
        place = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        config = place / "berthd.toml"
        config.write_text(settings)
        self._berthd = Program(place, "/usr/local/sbin/berthd", "--config", config)
        self._stack.callback(self._berthd.kill)
        self._berthd.ready(lambda: "ready:" in self._berthd.output())
        self._settings = settings

    def run(self, recipe):
        files, command = RUNNERS[recipe.language](recipe)
        for name, text in files.items():
            (self.folder / name).write_text(text)
        environment = {**os.environ, "PATH": self._path, "PYTHONPATH": "contrib/python", "HOME": str(self.folder),
                       "LD_LIBRARY_PATH": "/usr/local/lib", "PYTHONDONTWRITEBYTECODE": "1"}
        # Recipes end without tidying up.
        environment["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
        for name in "BERTH_SOCKET", "XDG_RUNTIME_DIR":
            environment.pop(name, None)
        done = subprocess.run(["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "sh", "-ec", command],
                              cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=120)
        assert done.returncode == 0, done.stdout
        return PROFILING.sub("", done.stdout.replace("\r\n", "\n"))


@pytest.fixture(scope="module")
def host(installed):
    if os.getuid() != 0:
        pytest.skip("needs root, to make a host of its own")
    if not (installed / "usr/local/bin/berth").exists():
        pytest.skip("configured for another --prefix than the cookbook presumes, /usr/local")
    need("ip", "setpriv", "redis-server", "nginx")
    pytest.importorskip("grpc")
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="berth-e2e-")))
        folder.chmod(0o755)
        for module in {module for recipe in RECIPES for module in modules_of_node(recipe)}:
            npm_install(folder, module)
        stack.enter_context(a_host())
        mount_over(installed / "usr/local", "/usr/local")
        os.mkdir("/run/berth")
        yield Host(folder, stack)


def skip_what_is_not_installed(host, recipe):
    for name in re.findall(r"^import (\w+)$", recipe.code, re.MULTILINE) if recipe.language == "python" else ():
        pytest.importorskip(name)
    for module in re.findall(r"--libs berth ([\w+. -]+)\)", recipe.code):
        if subprocess.run(["pkg-config", "--exists", *module.split()]).returncode != 0:
            pytest.skip(f"{module} is not installed")
    program = {"php": "php", "js": "node", "java": "java"}.get(recipe.language)
    if program:
        need(program)
    for module in modules_of_node(recipe):
        if not (host.folder / "node_modules" / module).exists():
            pytest.skip(f"npm cannot install {module} here")


def modules_of_node(recipe):
    return set(re.findall(r'require\("(\w+)"\)', recipe.code if recipe.language == "js" else "")) - {"http"}


@pytest.mark.parametrize("recipe", RECIPES, ids=[recipe.title for recipe in RECIPES])
def test_a_recipe_prints_what_the_cookbook_says(host, recipe):
    assert not list(recipe.complaints())
    skip_what_is_not_installed(host, recipe)
    host.configure(CONFIG + recipe.settings)
    printed = host.run(recipe)
    for expected in recipe.outputs:
        pattern = re.escape(expected.rstrip("\n")).replace("…", "(?s:.*)")
        assert re.fullmatch(pattern, printed.rstrip("\n")), f"it printed:\n{printed}\ninstead of:\n{expected}"


def test_every_block_of_code_is_in_a_recipe():
    """None is left out, as under a heading that has others below it."""
    blocks = re.findall(r"^```(\w*)$", COOKBOOK.read_text(), re.MULTILINE)
    in_recipes = sum(len(recipe.codes) + len(recipe.outputs) for recipe in RECIPES)
    assert len([each for each in blocks if each not in ("", "toml")]) == in_recipes


@pytest.mark.parametrize("text, complaint", [
    ("```sh\n" + "true\n" * 11 + "```\n", "has 11 lines, over 10"),
    ("```cobol\nSTOP RUN.\n```\n", "is in cobol, which nothing here runs"),
    ("```sh\ntrue\n```\n```sh\ntrue\n```\n", "has 2 blocks of code instead of one"),
    ("Nothing.\n", "has 0 blocks of code instead of one"),
])
def test_what_is_no_recipe_is_told(text, complaint):
    _, (recipe,) = parse(f"# Book\n## Recipe\n{text}")
    assert complaint in list(recipe.complaints())

"""The servers of other people that berth must work with, each on a free loopback port."""

import contextlib
import itertools
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess

import pytest

from processes import Program, free_port, try_connect, wait_until
from upstream import read_line


def need(*programs):
    """The paths of programs; skips the test if one is missing."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/lib/postgresql/15/bin"
    found = [shutil.which(program, path=path) for program in programs]
    for program, where in zip(programs, found):
        if where is None:
            pytest.skip(f"{program} is not installed")
    return found


class Redis:
    """tls  its Certificate (tls_files.py), for a port with TLS beside that without; it wants one of `clients` too, if
         that is the file of an authority."""

    def __init__(self, folder, password=None, host="127.0.0.1", port=None, options=(), tls=None, tls_port=None,
                 clients=None):
        self._folder = folder
        self._options = list(options)
        self._password = password
        if tls:
            self.tls_port = tls_port or free_port()
            self.tls_url = f"tls://{host}:{self.tls_port}"
            self._options += ["--tls-port", self.tls_port, "--tls-cert-file", tls.file, "--tls-key-file", tls.key,
                              "--tls-ca-cert-file", clients or tls.file, "--tls-auth-clients", "yes" if clients else "no"]
        self._program, = need("redis-server")
        self.host = host
        self.port = port or free_port()
        self.url = f"tcp://{host}:{self.port}"
        self._running = None
        self.start()

    def start(self):
        self._running = Program(
            self._folder, self._program, "--port", self.port, "--bind", self.host, "--save", "",
            "--daemonize", "no", *(["--requirepass", self._password] if self._password else []), *self._options)
        self._running.ready(lambda: try_connect(self.port, self.host))
        self._admin = socket.create_connection((self.host, self.port))
        if self._password:
            self.command("AUTH", self._password)
        self._connected_at_start = self._total_connections()

    def kill(self):
        """Returns once its sockets are gone."""
        self._admin.close()
        self._running.kill()

    def command(self, *words):
        return redis(self._admin, *words)

    def connections(self):
        """How many came since the start, not counting this one."""
        return self._total_connections() - self._connected_at_start

    def calls(self, command):
        """How often somebody has sent this command."""
        found = re.search(rf"^cmdstat_{command}:calls=(\d+)", self.command("INFO", "commandstats"), re.MULTILINE)
        return int(found[1]) if found else 0

    def kill_clients(self):
        return self.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    def _total_connections(self):
        stats = dict(line.split(":", 1) for line in self.command("INFO", "stats").split() if ":" in line)
        return int(stats["total_connections_received"])


def redis(sock, *words):
    """One Redis command and its answer: int, str, list, None, or RuntimeError."""
    request = b"*%d\r\n" % len(words)
    for word in words:
        data = str(word).encode()
        request += b"$%d\r\n%s\r\n" % (len(data), data)
    sock.sendall(request)
    return _redis_answer(sock)


def _redis_answer(sock):
    line = read_line(sock).decode()
    kind, rest = line[:1], line[1:]
    if kind == "-":
        raise RuntimeError(rest)
    if kind == "+":
        return rest
    size = int(rest)
    if kind == ":":
        return size
    if size < 0:
        return None
    if kind == "*":
        return [_redis_answer(sock) for _ in range(size)]
    return _exactly(sock, size + 2)[:-2].decode()


def _exactly(sock, size):
    data = sock.recv(size, socket.MSG_WAITALL)
    assert len(data) == size, f"the connection ended after {data!r}"
    return data


class Dnsmasq:
    """A name server for the names that it is told, all below .test, and nothing else; root only.

    hosts     {"name": ["address"]}, which tell() changes
    services  {"_service._tcp.name": [(target, port, priority, weight)]}
    """

    def __init__(self, folder, hosts, services=None):
        self._folder = pathlib.Path(folder)
        self._program, = need("dnsmasq")
        # Of the network 127.0.0.0/8, so that port 53 is nobody else's.
        self.address = f"127.53.{os.getpid() % 250 + 1}.{next(_name_servers) % 250 + 1}"
        self._hosts = self._folder / "dnsmasq.hosts"
        self._services = services or {}
        self._running = None
        self.tell(hosts)
        self.start()

    def start(self):
        records = [f"--srv-host={name},{','.join(map(str, each))}"
                   for name, all_of_it in self._services.items() for each in all_of_it]
        self._running = Program(
            # With --no-daemon it would serve nobody else while a TCP connection lasts.
            self._folder, self._program, "--keep-in-foreground", "--log-facility=-", "--conf-file=/dev/null",
            "--user=root", "--pid-file=",
            f"--listen-address={self.address}", "--bind-interfaces", "--no-resolv", "--no-hosts", "--local=/test/",
            f"--addn-hosts={self._hosts}", "--local-ttl=1", "--txt-record=empty.test,no address", *records)
        self._running.ready(lambda: try_connect(53, self.address))

    def tell(self, hosts):
        """From now on these names have these addresses."""
        lines = [f"{address} {name}\n" for name, addresses in hosts.items() for address in addresses]
        self._hosts.write_text("".join(lines))
        self._hosts.chmod(0o644)
        if self._running:
            read = self._running.output().count(f"read {self._hosts}")
            self._running.signal(signal.SIGHUP)
            wait_until(lambda: self._running.output().count(f"read {self._hosts}") > read, "dnsmasq reads its hosts")

    def kill(self):
        self._running.kill()


_name_servers = itertools.count()


class Memcached:
    def __init__(self, folder):
        program, = need("memcached")
        self.path = str(pathlib.Path(folder, "memcached.sock"))
        self.url = f"unix://{self.path}"
        user = ["-u", "root"] if os.getuid() == 0 else []
        self._running = Program(folder, program, "-s", self.path, "-a", "777", "-m", "8", *user)
        self._admin = None
        self._running.ready(lambda: os.path.exists(self.path) and self._connect())
        self._connected_at_start = self._total_connections()

    def _connect(self):
        """One connection alone: others would be counted when its worker comes to it."""
        sock = socket.socket(socket.AF_UNIX)
        with contextlib.suppress(OSError):
            sock.connect(self.path)
            self._admin = sock
            return True
        sock.close()
        return False

    def connections(self):
        return self._total_connections() - self._connected_at_start

    def _total_connections(self):
        self._admin.sendall(b"stats\r\n")
        stats = {}
        while (line := read_line(self._admin)) != b"END":
            _, name, value = line.split(b" ", 2)
            stats[name] = value
        return int(stats[b"total_connections"])

    def kill(self):
        self._admin.close()
        self._running.kill()


class Nginx:
    """Answers every request with the number of its connection and the request's number on it, or as it is told.

    calls_of  a port: a server of gRPC, to which it passes the calls that come
    """

    # tls: lines for the server, with its certificate.
    CONFIG = """
        daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr;
        events {{ worker_connections 256; }}
        http {{
          access_log off;
          keepalive_timeout {keepalive_timeout}; keepalive_requests {keepalive_requests};
          client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
          fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
          server {{
            listen 127.0.0.1:{port}{how};
            {tls}
            location / {{ {answer}; }}
            location /status {{ stub_status; }}
          }}
        }}
    """

    def __init__(self, folder, keepalive_timeout="60s", keepalive_requests=1000, port=None,
                 answer="$connection $connection_requests", tls=None, tls_options="", calls_of=None):
        program, = need("nginx")
        self.port = port or free_port()
        scheme = "grpc" + "s" * bool(tls) if calls_of else "tls" if tls else "tcp"
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        if tls:
            tls_options += f" ssl_certificate {tls.file}; ssl_certificate_key {tls.key};"
        config = pathlib.Path(folder, "nginx.conf")
        config.write_text(self.CONFIG.format(folder=folder, port=self.port, keepalive_timeout=keepalive_timeout,
                                             keepalive_requests=keepalive_requests, tls=tls_options,
                                             how=" http2" * bool(calls_of) + " ssl" * bool(tls),
                                             answer=f"grpc_pass grpc://127.0.0.1:{calls_of}" if calls_of else
                                             f'return 200 "{answer}"'))
        self._running = Program(folder, program, "-p", folder, "-e", "stderr", "-c", config)
        self._running.ready(lambda: try_connect(self.port))

    def kill(self):
        self._running.kill()


class Stunnel:
    """Speaks TLS before a server that does not."""

    CONFIG = """
        foreground = yes
        pid =
        debug = info
        output = /dev/stderr
        syslog = no
        {options}
        [service]
        accept = 127.0.0.1:{port}
        connect = 127.0.0.1:{server}
        cert = {cert}
        key = {key}
    """

    def __init__(self, folder, server_port, tls, options=""):
        program, = need("stunnel4")
        self.port = free_port()
        self.url = f"tls://127.0.0.1:{self.port}"
        config = pathlib.Path(folder, "stunnel.conf")
        text = self.CONFIG.format(port=self.port, server=server_port, cert=tls.file, key=tls.key, options=options)
        config.write_text("\n".join(line.strip() for line in text.splitlines()) + "\n")
        self._running = Program(folder, program, config)
        self._running.ready(lambda: try_connect(self.port))

    def output(self):
        return self._running.output()

    def kill(self):
        self._running.kill()


class OpenSsl:
    """`openssl s_server`: sends back each line in reverse; its options say how it speaks TLS."""

    def __init__(self, folder, tls, options=()):
        program, = need("openssl")
        self.port = free_port()
        self.url = f"tls://127.0.0.1:{self.port}"
        self._running = Program(folder, program, "s_server", "-accept", f"127.0.0.1:{self.port}", "-cert", tls.file,
                                "-key", tls.key, "-rev", "-quiet", *options)
        self._running.ready(lambda: try_connect(self.port))

    def kill(self):
        self._running.kill()


class Microsocks:
    """A SOCKS5 proxy that leads anywhere, and wants a password if it is given one."""

    scheme = "socks5"

    def __init__(self, folder, user=None, password=None):
        self._program, = need("microsocks")
        self._folder = folder
        self._login = ["-u", user, "-P", password] if user else []
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"socks5://{self.address}"
        self.start()

    def start(self):
        self._running = Program(self._folder, self._program, "-i", "127.0.0.1", "-p", self.port, *self._login)
        self._running.ready(lambda: try_connect(self.port))

    def kill(self):
        self._running.kill()


class Tinyproxy:
    """An HTTP proxy, likewise; or one that leads to the given ports only."""

    scheme = "http"

    def __init__(self, folder, user=None, password=None, ports=()):
        self._program, = need("tinyproxy")
        self._folder = folder
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.address}"
        self._config = pathlib.Path(folder, "tinyproxy.conf")
        lines = [f"Port {self.port}", "Listen 127.0.0.1", "Timeout 60", "MaxClients 100",
                 *([f"BasicAuth {user} {password}"] if user else []), *[f"ConnectPort {port}" for port in ports]]
        self._config.write_text("\n".join(lines) + "\n")
        self.start()

    def start(self):
        self._running = Program(self._folder, self._program, "-d", "-c", self._config)
        self._running.ready(lambda: try_connect(self.port))

    def kill(self):
        self._running.kill()


class Sshd:
    CONFIG = """
        Port {port}
        ListenAddress 127.0.0.1
        HostKey {folder}/host_key
        PidFile none
        UsePAM no
        PasswordAuthentication no
        KbdInteractiveAuthentication no
    """

    def __init__(self, folder):
        program, keygen = need("sshd", "ssh-keygen")
        self.folder = pathlib.Path(folder)
        self.port = free_port()
        self.url = f"tcp://127.0.0.1:{self.port}"
        config = self.folder / "sshd_config"
        config.write_text(self.CONFIG.format(folder=folder, port=self.port))
        key = self.folder / "host_key"
        subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        # As root it would want /run/sshd; as anybody else it is content with what it has.
        other_user = []
        if os.getuid() == 0:
            os.chown(key, 65534, 65534)
            other_user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        self._running = Program(folder, *other_user, program, "-D", "-e", "-f", config)
        self._running.ready(lambda: try_connect(self.port))

    def known_hosts(self, name):
        known = self.folder / "known_hosts"
        known.write_text(f"{name} {self.host_key()}\n")
        return known

    def host_key(self):
        return " ".join((self.folder / "host_key.pub").read_text().split()[:2])

    def kill(self):
        self._running.kill()


class Exim:
    """Takes mail for everybody and leaves it in its queue."""

    CONFIG = """
        exim_path = {program}
        spool_directory = {folder}/spool
        log_file_path = {folder}/%slog
        pid_file_path = {folder}/exim.pid
        primary_hostname = mail.example
        daemon_smtp_ports = {port}
        local_interfaces = 127.0.0.1
        tls_advertise_hosts = {advertise}
        {tls}
        queue_only
        smtp_accept_max_per_connection = 1000
        smtp_receive_timeout = {timeout}
        acl_smtp_rcpt = accept
        begin acl
        accept:
          accept
    """

    def __init__(self, folder, timeout="5m", tls=None):
        program, = need("exim4")
        self.port = free_port()
        self.url = f"tcp://127.0.0.1:{self.port}"
        spool = pathlib.Path(folder, "spool")
        spool.mkdir()
        if os.getuid() == 0:
            give_to("Debian-exim", folder, spool)
        config = pathlib.Path(folder, "exim.conf")
        files = f"tls_certificate = {tls.file}\n        tls_privatekey = {tls.key_of(folder)}" if tls else ""
        text = self.CONFIG.format(program=program, folder=folder, port=self.port, timeout=timeout,
                                  advertise="*" if tls else "", tls=files)
        config.write_text("\n".join(line[8:] for line in text.splitlines()))
        self._running = Program(folder, program, "-C", config, "-bdf")
        self._running.ready(lambda: try_connect(self.port))

    def kill(self):
        self._running.kill()


def give_to(user, *paths):
    for path in paths:
        shutil.chown(path, user)


def as_nobody(*paths):
    """The words before a program that refuses to be root; the paths are given to that user."""
    if os.getuid() != 0:
        return []
    for path in paths:
        os.chown(path, 65534, 65534)
    return [*need("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups"]


class MariaDB:
    """Everybody may log in as "app", without a password."""

    OPTIONS = ["--no-defaults", "--skip-innodb", "--default-storage-engine=Aria"]
    TABLES = pathlib.Path("/usr/share/mysql")
    # Each statement ends its line.
    FIRST = "CREATE DATABASE mysql;\nUSE mysql;\nSET @auth_root_socket=NULL;\nSET @skip_auth_anonymous=1;\n"
    LAST = "FLUSH PRIVILEGES;\nCREATE USER app;\n"

    def __init__(self, folder, connect_timeout=10, port=None):
        program, = need("mariadbd")
        self.port = port or free_port()
        self.url = f"tcp://127.0.0.1:{self.port}"
        data = pathlib.Path(folder, "data")
        data.mkdir()
        command = [*as_nobody(folder, data), program, *self.OPTIONS, f"--datadir={data}"]
        tables = [(self.TABLES / f"mysql_system_tables{part}.sql").read_text() for part in ("", "_data")]
        subprocess.run([*command, "--bootstrap", "--enforce-storage-engine=", "--max-allowed-packet=8M"], text=True,
                       input="".join([self.FIRST, *tables, self.LAST]), check=True, capture_output=True, cwd=folder)
        self._running = Program(
            folder, *command, f"--port={self.port}", "--bind-address=127.0.0.1", f"--socket={folder}/mariadb.sock",
            f"--pid-file={folder}/mariadb.pid", f"--connect-timeout={connect_timeout}", "--skip-name-resolve")
        self._running.ready(lambda: try_connect(self.port))

    def kill(self):
        self._running.kill()


class PostgreSQL:
    """Trusts everybody."""

    CONFIG = """
        listen_addresses = '127.0.0.1'
        port = {port}
        unix_socket_directories = ''
        fsync = off
        shared_buffers = '1MB'
        authentication_timeout = {authentication_timeout}
    """

    def __init__(self, folder, authentication_timeout=60, port=None, tls=None):
        initdb, program = need("initdb", "postgres")
        self.port = port or free_port()
        self.url = f"tcp://127.0.0.1:{self.port}"
        data = pathlib.Path(folder, "data")
        data.mkdir(mode=0o700)
        within = as_nobody(folder, data)
        subprocess.run([*within, initdb, "-D", data, "-A", "trust", "-U", "postgres", "--no-sync", "--locale=C"],
                       check=True, capture_output=True, cwd=folder)
        with open(data / "postgresql.conf", "a", encoding="utf-8") as config:
            config.write(self.CONFIG.format(port=self.port, authentication_timeout=authentication_timeout))
            if tls:
                config.write(f"ssl = on\nssl_cert_file = '{tls.file}'\nssl_key_file = '{tls.key_of(data)}'\n")
        self._running = Program(folder, *within, program, "-D", data)
        self._running.ready(lambda: "ready to accept connections" in self.log())

    def log(self):
        return self._running.output()

    def kill(self):
        self._running.kill()


class Slapd:
    """Two trees, of each of which the administrator can bind: "cn=admin,dc=one" with "one", and so on."""

    GLOBAL = """
        include /etc/ldap/schema/core.schema
        pidfile {folder}/slapd.pid
        argsfile {folder}/slapd.args
    """
    TREE = """
        database ldif
        suffix dc={name}
        directory {folder}/{name}
        rootdn cn=admin,dc={name}
        rootpw {name}
    """

    def __init__(self, folder, options=""):
        program, = need("slapd")
        self.port = free_port()
        self.url = f"tcp://127.0.0.1:{self.port}"
        text = self.GLOBAL.format(folder=folder) + options
        for name in ("one", "two"):
            pathlib.Path(folder, name).mkdir()
            text += self.TREE.format(folder=folder, name=name)
        config = pathlib.Path(folder, "slapd.conf")
        config.write_text("\n".join(line.strip() for line in text.splitlines()) + "\n")
        self._running = Program(folder, program, "-d", "0", "-h", f"ldap://127.0.0.1:{self.port}", "-f", config)
        self._running.ready(lambda: try_connect(self.port))

    def kill(self):
        self._running.kill()


@contextlib.contextmanager
def frozen(server):
    """Meanwhile neither the server nor its children answer."""
    pids = [server._running.pid]
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):  # a child may end before
            os.kill(pid, signal.SIGSTOP)
            wait_until(lambda pid=pid: _is_stopped(pid), "it stops")
            pids += map(int, pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def _is_stopped(pid):
    """With all its threads."""
    stats = [stat.read_text() for stat in pathlib.Path(f"/proc/{pid}/task").glob("*/stat")]
    return {stat.rpartition(")")[2].split()[0] for stat in stats} <= {"T", "Z"}


def wait_for_connections(count, port, berthd, what, seconds=20):
    wait_until(lambda: berthd.connections_to(port) == count, what, seconds)

"""harness: what the end-to-end tests stand on.

A test file declares cases with @case("what is shown") and ends with run().
Each case is one TAP line: it passes when it returns, fails when it raises,
and is skipped when it raises Skip. A case opens a World, a scratch
directory that stops whatever was started in it, whatever happens.

    @case("mail is delivered")
    def _():
        with World() as w:
            peer = w.peer()
            d = w.daemon(routes=[{"domain": "*", "mx": [peer.address]}])
            ...

The programs under test come from $top_builddir, or from POSTRIDERD,
POSTRIDER_CLI and POSTRIDER_SANDBOX. E2E_TESTS=quick shortens the long
tests, E2E_LONG=1 lengthens them, E2E_KEEP=1 keeps the scratch directories,
E2E_SLOW=n multiplies all patience (for builds with sanitizers). E2E_SHARDS=n
is for how many shards the daemon has, unless a test says so itself (1).
"""

import atexit
import base64
import ctypes
import getpass
import grp
import hashlib
import json
import os
import random
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
TOP_SRCDIR = os.environ.get("top_srcdir") or os.path.dirname(os.path.dirname(HERE))
TOP_BUILDDIR = os.environ.get("top_builddir") or TOP_SRCDIR
POSTRIDERD = os.environ.get("POSTRIDERD") or TOP_BUILDDIR + "/src/core/postriderd"
POSTRIDER = os.environ.get("POSTRIDER_CLI") or TOP_BUILDDIR + "/src/tools/postrider"
SANDBOX = os.environ.get("POSTRIDER_SANDBOX") or TOP_BUILDDIR + "/src/tools/postrider-sandbox"
QUICK = os.environ.get("E2E_TESTS") == "quick"
LONG = bool(os.environ.get("E2E_LONG"))
KEEP = bool(os.environ.get("E2E_KEEP"))
SLOW = float(os.environ.get("E2E_SLOW") or 1)

PATIENCE = 20 * SLOW  # seconds for anything that should happen at once
FINAL = ("delivered", "bounced", "expired", "deleted")

os.environ["PATH"] = os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/lib/postfix/sbin"
os.environ["LC_ALL"] = "C"


class Skip(Exception):
    """The case can't be run here; the text says what is missing."""


# --- TAP ---------------------------------------------------------------------------

_cases = []
_print_lock = threading.Lock()


def case(name):
    def add(function):
        _cases.append((name, function))
        return function

    return add


def say(text):
    """A diagnostic line: what was proved, what was counted."""
    with _print_lock:
        for line in str(text).rstrip("\n").split("\n"):
            print("# " + line.encode("ascii", "backslashreplace").decode(), flush=True)


def _on_signal(signo, _frame):
    raise SystemExit(128 + signo)


def _run_case(number, name, function):
    began = time.monotonic()
    try:
        function()
    except Skip as why:
        print(f"ok {number} - {name} # SKIP {why}", flush=True)
        return True
    except Exception:
        say(traceback.format_exc())
        print(f"not ok {number} - {name}", flush=True)
        return False
    print(f"ok {number} - {name}", flush=True)
    if time.monotonic() - began > 10:
        say(f"took {time.monotonic() - began:.0f} s")
    return True


def run():
    """Runs the cases, or those whose names hold one of the arguments."""
    signal.signal(signal.SIGTERM, _on_signal)
    signal.signal(signal.SIGHUP, _on_signal)
    wanted = [
        (name, f)
        for name, f in _cases
        if not sys.argv[1:] or any(word in name for word in sys.argv[1:])
    ]
    print(f"1..{len(wanted)}", flush=True)
    results = [_run_case(n, name, f) for n, (name, f) in enumerate(wanted, 1)]
    sys.exit(0 if all(results) else 1)


# --- small things ------------------------------------------------------------------


def check(condition, text="check failed"):
    if not condition:
        raise AssertionError(text)


def equal(got, wanted, what="value"):
    if got != wanted:
        raise AssertionError(f"{what}: got {got!r}, wanted {wanted!r}")


def matches(pattern, text, what="text"):
    if not re.search(pattern, text):
        raise AssertionError(f"{what}: {text!r} does not match {pattern!r}")


def wait_for(probe, what, seconds=PATIENCE, poll=0.02):
    """The first true value of probe(); AssertionError when the time is over."""
    end = time.monotonic() + seconds
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() >= end:
            raise AssertionError(f"waited {seconds:g} s for {what}")
        time.sleep(poll)


def need(*programs):
    for program in programs:
        if not shutil.which(program):
            raise Skip(f"{program} is not installed")


def need_root():
    if os.geteuid() != 0:
        raise Skip("needs root")


def is_root():
    return os.geteuid() == 0


_port_locks = {}


def free_port():
    """A port below the ephemeral range that nobody uses; tests that run at the same time don't share it."""
    while True:
        port = random.SystemRandom().randrange(20000, 32000)
        lock = socket.socket(socket.AF_UNIX)
        try:
            lock.bind(f"\0postrider-e2e-port-{port}")
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with socket.socket(socket.AF_INET, kind) as probe:
                    probe.bind(("0.0.0.0", port))
        except OSError:
            lock.close()
            continue
        _port_locks[port] = lock
        return port


def _die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def run_command(args, stdin=b"", seconds=60 * SLOW, env=None):
    """Returns (exit status, stdout, stderr), the latter as text."""
    if isinstance(stdin, str):
        stdin = stdin.encode()
    p = subprocess.run(
        args, input=stdin, capture_output=True, timeout=seconds, env=env, check=False
    )
    return p.returncode, p.stdout.decode("utf-8", "replace"), p.stderr.decode("utf-8", "replace")


def message(subject="a test", body="Hello.\r\n", **headers):
    """A message with LF or CRLF in body, as bytes with CRLF."""
    fields = {
        "From": "<joe@sender.test>",
        "To": "<somebody@example.test>",
        "Subject": subject,
        "Date": "Mon, 6 Jan 2025 10:00:00 +0000",
        "Message-ID": f"<{random.getrandbits(64):x}@sender.test>",
    }
    for name, value in headers.items():
        name = name.replace("_", "-")
        if value is None:
            fields.pop(name, None)
        else:
            fields[name] = value
    head = "".join(f"{k}: {v}\r\n" for k, v in fields.items()).encode()
    if isinstance(body, str):
        body = body.encode()
    return head + b"\r\n" + body


def checked_body(key, size):
    """A body of about that size that names key and holds a checksum of itself; see verify_body."""
    line = (f"{key} ".encode() * 80)[:76] + b"\r\n"
    text = line * max(1, size // len(line))
    total = hashlib.sha256(text).hexdigest().encode()
    return b"key " + key.encode() + b"\r\nsum " + total + b"\r\n" + text + b"end\r\n"


def verify_body(data):
    """(key, whole) of a message made with checked_body, whatever was put around it; (None, False) if it is none."""
    data = data.replace(b"\r\n", b"\n")
    m = re.search(rb"(?:^|\n)key (\S+)\nsum ([0-9a-f]{64})\n(?:((?:.*\n)*?)end\n)?", data)
    if not m:
        return None, False
    text = (m.group(3) or b"").replace(b"\n", b"\r\n")
    return m.group(1).decode(), hashlib.sha256(text).hexdigest().encode() == m.group(2)


def stuff(data):
    """Dot-stuffed, with the final dot."""
    if data.startswith(b"."):
        data = b"." + data
    return data.replace(b"\r\n.", b"\r\n..") + b".\r\n"


# --- configuration -------------------------------------------------------------------


def config_text(value, depth=0):
    """libconfig syntax of a dict; lists of dicts are lists, lists of anything else arrays."""
    pad = "\t" * depth
    if isinstance(value, dict):
        lines = [f"{pad}{k} = {config_text(v, depth + 1)};\n" for k, v in value.items()]
        text = "".join(lines)
        return text if depth == 0 else "{\n" + text + "\t" * (depth - 1) + "}"
    if isinstance(value, (list, tuple)):
        brackets = "()" if value and isinstance(value[0], dict) else "[]"
        inner = ", ".join(config_text(v, depth + 1) for v in value)
        return f"{brackets[0]} {inner} {brackets[1]}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


def merge(base, changes):
    """base with changes laid over it; None takes a key away."""
    out = dict(base)
    for key, value in changes.items():
        if value is None:
            out.pop(key, None)
        elif isinstance(value, dict) and isinstance(out.get(key), dict):
            out[key] = merge(out[key], value)
        else:
            out[key] = value
    return out


# --- the world -----------------------------------------------------------------------


class World:
    """A scratch directory and everything that was started in it."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="pr-e2e-")
        os.chmod(self.dir, 0o711)  # other users' daemons (Postfix) reach their own folders
        self._stops = []
        self._logs = []
        self._count = 0
        self._certs = {}
        atexit.register(self.close)

    def __enter__(self):
        return self

    def __exit__(self, kind, _value, _trace):
        if kind and kind is not Skip:
            self.show_logs()
        self.close(kind is None)
        return False

    def show_logs(self):
        for name, file in self._logs[-4:]:
            try:
                with open(file, "rb") as f:
                    tail = f.read()[-4000:].decode("utf-8", "replace").split("\n")[-30:]
            except OSError:
                continue
            say(f"--- the end of {name}:")
            say("\n".join(tail))

    def close(self, strict=False):
        """Stops all. strict: complaints of those who are stopped are failures."""
        trouble = None
        while self._stops:
            try:
                self._stops.pop()()
            except Exception as e:
                trouble = trouble or e
                say(f"while stopping: {e}")
        if KEEP:
            say(f"kept: {self.dir}")
        else:
            shutil.rmtree(self.dir, ignore_errors=True)
        atexit.unregister(self.close)
        if trouble and strict:
            raise trouble

    def on_close(self, stop):
        self._stops.append(stop)

    def log_file(self, name):
        self._count += 1
        file = self.path(f"{name}.{self._count}.log")
        self._logs.append((name, file))
        return file

    def path(self, *names):
        return os.path.join(self.dir, *names)

    def write(self, name, text, mode=0o644):
        file = self.path(name)
        with open(file, "wb") as f:
            f.write(text.encode() if isinstance(text, str) else text)
        os.chmod(file, mode)
        return file

    def spawn(self, args, name=None, env=None, stop_signal=signal.SIGTERM, seconds=15):
        """Starts a process with its output in a log; it is stopped with the world."""
        log = open(self.log_file(name or os.path.basename(args[0])), "wb")
        p = subprocess.Popen(
            args,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=env,
            preexec_fn=_die_with_parent,
        )
        log.close()

        def stop():
            if p.poll() is None:
                p.send_signal(stop_signal)
                try:
                    p.wait(seconds)
                except subprocess.TimeoutExpired:
                    p.kill()
                    p.wait()

        self.on_close(stop)
        return p

    def certificate(self, name):
        """A self-signed certificate for that name and its key, as paths."""
        if name not in self._certs:
            need("openssl")
            crt, key = self.path(name + ".crt"), self.path(name + ".key")
            status, _, err = run_command(
                ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
                + ["-keyout", key, "-out", crt, "-days", "2", "-subj", "/CN=" + name]
                + ["-addext", "subjectAltName=DNS:" + name]
            )
            equal(status, 0, "openssl: " + err)
            self._certs[name] = (crt, key)
        return self._certs[name]

    def daemon(self, start=True, **settings):
        d = Daemon(self, settings)
        if start:
            d.start()
        return d

    def peer(self, **options):
        from peer import Peer

        return Peer(self, **options)


def shards():
    """How many the daemon has, unless a test says so itself."""
    return int(os.environ.get("E2E_SHARDS", "1"))


# --- the daemon under test -------------------------------------------------------------


class Daemon:
    """postriderd with a config of its own. By default one listener in clear that trusts loopback."""

    def __init__(self, world, settings):
        self.world = world
        world._count += 1
        self.name = settings.pop("name", "postriderd")
        self.dir = world.path(f"{self.name}{world._count}")
        os.mkdir(self.dir, 0o700)
        self.port = free_port()
        self.spool = self.dir + "/spool"
        self.events_file = self.dir + "/events.jsonl"
        self.file = self.dir + "/postrider.conf"
        self.log = None
        self.logs = []
        self.process = None
        self.wrapper = settings.pop("wrapper", [])
        self.env = settings.pop("env", None)
        tls = settings.pop("tls_name", None)
        self.config = merge(self._defaults(), settings)
        if tls:
            crt, key = world.certificate(tls)
            self.config["tls"] = {"certificate": crt, "key": key}
        self.write_config()
        self._running_stop = False

    def _defaults(self):
        root = os.geteuid() == 0
        return {
            "me": "relay.test",
            "spool": self.spool,
            "shards": shards(),
            "user": "root" if root else getpass.getuser(),
            "group": grp.getgrgid(os.getegid()).gr_name,
            "listen": [{"address": f"127.0.0.1:{self.port}", "tls": "none"}],
            "submission": {
                "trusted_networks": ["127.0.0.0/8"],
                "users_file": self.dir + "/users",
                "sender_check": "none",
                "max_connections_per_ip": 200,
            },
            "outbound": {
                "local_mx_ok": True,
                "temp_fail_intervals": "5s*10",
                "spool_min_free": 4096,
                "connect_timeout": "5s",
            },
            "dns": {"servers": ["127.0.0.1:9"], "timeout": "1s", "tries": 1},
            "events": {"file": self.events_file},
            "control": {"socket": self.dir + "/ctl.sock"},
            "log": {"level": "debug", "timestamps": True},
        }

    def write_config(self, **changes):
        self.config = merge(self.config, changes)
        with open(self.file, "w", encoding="utf-8") as f:
            f.write(config_text(self.config))

    def listen_ports(self):
        return [int(l["address"].rsplit(":", 1)[1]) for l in self.config["listen"]]

    def launch(self):
        """Starts it and does not wait."""
        check(os.access(POSTRIDERD, os.X_OK), f"{POSTRIDERD} is not built")
        check(self.process is None, "started twice")
        self.log = self.world.log_file(self.name)
        self.logs.append(self.log)
        env = dict(os.environ, **self.env) if self.env else None
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                self.wrapper + [POSTRIDERD, "-c", self.file],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=env,
                preexec_fn=_die_with_parent,
            )
        if not self._running_stop:
            self._running_stop = True
            self.world.on_close(self.stop)
        return self

    def start(self):
        self.launch()
        wait_for(self._is_ready, f"{self.name} to listen", PATIENCE)
        return self

    def _is_ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"{self.name} ended with status {self.process.returncode}: {self.log_text()[-2000:]}")
        return "ready, me=" in self.log_text()

    def pid(self):
        """Of postriderd itself, also below a wrapper."""
        if not self.wrapper:
            return self.process.pid
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="ascii") as f:
            return int(f.read().split()[0])

    def signal(self, signo):
        os.kill(self.pid(), signo)

    def stop(self, seconds=30 * SLOW):
        """TERM; it must end with status 0 and without complaint of a sanitizer."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        self.wait(seconds)

    def wait(self, seconds=30 * SLOW):
        p, self.process = self.process, None
        try:
            status = p.wait(seconds)
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait()
            raise AssertionError(f"{self.name} did not stop in {seconds:g} s") from None
        self.check_log()
        equal(status, 0, f"exit status of {self.name}")

    def kill(self):
        """SIGKILL: nothing can be tidied up."""
        if self.process.poll() is not None:
            raise AssertionError(f"{self.name} had ended by itself with {self.process.returncode}")
        os.kill(self.pid(), signal.SIGKILL)
        self.process.wait()
        self.process = None
        self.check_log()

    def check_log(self):
        text = self.log_text()
        for sign in ("ERROR: AddressSanitizer", "LeakSanitizer", "ThreadSanitizer", "runtime error:", "CHECK failed"):
            if sign in text:
                at = text.index(sign)
                raise AssertionError(f"{self.name}: {text[max(0, at - 200):at + 3000]}")

    def restart(self):
        self.stop()
        return self.start()

    def log_text(self):
        with open(self.log, "rb") as f:
            return f.read().decode("utf-8", "replace")

    # --- what it did

    def events(self, **wanted):
        """All events whose fields have these values. A line torn by kill -9 is passed over."""
        out = []
        try:
            with open(self.events_file, "rb") as f:
                lines = f.read().split(b"\n")
        except FileNotFoundError:
            return out
        for line in lines[:-1]:
            try:
                e = json.loads(line)
            except ValueError:
                continue
            if all(e.get(k) == v for k, v in wanted.items()):
                out.append(e)
        return out

    def wait_events(self, find, what, seconds=PATIENCE):
        """The first true value of find(); at once an AssertionError if the daemon dies meanwhile."""

        def probe():
            ended = self.process and self.process.poll() is not None
            value = find()
            if ended and not value:
                self.check_log()
                raise AssertionError(f"{self.name} ended by itself with status {self.process.returncode}")
            return value

        return wait_for(probe, what, seconds)

    def wait_event(self, seconds=PATIENCE, count=1, **wanted):
        return self.wait_events(
            lambda: (lambda es: es[count - 1] if len(es) >= count else None)(self.events(**wanted)),
            f"event {wanted}" + (f" number {count}" if count > 1 else ""),
            seconds,
        )

    def wait_fate(self, recipient, seconds=PATIENCE):
        """The final event of a recipient."""
        return self.wait_events(
            lambda: next((e for e in self.events(recipient=recipient) if e["event"] in FINAL), None),
            f"a final event of {recipient}",
            seconds,
        )

    def cli(self, *args, stdin=b""):
        return run_command([POSTRIDER, "-c", self.file, *args], stdin)

    def cli_ok(self, *args, stdin=b""):
        status, out, err = self.cli(*args, stdin=stdin)
        equal(status, 0, f"postrider {args}: {err}")
        return out

    def queue(self):
        """What `postrider queue --json` lists."""
        return [json.loads(line) for line in self.cli_ok("queue", "--json").splitlines()]

    def wait_empty(self, seconds=PATIENCE):
        """No mail left: the daemon knows of none, and there are no queue files."""
        wait_for(
            lambda: not self.queue_files() and "queue: 0 items" in self.cli_ok("status"),
            "the queue to be empty",
            seconds,
            0.05,
        )

    def queue_files(self):
        """Those of mail that rests: what is on its way has none."""
        return sorted(
            os.path.join(d, f) for d, _, files in os.walk(self.spool + "/queue") for f in files
        )

    def tmp_files(self):
        """Of mail: a segment of the journal that is being made is none."""
        return [f for f in os.listdir(self.spool + "/tmp") if not f.startswith("journal.")]

    def add_user(self, login, password):
        out = self.cli_ok("passwd", login, stdin=password + "\n")
        matches(r"added|changed", out)

    # --- talking to it

    def client(self, port=None, **options):
        return Client(port or self.port, **options)

    def submit(self, sender, recipients, data=None, port=None, mail="", rcpt=""):
        """In clear from loopback. Returns the id of the message."""
        if isinstance(recipients, str):
            recipients = [recipients]
        with self.client(port) as c:
            c.ehlo()
            c.want(250, f"MAIL FROM:<{sender}>{mail}")
            for r in recipients:
                c.want(250, f"RCPT TO:<{r}>{rcpt}")
            return c.data(data if data is not None else message())


class Client:
    """A bare SMTP client: says exactly what it is told."""

    def __init__(self, port, host="127.0.0.1", implicit_tls=False, source=None, greeting=220, seconds=PATIENCE):
        self.sock = socket.create_connection((host, port), seconds, (source, 0) if source else None)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        if implicit_tls:
            self._wrap()
        if greeting:
            code, lines = self.reply()
            equal(code, greeting, f"greeting {lines}")

    def _wrap(self):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.sock = context.wrap_socket(self.sock)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        try:
            self.sock.close()
        except OSError:
            pass

    def send(self, data):
        self.sock.sendall(data.encode() if isinstance(data, str) else data)

    def line(self):
        while b"\n" not in self.buffer:
            more = self.sock.recv(65536)
            if not more:
                raise EOFError("connection closed, left over: " + repr(self.buffer))
            self.buffer += more
        line, self.buffer = self.buffer.split(b"\n", 1)
        check(line.endswith(b"\r"), f"reply line without CR: {line!r}")
        return line[:-1].decode("utf-8", "replace")

    def reply(self):
        """(code, [texts])"""
        texts = []
        while True:
            line = self.line()
            matches(r"^[2-5][0-9][0-9]([ -]|$)", line, "reply line")
            texts.append(line[4:])
            if line[3:4] != "-":
                return int(line[:3]), texts

    def cmd(self, line):
        self.send(line + "\r\n")
        return self.reply()

    def want(self, code, line, text=""):
        """Sends line and insists on the code and, by pattern, on the text of the reply."""
        got, texts = self.cmd(line)
        equal(got, code, f"reply to {line!r}: {texts}")
        matches(text, "\n".join(texts), f"reply to {line!r}")
        return texts

    def ehlo(self, name="client.test"):
        return self.want(250, "EHLO " + name)[1:]

    def starttls(self):
        self.want(220, "STARTTLS")
        self._wrap()
        return self.ehlo()

    def auth_plain(self, login, password, code=235):
        token = base64.b64encode(f"\0{login}\0{password}".encode()).decode()
        return self.want(code, "AUTH PLAIN " + token)

    def auth_login(self, login, password, code=235):
        self.want(334, "AUTH LOGIN", "^VXNlcm5hbWU6$")
        self.want(334, base64.b64encode(login.encode()).decode(), "^UGFzc3dvcmQ6$")
        return self.want(code, base64.b64encode(password.encode()).decode())

    def begin(self, sender="joe@sender.test", recipient="ann@example.test"):
        self.want(250, f"MAIL FROM:<{sender}>")
        self.want(250, f"RCPT TO:<{recipient}>")
        self.want(354, "DATA")

    def data(self, data, code=250, text=""):
        """DATA, the message, the dot; returns the id in the 250."""
        self.want(354, "DATA")
        self.send(stuff(data))
        got, texts = self.reply()
        equal(got, code, f"reply to the dot: {texts}")
        matches(text, texts[0], "reply to the dot")
        m = re.match(r"2\.0\.0 queued as (\S+)$", texts[0])
        if code == 250:
            check(m, f"the reply to the dot names no id: {texts}")
        return m.group(1) if m else texts[0]

    def at_eof(self):
        """Whether the server has closed; waits for it."""
        try:
            return self.sock.recv(1) == b""
        except (ConnectionError, ssl.SSLError):
            return True

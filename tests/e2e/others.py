"""others: programs nobody here wrote, run on loopback in a scratch directory: knotd, Postfix, smtp-sink.

Also the sandbox of this tree, which is ours.
"""

import glob
import json
import os
import pwd
import re
import signal
import socket
import struct
import subprocess
import threading

from harness import (
    SANDBOX,
    Client,
    Skip,
    check,
    equal,
    free_port,
    is_root,
    need,
    need_root,
    run_command,
    wait_for,
)


# --- DNS -----------------------------------------------------------------------------


def dns_ask(port, name, kind=1):
    """The rcode a server gives, or None if it says nothing."""
    query = struct.pack(">HHHHHH", 4711, 0x0100, 1, 0, 0, 0)
    for label in name.strip(".").split("."):
        query += bytes([len(label)]) + label.encode()
    query += b"\0" + struct.pack(">HH", kind, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(0.3)
        try:
            s.sendto(query, ("127.0.0.1", port))
            return s.recv(4096)[3] & 15
        except OSError:
            return None


class Knot:
    """An authoritative server for the zones; a zone whose text is None answers SERVFAIL."""

    HEAD = "$TTL 60\n@ SOA ns hostmaster 1 3600 900 86400 60\n@ NS ns\nns A 127.0.0.1\n"

    def __init__(self, world, zones):
        need("knotd")
        self.port = free_port()
        self.server = f"127.0.0.1:{self.port}"
        here = f"knot{self.port}"
        folder = world.path(here)
        os.makedirs(folder)
        for zone, text in zones.items():
            if text is not None:
                world.write(f"{here}/{zone}zone", f"$ORIGIN {zone}.\n{self.HEAD}{text}\n")
        listed = "".join(f"  - domain: {z}\n    file: {folder}/{z}zone\n" for z in zones)
        conf = world.write(
            f"{here}/knot.conf",
            f"server:\n  rundir: {folder}\n  listen: 127.0.0.1@{self.port}\n  automatic-acl: off\n"
            "  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n"
            f"log:\n  - target: stderr\n    any: info\n"
            f"database:\n  storage: {folder}/db\n"
            f"zone:\n{listed}",
        )
        world.spawn(["knotd", "-c", conf])
        for zone, text in zones.items():
            if text is not None:
                wait_for(lambda z=zone: dns_ask(self.port, z, 6) == 0, f"knotd to serve {zone}")


class BlackHole:
    """A UDP port that takes questions and never answers."""

    def __init__(self, world):
        self.port = free_port()
        self.server = f"127.0.0.1:{self.port}"
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", self.port))
        world.on_close(self.sock.close)


class DnsProxy:
    """Between us and DNS servers, over UDP: notes what is asked, and can be told to fall silent.

    upstream: the port questions are passed to, or several, which take turns at a question that comes
    again; None: nobody, they get no answer.
    """

    TYPES = {1: "A", 15: "MX", 28: "AAAA"}

    def __init__(self, world, upstream):
        self.upstream = upstream
        self.asked = []
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        self.server = f"127.0.0.1:{self.port}"
        self.lock = threading.Lock()
        threading.Thread(target=self._run, daemon=True).start()
        world.on_close(self.sock.close)

    @classmethod
    def question(cls, packet):
        labels, at = [], 12
        while packet[at]:
            labels.append(packet[at + 1 : at + 1 + packet[at]].decode().lower())
            at += 1 + packet[at]
        kind = struct.unpack_from(">H", packet, at + 1)[0]
        return ".".join(labels), cls.TYPES.get(kind, str(kind))

    def _run(self):
        while True:
            try:
                packet, client = self.sock.recvfrom(4096)
            except OSError:
                return
            question = self.question(packet)
            with self.lock:
                before = self.asked.count(question)
                self.asked.append(question)
            port = self.upstream
            if isinstance(port, list):
                port = port[before % len(port)]
            if port:
                threading.Thread(target=self._pass, args=(packet, client, port), daemon=True).start()

    def _pass(self, packet, client, upstream):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(2)
            try:
                s.sendto(packet, ("127.0.0.1", upstream))
                self.sock.sendto(s.recv(4096), client)
            except OSError:
                pass

    def count(self, name, kind):
        with self.lock:
            return self.asked.count((name, kind))


# --- Postfix -------------------------------------------------------------------------


class Sink:
    """smtp-sink: takes everything; with dump, one file per transaction."""

    def __init__(self, world, dump=False, options=()):
        need("smtp-sink")
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.folder = world.path(f"sink{self.port}")
        os.makedirs(self.folder)
        args = ["smtp-sink", *options]
        if is_root():
            os.chown(self.folder, pwd.getpwnam("nobody").pw_uid, -1)
            args += ["-u", "nobody"]
        if dump:
            args += ["-d", self.folder + "/m."]
        args += [f"127.0.0.1:{self.port}", "256"]
        self.process = world.spawn(args)
        wait_for(self._answers, "smtp-sink to listen")

    def _answers(self):
        try:
            Client(self.port).close()
            return True
        except (OSError, EOFError):
            return False

    def files(self):
        return sorted(glob.glob(self.folder + "/m.*"))

    def mails(self):
        out = []
        for name in self.files():
            with open(name, "rb") as f:
                out.append(f.read())
        return out


MASTER_CF = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""

MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {dir}/queue
data_directory = {dir}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = {dir}/log/postfix.log
maillog_file_prefixes = {dir}
myhostname = far.test
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
alias_maps =
alias_database =
smtpd_tls_security_level = may
smtpd_tls_cert_file = {crt}
smtpd_tls_key_file = {key}
smtpd_tls_received_header = yes
message_size_limit = 50000000
virtual_mailbox_limit = 0
virtual_mailbox_domains = far.test
virtual_mailbox_base = {dir}/mail
virtual_mailbox_maps = static:box/
virtual_minimum_uid = 1
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
{extra}
"""


class Postfix:
    """A whole Postfix in a directory of its own, for far.test, delivering to a maildir; with STARTTLS."""

    def __init__(self, world, extra=""):
        need_root()
        need("postconf")
        try:
            owner = pwd.getpwnam("postfix")
        except KeyError:
            raise Skip("there is no user postfix") from None
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.dir = world.path("postfix")
        self.owner = owner
        self._make_folders()
        crt, key = world.certificate("far.test")
        values = {"dir": self.dir, "port": self.port, "crt": crt, "key": key, "extra": extra}
        values |= {"uid": owner.pw_uid, "gid": owner.pw_gid}
        world.write("postfix/etc/main.cf", MAIN_CF.format(**values))
        world.write("postfix/etc/master.cf", MASTER_CF.format(**values))
        env = dict(os.environ, MAIL_CONFIG=self.dir + "/etc")
        # master leads its children away from us: it must get the chance to stop them
        world.spawn(["/usr/lib/postfix/sbin/master", "-c", self.dir + "/etc"], name="postfix", env=env)
        world._logs.append(("postfix's own log", self.dir + "/log/postfix.log"))
        wait_for(self._answers, "Postfix to answer")

    def _make_folders(self):
        uid, gid = self.owner.pw_uid, self.owner.pw_gid
        for name in ("", "etc", "log", "queue", "queue/pid"):
            os.makedirs(os.path.join(self.dir, name), exist_ok=True)
        for name in "active bounce corrupt defer deferred flush hold incoming private saved trace".split():
            os.makedirs(f"{self.dir}/queue/{name}", 0o700)
            os.chown(f"{self.dir}/queue/{name}", uid, 0)
        for name in ("queue/maildrop", "queue/public"):
            os.makedirs(f"{self.dir}/{name}")
            os.chown(f"{self.dir}/{name}", uid, gid)
        for name in ("data", "mail"):
            os.makedirs(f"{self.dir}/{name}", 0o700)
            os.chown(f"{self.dir}/{name}", uid, gid)

    def _answers(self):
        try:
            with Client(self.port) as c:
                c.cmd("QUIT")
            return True
        except (OSError, EOFError, AssertionError):
            return False

    def mails(self):
        out = []
        for name in sorted(glob.glob(self.dir + "/mail/box/new/*")):
            with open(name, "rb") as f:
                out.append(f.read())
        return out

    def wait_mails(self, count):
        return wait_for(lambda: (lambda m: m if len(m) >= count else None)(self.mails()), f"{count} mails in the maildir")

    def log(self):
        with open(self.dir + "/log/postfix.log", encoding="utf-8", errors="replace") as f:
            return f.read()


# --- our sandbox ---------------------------------------------------------------------


class Sandbox:
    """postrider-sandbox: a DNS server and MX hosts whose behaviour is in the name of the domain."""

    def __init__(self, world, options=()):
        check(os.access(SANDBOX, os.X_OK), f"{SANDBOX} is not built")
        self.dns_port, self.port = free_port(), free_port()
        self.server = f"127.0.0.1:{self.dns_port}"
        self.folder = world.path("sandbox")
        args = [SANDBOX, "--dns", self.server, "--smtp", str(self.port), "--dir", self.folder]
        self.process = world.spawn(args + list(options))
        wait_for(lambda: dns_ask(self.dns_port, "ready.test") == 0, "the sandbox to answer")

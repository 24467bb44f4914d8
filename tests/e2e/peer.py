"""peer: a scripted SMTP (or LMTP) server that keeps every byte it is sent.

It is strict: a CR or LF that is not part of a CRLF is noted in `faults`. The
script decides what it answers, per stage:

    script = {"RCPT": lambda conn, line: "550 5.1.1 no" if "bad" in line else None,
              "DOT": "451 4.0.0 later"}

None is the normal answer, a str a reply (lines parted by \\n; "250-a\\n250 b"
goes out as it is), CLOSE hangs up, SILENT says nothing more, bytes go out
as they are. Stages: CONNECT EHLO HELO LHLO STARTTLS AUTH MAIL RCPT DATA BDAT
DOT RSET NOOP QUIT. With LMTP the DOT stage is asked for each recipient. BDAT
is asked before its chunk is read, and what the script says of it stands for a
server that doesn't know BDAT and reads no chunk; DOT is asked at its end.
"""

import base64
import socket
import ssl
import threading
import time

from harness import free_port, wait_for, PATIENCE

CLOSE = object()
SILENT = object()


class Mail:
    """One transaction that was answered 2xx at the dot."""

    def __init__(self, conn):
        self.sender = conn.sender
        self.mail_line = conn.mail_line
        self.rcpts = list(conn.rcpts)
        self.rcpt_lines = list(conn.rcpt_lines)
        self.raw = b""  # as on the wire, without the final dot's line
        self.data = b""  # un-stuffed
        self.chunks = 0  # 0: it came with DATA
        self.tls = conn.tls
        self.login = conn.login
        self.helo = conn.helo
        self.conn = conn
        self.at = 0.0  # when it was taken

    def header(self, name):
        """The values of a field, unfolded."""
        head = self.data.split(b"\r\n\r\n", 1)[0].decode("utf-8", "replace")
        head = head.replace("\r\n ", " ").replace("\r\n\t", " ")
        prefix = name.lower() + ":"
        return [l[len(prefix) :].strip() for l in head.split("\r\n") if l.lower().startswith(prefix)]

    def body(self):
        return self.data.split(b"\r\n\r\n", 1)[1]


class Conn:
    def __init__(self, peer, sock, number):
        self.peer = peer
        self.sock = sock
        self.number = number
        self.buffer = b""
        self.commands = []
        self.received = b""  # everything after decryption
        self.tls = None
        self.resumed = None
        self.login = None
        self.helo = None
        self.open = True
        self.at = time.monotonic()
        self.reset()

    def reset(self):
        self.sender = None
        self.mail_line = ""
        self.rcpts = []
        self.rcpt_lines = []
        self.chunks = []

    def more(self):
        data = self.sock.recv(65536)
        if not data:
            raise EOFError
        self.buffer += data
        if self.peer.keep:
            self.received += data

    def line(self):
        while b"\r\n" not in self.buffer:
            if len(self.buffer) > 100000:
                raise EOFError
            self.more()
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        self.look(line)
        return line

    def look(self, data):
        rest = data.replace(b"\r\n", b"")
        if b"\r" in rest or b"\n" in rest or b"\0" in rest:
            self.peer.faults.append(data[:200])

    def send(self, reply):
        if isinstance(reply, str):
            reply = reply.replace("\n", "\r\n").encode() + b"\r\n"
        self.sock.sendall(reply)

    def answer(self, stage, line, normal, before=None):
        """Sends what the script says or the normal reply; returns its code, which before() is told first."""
        what = self.peer.ask(self, stage, line)
        if what is CLOSE:
            raise EOFError
        if what is SILENT:
            while True:
                self.more()
        if what is None:
            what = normal
        text = what if isinstance(what, str) else what.decode("latin-1")
        code = int(text[:3]) if text[:3].isdigit() else 0
        if before:
            before(code)
        self.send(what)
        return code

    # --- commands

    def extensions(self):
        words = list(self.peer.extensions)
        if self.peer.tls and not self.tls:
            words.append("STARTTLS")
        if self.peer.auth and (self.tls or not self.peer.tls):
            words.append("AUTH " + self.peer.auth)
        return words

    def hello(self, verb, line):
        self.helo = line.split(" ", 1)[1] if " " in line else ""
        lines = [self.peer.name] + ([] if verb == "HELO" else self.extensions())
        text = "\n".join(("250-" if i < len(lines) - 1 else "250 ") + l for i, l in enumerate(lines))
        self.answer(verb, line, text)

    def starttls(self, line):
        if self.answer("STARTTLS", line, "220 go ahead") != 220:
            return
        self.buffer = b""
        self.sock = self.peer.tls.wrap_socket(self.sock, server_side=True)
        self.tls = self.sock.version()
        self.resumed = self.sock.session_reused
        self.peer.handshakes += 1

    def authenticate(self, line):
        words = line.split(" ")
        if words[1].upper() == "PLAIN":
            token = words[2] if len(words) > 2 else self.challenge("")
            _, login, password = base64.b64decode(token).decode().split("\0")
        else:
            first = words[2] if len(words) > 2 else self.challenge("Username:")
            login = base64.b64decode(first).decode()
            password = base64.b64decode(self.challenge("Password:")).decode()
        good = (login, password) == self.peer.credentials
        code = self.answer("AUTH", line, "235 2.7.0 ok" if good else "535 5.7.8 no")
        if code == 235:
            self.login = login

    def challenge(self, text):
        self.send("334 " + base64.b64encode(text.encode()).decode())
        return self.line().decode()

    @staticmethod
    def address(line):
        return line[line.index("<") + 1 : line.index(">")]

    def mail(self, line):
        if self.answer("MAIL", line, "250 2.1.0 ok") == 250:
            self.reset()
            self.sender = self.address(line)
            self.mail_line = line

    def rcpt(self, line):
        if 200 <= self.answer("RCPT", line, "250 2.1.5 ok") < 300:
            self.rcpts.append(self.address(line))
            self.rcpt_lines.append(line)

    def read_body(self):
        raw = self.buffer
        self.buffer = b""
        while True:
            if raw.startswith(b".\r\n"):
                end, rest = 0, 3
                break
            at = raw.find(b"\r\n.\r\n", max(0, len(raw) - 70000) if raw else 0)
            if at < 0:
                at = raw.find(b"\r\n.\r\n")
            if at >= 0:
                end, rest = at + 2, at + 5
                break
            data = self.sock.recv(262144)
            if not data:
                raise EOFError
            if self.peer.keep:
                self.received += data
            raw += data
        self.buffer = raw[rest:]
        return raw[:end]

    def data(self, line):
        normal = "354 go on" if self.rcpts else "554 5.5.1 no valid recipients"
        if self.answer("DATA", line, normal) != 354:
            return
        m = Mail(self)
        m.raw = self.read_body()
        m.data = (b"\r\n" + m.raw).replace(b"\r\n..", b"\r\n.")[2:]
        self.end(m, line)

    def bdat(self, line):
        if "CHUNKING" not in self.peer.extensions:
            self.peer.faults.append(line.encode())
        if self.peer.script.get("BDAT") and self.answer("BDAT", line, None):
            return
        words = line.split(" ")
        while len(self.buffer) < int(words[1]):
            self.more()
        self.chunks.append(self.buffer[: int(words[1])])
        self.buffer = self.buffer[int(words[1]) :]
        if not self.rcpts:
            self.send("503 5.5.1 no valid recipients")
            self.chunks = []
        elif words[2:] != ["LAST"]:
            self.send("250 2.0.0 go on")
        else:
            m = Mail(self)
            m.chunks = len(self.chunks)
            m.raw = m.data = b"".join(self.chunks)
            self.end(m, line)

    def end(self, m, line):
        """The whole message is there."""
        self.look(m.raw)
        self.draft = m
        takers = m.rcpts if self.peer.lmtp else [None]
        m.rcpts = [] if self.peer.lmtp else m.rcpts
        for rcpt in takers:
            self.rcpt_now = rcpt
            self.answer("DOT", line, "250 2.0.0 taken", lambda code, r=rcpt: self.keep(m, r, code))
        self.reset()

    def keep(self, m, rcpt, code):
        """The mail counts from just before the reply on: whoever saw the reply finds it."""
        if not 200 <= code < 300:
            return
        m.at = time.monotonic()
        if rcpt is not None:
            m.rcpts.append(rcpt)
        with self.peer.lock:
            if m not in self.peer.mails:
                self.peer.mails.append(m)

    def command(self, line):
        verb = line.split(" ", 1)[0].upper().split(":")[0]
        if verb in ("EHLO", "HELO", "LHLO"):
            self.hello(verb, line)
        elif verb == "STARTTLS":
            self.starttls(line)
        elif verb == "AUTH":
            self.authenticate(line)
        elif verb == "MAIL":
            self.mail(line)
        elif verb == "RCPT":
            self.rcpt(line)
        elif verb == "DATA":
            self.data(line)
        elif verb == "BDAT":
            self.bdat(line)
        elif verb == "RSET":
            self.reset()
            self.answer(verb, line, "250 ok")
        elif verb == "NOOP":
            self.answer(verb, line, "250 ok")
        elif verb == "QUIT":
            self.answer(verb, line, "221 bye")
            raise EOFError
        else:
            self.send("500 5.5.1 what?")

    def serve(self):
        try:
            self.answer("CONNECT", "", f"220 {self.peer.name} ESMTP")
            while True:
                line = self.line().decode("utf-8", "replace")
                self.commands.append(line)
                self.command(line)
        except (EOFError, OSError, ValueError):
            pass
        finally:
            self.open = False
            self.sock.close()


class Peer:
    def __init__(
        self,
        world,
        script=None,
        tls=None,
        lmtp=False,
        auth="",
        credentials=None,
        extensions=("PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "SIZE 100000000"),
        host="127.0.0.1",
        port=None,
        unix=None,
        name="peer.test",
        keep=True,
    ):
        self.script = script or {}
        self.name = name
        self.lmtp = lmtp
        self.auth = auth
        self.credentials = credentials
        self.extensions = extensions
        self.world = world
        self.tls = None
        self.show(tls)
        self.keep = keep
        self.mails = []
        self.conns = []
        self.faults = []
        self.handshakes = 0
        self.lock = threading.Lock()
        self.host = host
        self.port = port or free_port()
        self.address = f"{host}:{self.port}"
        self.listener = self._listen(unix)
        self.acceptor = threading.Thread(target=self._accept, daemon=True)
        self.acceptor.start()
        world.on_close(self.close)

    def show(self, name):
        """From now on a certificate for name, with ticket keys of its own; None: no STARTTLS."""
        context = None
        if name:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.world.certificate(name))
        self.tls = context

    def hang_up(self):
        """Ends all connections, also those that a client keeps for later."""
        for c in list(self.conns):
            try:
                c.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # over already

    def _listen(self, unix):
        if unix:
            s = socket.socket(socket.AF_UNIX)
            s.bind(unix)
        else:
            s = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind((self.host, self.port))
        s.listen(256)
        return s

    def close(self):
        # A thread left in accept() would, once woken, take a connection of whoever has the descriptor then.
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # closed before
        self.acceptor.join(PATIENCE)
        self.listener.close()
        self.hang_up()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            c = Conn(self, sock, len(self.conns))
            self.conns.append(c)
            threading.Thread(target=c.serve, daemon=True).start()

    def ask(self, conn, stage, line):
        what = self.script.get(stage)
        return what(conn, line) if callable(what) else what

    def wait_mail(self, count=1, seconds=PATIENCE):
        """The count-th mail."""
        return wait_for(
            lambda: self.mails[count - 1] if len(self.mails) >= count else None,
            f"mail {count} at the peer",
            seconds,
        )

    def commands(self):
        return [line for c in self.conns for line in c.commands]

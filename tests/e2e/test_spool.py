#!/usr/bin/env python3
"""A spool that can't be written: new mail is answered 451 or 452 and taken again by itself when the
cause is gone; what is on its way goes on, and its outcomes and reports are recorded once.

The spool is on a small filesystem of its own. "Read-only" is the immutable
flag on all of it: the kernel refuses to remount while the journal is open
for writing, and after an error that it turns read-only by itself ext4 takes
no writes before it is mounted anew. To the daemon it is the same: every
write, creation, renaming and deletion fails, also on files it has open.
"""

import collections
import os
import re
import resource
import signal
import threading
import time

from disks import Ballast, small_ext4, small_tmpfs
from harness import *

AGAIN_S = 4 * SLOW  # free space is asked for once a second
RECORDED_S = 8 * SLOW  # a refused outcome is asked again every five seconds
LARGE = 300000  # goes to a file in tmp/ while it arrives
MIB = 1 << 20
PLENTY = 8 * MIB  # spool_min_free


class Scene:
    """A daemon, its peer, and three messages whose RCPT the peer answers when it is told to."""

    SENT = {"slow.good": "delivered", "slow.bad": "bounced", "slow.later": "deferred"}

    def __init__(self, w, disk, min_free=4096):
        self.w = w
        self.gate = threading.Event()
        self.last_gate = threading.Event()
        self.recovered = False
        self.peer = w.peer(script={"RCPT": self.rcpt})
        self.accepted = {}  # key -> recipient
        self.count = 0
        self.spool = disk + "/spool"
        self.d = w.daemon(
            spool=self.spool,
            routes=[{"domain": "*", "mx": [self.peer.address]}],
            outbound={"spool_min_free": min_free, "temp_fail_intervals": "1h*5"},
        )
        self.d.spool = self.spool

    def rcpt(self, _conn, line):
        if "slow." in line and not self.gate.wait(120 * SLOW):
            return "421 4.3.2 waited too long"
        if "last" in line and not self.last_gate.wait(120 * SLOW):
            return "421 4.3.2 waited too long"
        if "bad" in line:
            return "550 5.1.1 nobody"
        if "later" in line and not self.recovered:
            return "450 4.2.1 later"
        return None

    def attempt(self, to, size=3000, c=None, mail=""):
        """One message; (code, text) of the reply that decides."""
        if c is None:
            with self.d.client() as c:
                c.ehlo()
                return self.attempt(to, size, c, mail)
        self.count += 1
        key = f"m{self.count}"
        code, texts = c.cmd(f"MAIL FROM:<{key}@back.test>" + mail)
        if code == 250:
            c.want(250, f"RCPT TO:<{to}>")
            c.want(354, "DATA")
            c.send(stuff(message(body=checked_body(key, size))))
            code, texts = c.reply()
            if code == 250:
                self.accepted[key] = to
            else:
                c.cmd("RSET")
        return code, texts[0]

    def submit(self, to, size=3000):
        equal(self.attempt(to, size)[0], 250, f"reply to mail for {to}")

    def submit_slow(self):
        """One of each outcome, all at the peer, and none answered."""
        for name in self.SENT:
            self.submit(f"{name}@{name}.test")
        wait_for(lambda: sum("RCPT" in line and "slow." in line for line in self.peer.commands()) == 3, "three deliveries under way")

    def wait_told(self):
        """The peer answers the three, and their events are there."""
        self.gate.set()
        for name, event in self.SENT.items():
            self.d.wait_event(event=event, recipient=f"{name}@{name}.test")

    def refused(self, code, enhanced, sizes=(3000, LARGE)):
        for size in sizes:
            got = self.attempt("refused@refused.test", size)
            equal(got[0], code, f"reply to {size} bytes: {got[1]}")
            matches("^" + re.escape(enhanced) + " ", got[1])

    def taken_again(self, size=3000):
        """By itself, soon; until then never 5xx."""
        began = time.monotonic()

        def taken():
            code, text = self.attempt("after@after.test", size)
            check(code == 250 or 400 < code < 500, f"{code} {text}")
            return code == 250

        wait_for(taken, "mail to be taken again", AGAIN_S, 0.2)
        say(f"{size} bytes taken again after {time.monotonic() - began:.1f} s")

    def nothing_left(self, folders=("tmp",)):
        for folder in folders:
            path = os.path.join(self.spool, folder)
            wait_for(lambda p=path: not os.listdir(p), f"{folder}/ to be empty", AGAIN_S, 0.1)

    def wait_report(self):
        sender = next(f"{key}@back.test" for key, to in self.accepted.items() if "bad" in to)
        self.d.wait_event(event="delivered", recipient=sender, seconds=30 * SLOW)

    def outcomes_stay(self, others=()):
        """The three outcomes are on disk, as a crash shows: nobody gets anything twice; then all ends."""
        self.wait_report()
        wait_for(lambda: len(self.d.queue_files()) == 1, "the deferral to be recorded", RECORDED_S)
        time.sleep(RECORDED_S)
        self.d.kill()
        self.d.start()
        items = sorted((i["domain"], i["attempts"]) for i in wait_for(self.d.queue, "what was deferred"))
        equal(items, sorted([("slow.later.test", 1), *others]), "queue after a crash")
        self.last_gate.set()
        self.end()

    def end(self):
        """Whatever waits is delivered, and everybody was told everything once."""
        self.recovered = True

        def empty():
            self.d.cli("flush")
            return "queue: 0 items" in self.d.cli_ok("status") and not self.d.queue_files()

        wait_for(empty, "the queue to be empty", 60 * SLOW, 0.3)
        self.check_mail()
        self.check_events()
        equal(os.listdir(self.spool + "/corrupt"), [], "corrupt/")

    def check_mail(self):
        """Each accepted message came once and whole; what was refused did not come; one report for each refusal."""
        got = collections.Counter()
        reports = collections.Counter()
        for m in self.peer.mails:
            if m.sender == "":
                reports.update(m.rcpts)
                continue
            key, whole = verify_body(m.data)
            check(whole, f"the body of {key}")
            got.update((key, r) for r in m.rcpts)
        wanted = {(key, to): 1 for key, to in self.accepted.items() if "bad" not in to}
        equal(dict(got), wanted, "delivered")
        equal(dict(reports), {f"{key}@back.test": 1 for key, to in self.accepted.items() if "bad" in to}, "reports")

    def check_events(self):
        final = collections.Counter((e["sender"], e["recipient"], e["event"]) for e in self.d.events() if e["event"] in FINAL)
        wanted = {}
        for key, to in self.accepted.items():
            wanted[(f"{key}@back.test", to, "bounced" if "bad" in to else "delivered")] = 1
            if "bad" in to:
                wanted[("", f"{key}@back.test", "delivered")] = 1
        equal(dict(final), wanted, "final events")


# --- it can't be written -------------------------------------------------------------------


class ReadOnly:
    """While it lasts nothing in the spool can be written, made, renamed or removed."""

    def __init__(self, w, folder):
        need("chattr")
        self.folder = folder
        w.on_close(lambda: self.set("-i"))

    def set(self, flag):
        status, _, err = run_command(["chattr", "-R", flag, self.folder])
        equal(status, 0, err)

    def __enter__(self):
        self.set("+i")

    def __exit__(self, *_):
        self.set("-i")


class Failing:
    """While it lasts every call that writes fails with EIO."""

    CALLS = "pwritev,pwritev2,pwrite64,fdatasync,fsync,renameat,renameat2,unlinkat,mkdirat"

    def __init__(self, w, d):
        need("strace")
        self.w, self.d = w, d
        inject = ["-e", "trace=" + self.CALLS, "-e", f"inject={self.CALLS}:error=EIO"]
        status, _, err = run_command(["strace", "-o", "/dev/null", *inject, "true"])
        if status != 0:
            raise Skip("strace can't trace here: " + err.strip())
        self.args = ["strace", "-f", "-o", "/dev/null", "-p", str(d.pid()), *inject]

    def traced(self):
        with open(f"/proc/{self.d.pid()}/status", encoding="ascii") as f:
            return re.search(r"TracerPid:\t([1-9]\d*)", f.read())

    def __enter__(self):
        self.strace = self.w.spawn(self.args, stop_signal=signal.SIGINT)
        wait_for(self.traced, "strace to attach")

    def __exit__(self, *_):
        self.strace.send_signal(signal.SIGINT)
        self.strace.wait(20 * SLOW)


def half_sent(s):
    """A client that has sent enough of a large message for its file in tmp/, and the rest."""
    c = s.d.client()
    c.ehlo()
    c.begin()
    whole = stuff(message(body=checked_body("half", 2 * LARGE)))
    c.send(whole[:-1000])
    wait_for(s.d.tmp_files, "the file in tmp/")
    return c, whole[-1000:]


def refuses_and_recovers(s, trouble):
    s.submit_slow()
    half, rest = half_sent(s)
    with trouble:
        s.wait_told()
        half.send(rest)
        code, texts = half.reply()
        equal(code, 451, f"reply to what was half sent: {texts}")
        s.refused(451, "4.3.0")
        time.sleep(6)  # outcomes are asked again, in vain
        s.refused(451, "4.3.0")
        equal([m.rcpts for m in s.peer.mails], [["slow.good@slow.good.test"]], "what the peer got meanwhile")
    half.close()
    s.taken_again()
    s.taken_again(LARGE)
    s.outcomes_stay()
    s.nothing_left(("tmp", "body"))


@case("a spool that turns read-only: 451 4.3.0, nothing left behind, outcomes asked again; it goes on when it can be written")
def _():
    with World() as w:
        disk = small_ext4(w, 96)
        s = Scene(w, disk)
        refuses_and_recovers(s, ReadOnly(w, s.spool))


@case("writes that fail with EIO for a while: the same")
def _():
    with World() as w:
        s = Scene(w, small_ext4(w, 96))
        refuses_and_recovers(s, Failing(w, s.d))


# --- it is full ----------------------------------------------------------------------------


def mail_reply(s, mail=""):
    with s.d.client() as c:
        c.ehlo()
        code, texts = c.cmd("MAIL FROM:<a@b.test>" + mail)
        return code, texts[0]


def wait_mail_reply(s, code, mail=""):
    """Space is asked for once a second, and what a client announced is kept for it for two."""
    return wait_for(lambda: mail_reply(s, mail)[0] == code, f"{code} to MAIL{mail}", AGAIN_S, 0.5)


def space_ends(s, disk):
    ballast = Ballast(disk)
    ballast.leave(PLENTY + MIB)
    time.sleep(2.5)
    equal(mail_reply(s)[0], 250, "MAIL above spool_min_free")
    equal(mail_reply(s, " SIZE=400000")[0], 250, "MAIL with a SIZE that fits")
    code, text = mail_reply(s, f" SIZE={2 * MIB}")
    equal(code, 452, text)
    matches("^4.3.1 ", text)
    s.submit("above@above.test", LARGE)
    ballast.leave(PLENTY - 1)
    wait_mail_reply(s, 452)
    s.refused(452, "4.3.1")
    ballast.remove()
    s.taken_again()
    equal(mail_reply(s, f" SIZE={2 * MIB}")[0], 250, "MAIL with the same SIZE")
    s.end()
    s.nothing_left()


@case("spool_min_free: 452 4.3.1 at MAIL below it, and when SIZE would go below it; taken again when there is space")
def _():
    for name, make in (("tmpfs", lambda w: small_tmpfs(w, "size=96m")), ("ext4", lambda w: small_ext4(w, 96))):
        with World() as w:
            disk = make(w)
            s = Scene(w, disk, PLENTY)
            space_ends(s, disk)
            say(f"{name}: held")


@case("inodes that run short are a full disk, too")
def _():
    with World() as w:
        disk = small_tmpfs(w, "size=96m,nr_inodes=2000")
        s = Scene(w, disk)
        keep = 2000 // 100 * 5
        files = []

        def leave(n):
            while os.statvfs(disk).f_ffree > n:
                files.append(f"{disk}/foreign{len(files)}")
                open(files[-1], "w").close()

        leave(keep + 20)
        time.sleep(1.5)
        s.submit("above@above.test")
        leave(keep)
        wait_mail_reply(s, 452)
        s.refused(452, "4.3.1")
        for f in files:
            os.unlink(f)
        s.taken_again()
        s.end()


def full_while_under_way(w, disk, fill):
    s = Scene(w, disk, PLENTY)
    s.submit_slow()
    ballast = Ballast(disk)
    fill(ballast)
    wait_mail_reply(s, 452)
    s.wait_told()
    s.wait_report()
    return s, ballast


@case("below spool_min_free deliveries go on: the report is stored and delivered, the deferral recorded, also over a crash")
def _():
    for make in (lambda w: small_tmpfs(w, "size=96m"), lambda w: small_ext4(w, 96)):
        with World() as w:
            disk = make(w)
            s, ballast = full_while_under_way(w, disk, lambda b: b.leave(PLENTY // 2))
            wait_for(lambda: len(s.d.queue_files()) == 1, "the deferral to be recorded", RECORDED_S)
            equal(mail_reply(s)[0], 452, "MAIL all the while")
            time.sleep(1.5 * SLOW)  # ends are durable a second later
            s.d.kill()
            s.d.start()
            equal([i["attempts"] for i in wait_for(s.d.queue, "what was deferred")], [1], "attempts")
            equal(mail_reply(s)[0], 452, "MAIL after the start")
            s.end()  # all of it with no more space than that
            ballast.remove()
            s.taken_again()


@case("not one byte free: deliveries go on, the report is delivered, nothing is lost or told twice, and all ends when there is space")
def _():
    for make in (lambda w: small_tmpfs(w, "size=96m"), lambda w: small_ext4(w, 96)):
        with World() as w:
            disk = make(w)
            s, ballast = full_while_under_way(w, disk, lambda b: b.fill())
            check(Ballast.free(disk) < 65536, f"{Ballast.free(disk)} bytes are free")
            s.refused(452, "4.3.1", (3000,))
            time.sleep(6)  # the deferral is asked again, in vain
            equal(s.d.queue_files(), [], "queue files on a full disk")
            ballast.remove()
            s.taken_again()
            s.outcomes_stay()


def start_on_a_full_disk(s, fill):
    """Killed while three deliveries are under way, started again with no more space than there was."""
    s.submit_slow()
    ballast = Ballast(os.path.dirname(s.spool))
    fill(ballast)
    s.d.kill()
    s.d.start()
    equal(mail_reply(s)[0], 452, "MAIL after the start")
    s.wait_told()
    return ballast


@case("a crash, and a start below spool_min_free: outcomes and the report are recorded all the same, as another crash shows")
def _():
    with World() as w:
        s = Scene(w, small_ext4(w, 96), PLENTY)
        s.submit("last@last.test")  # not decided: its segment stays in use
        start_on_a_full_disk(s, lambda b: b.leave(PLENTY - MIB))
        s.outcomes_stay([("last.test", 0)])
        equal(mail_reply(s)[0], 452, "MAIL all the while")


@case("a crash, and a start with not one byte free: it starts, nothing that was accepted is missing, all ends when there is space")
def _():
    with World() as w:
        s = Scene(w, small_ext4(w, 96), PLENTY)
        ballast = start_on_a_full_disk(s, lambda b: b.fill())
        equal([m.rcpts for m in s.peer.mails], [["slow.good@slow.good.test"]], "what the peer got meanwhile")
        ballast.remove()
        s.taken_again()
        s.outcomes_stay()


# --- no file can be opened -------------------------------------------------------------------


class FewFiles:
    """While it lasts the daemon can have no more descriptors than now."""

    def __init__(self, d):
        self.d, self.pid = d, d.pid()
        self.before = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)

    def __enter__(self):
        used = {int(n) for n in os.listdir(f"/proc/{self.pid}/fd")}
        limit = next(n for n in range(len(used) + 1) if n not in used)
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (limit, self.before[1]))

    def __exit__(self, *_):
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, self.before)


@case("no more descriptors: connections wait, large mail is refused 451, small mail is kept; it goes on when there are some")
def _():
    need_root()
    with World() as w:
        s = Scene(w, w.dir)
        with s.d.client() as c:
            c.ehlo()
            with FewFiles(s.d):
                code, text = s.attempt("large@large.test", LARGE, c)
                equal(code, 451, text)
                matches("^4.3.0 ", text)
                code, text = s.attempt("small@small.test", 3000, c)
                check(code in (250, 451), f"{code} {text}")
                say(f"a small message: {code} {text}")
                late = Client(s.d.port, greeting=0)
                late.sock.settimeout(2)
                try:
                    refusal = late.reply()
                    equal(refusal[0], 421, "a connection is refused or waits")
                except TimeoutError:
                    late.sock.settimeout(PATIENCE)
                    refusal = None
                equal([e for e in s.d.events() if e["event"] in FINAL], [], "final events meanwhile")
            if refusal is None:
                equal(late.reply()[0], 220, "the greeting of the connection that waited")
            late.close()
            equal(s.attempt("again@again.test", LARGE, c)[0], 250, "large mail on the same connection")
        s.taken_again(LARGE)
        s.end()
        s.nothing_left(("tmp", "body"))


run()

#!/usr/bin/env python3
"""What waits: schedule, flush, hold, expiry, restart, damage, a full disk, stop and reload."""

import datetime
import glob
import os
import re
import signal
import time

from harness import *

LATER = {"RCPT": lambda c, line: "451 4.2.1 later" if "later" in line else None}


def seconds(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def wait_of(event):
    """Seconds from an event to its next attempt."""
    return seconds(event["next_attempt"]) - seconds(event["time"])


def deferring(w, intervals="1h*3", script=None, **settings):
    peer = w.peer(script=LATER if script is None else script)
    settings = merge({"routes": [{"domain": "*", "mx": [peer.address]}], "outbound": {"temp_fail_intervals": intervals}}, settings)
    d = w.daemon(**settings)
    d.peer = peer
    return d


def settled(d):
    """Waits until nothing is in work: an event is written just before its outcome is recorded and the item waits again."""
    wait_for(lambda: all(item["state"] != "active" for item in d.queue()), "outcomes to be recorded")


def defer_one(d, to="later@example.test", **more):
    mid = d.submit("joe@sender.test", to, **more)
    d.wait_event(event="deferred", recipient=to, count=1)
    settled(d)
    return mid


def reports(d):
    return [m for m in d.peer.mails if m.sender == ""]


# --- schedule -------------------------------------------------------------------------


@case('temp_fail_intervals = "5s,6s": attempts and times as said, never early, within the jitter; then expired with a report')
def _():
    with World() as w:
        d = deferring(w, "5s,6s")
        d.submit("joe@sender.test", "later@example.test")
        e = d.wait_fate("later@example.test", 30 * SLOW)
        events = [x for x in d.events(recipient="later@example.test") if x["event"] != "received"]
        equal([(x["event"], x["attempt"]) for x in events], [("deferred", 1), ("deferred", 2), ("expired", 3)])
        for x, interval in zip(events, (5, 6)):
            check(interval - 0.002 <= wait_of(x) <= interval * 1.125 + 0.002, f"wait {wait_of(x)} for {interval}")
        for a, b in zip(events, events[1:]):
            late = seconds(b["time"]) - seconds(a["next_attempt"])
            check(-0.002 <= late < 1 * SLOW, f"attempt {late} s off its time")
        equal((e["code"], e["enhanced"]), (550, "5.4.7"))
        matches("too many failed attempts.*451 4.2.1 later", e["response"])
        m = wait_for(lambda: reports(d), "the report")[0]
        text = m.data.decode()
        matches(r"Status: [45]\.", text)
        matches("451 4.2.1 later", text)
        d.wait_empty()
        say(f"waits {[round(wait_of(x), 3) for x in events[:2]]} s, expired after {e['delay']} s")


@case('temp_fail_intervals = "none": the first failure is final')
def _():
    with World() as w:
        d = deferring(w, "none")
        d.submit("joe@sender.test", "later@example.test")
        e = d.wait_fate("later@example.test")
        equal((e["event"], e["attempt"]), ("expired", 1))
        wait_for(lambda: reports(d), "the report")


@case("lifetime: older mail expires, with a report, though intervals are left")
def _():
    with World() as w:
        d = deferring(w, "5s*100", outbound={"lifetime": "7s"})
        d.submit("joe@sender.test", "later@example.test")
        e = d.wait_fate("later@example.test", 30 * SLOW)
        equal(e["event"], "expired")
        check(7 <= e["delay"] < 13 * SLOW, f"expired after {e['delay']} s")
        matches("expired", e["response"])
        text = wait_for(lambda: reports(d), "the report")[0].data.decode()
        matches(r"Status: 5\.4\.7", text)
        d.wait_empty()


@case("a report that can't be delivered expires without another report")
def _():
    with World() as w:
        script = {"RCPT": lambda c, line: "550 5.1.1 no" if "bad" in line else "451 4.2.1 later"}
        d = deferring(w, "5s", script=script)
        d.submit("joe@sender.test", "bad@example.test")
        equal(d.wait_fate("bad@example.test")["event"], "bounced")
        equal(d.wait_fate("joe@sender.test", 30 * SLOW)["event"], "expired")
        d.wait_empty()


# --- the operator ----------------------------------------------------------------------


@case("HUP and flush ID | DOMAIN: tried at once; a failed flush costs no interval and keeps the due time")
def _():
    with World() as w:
        d = deferring(w, "1h")
        mid = defer_one(d)
        first = d.wait_event(event="deferred")
        for n, flush in enumerate((lambda: d.signal(signal.SIGHUP), lambda: d.cli_ok("flush"),
                                   lambda: d.cli_ok("flush", mid), lambda: d.cli_ok("flush", "example.test")), 2):
            flush()
            e = d.wait_event(event="deferred", count=n)
            settled(d)
            equal(e["next_attempt"], first["next_attempt"], "next_attempt after the flush")
        equal(d.events(event="expired"), [], "expired by flushes")
        status, _, err = d.cli("flush", "nothere.test")
        equal(status, 1, "flush of what is not there")
        matches("nothing deferred", err)
        d.peer.script = {}
        d.signal(signal.SIGHUP)
        equal(d.wait_fate("later@example.test")["event"], "delivered")
        d.wait_empty()


@case("queue, queue --json, --domain, --sender, show, status, stats")
def _():
    with World() as w:
        d = deferring(w)
        ids = [defer_one(d, f"later{i}@d{i}.test") for i in range(3)]
        d.submit("ann@other.test", "later9@d9.test")
        d.wait_event(event="deferred", recipient="later9@d9.test")
        wait_for(lambda: len([i for i in d.queue() if i["state"] == "deferred"]) == 4, "four deferred items")
        items = {i["id"]: i for i in d.queue()}
        item = items[ids[0]]
        equal((item["state"], item["domain"], item["sender"], item["attempts"]), ("deferred", "d0.test", "joe@sender.test", 1))
        equal(item["recipients"][0]["recipient"], "later0@d0.test")
        matches("451 4.2.1 later", item["recipients"][0]["response"])
        equal(item["next_attempt"], d.events(event="deferred", recipient="later0@d0.test")[0]["next_attempt"])
        text = d.cli_ok("queue")
        check(ids[0] in text and "4 items" in text, text)
        check(ids[0] not in d.cli_ok("queue", "--domain", "d1.test"), "--domain")
        matches("1 item\n", d.cli_ok("queue", "--sender", "ann@other.test"))
        shown = d.cli_ok("show", ids[1])
        for part in ("later1@d1.test", "joe@sender.test", "d1.test", "451 4.2.1 later", "deferred", "127.0.0.1"):
            check(part in shown, f"{part} in show: {shown}")
        status, _, err = d.cli("show", "nosuchid")
        equal(status, 1)
        check(err, "a reason")
        matches("queue: 4 items", d.cli_ok("status"))
        matches(r"deferred +4", d.cli_ok("stats"))


@case("hold, release, delete: held mail stays through a flush and a restart; deleted mail is gone with its event and no report")
def _():
    with World() as w:
        d = deferring(w)
        held, gone = defer_one(d, "later1@example.test"), defer_one(d, "later2@example.test")
        d.cli_ok("hold", held)
        d.wait_event(event="held", recipient="later1@example.test")
        d.cli_ok("delete", gone)
        d.wait_event(event="deleted", recipient="later2@example.test")
        d.peer.script = {}
        d.cli("flush")
        d.restart()
        d.cli("flush")
        wait_for(lambda: [i["state"] for i in d.queue()] == ["held"], "one held item after the restart")
        time.sleep(0.5)
        equal(d.peer.mails, [], "nothing was delivered or reported")
        d.cli_ok("release", held)
        d.wait_event(event="released", recipient="later1@example.test")
        d.cli("flush")
        equal(d.wait_fate("later1@example.test")["event"], "delivered")
        d.wait_empty()
        equal(d.cli("delete", gone)[0], 1, "delete of what is gone")


# --- restarts ----------------------------------------------------------------------------


def slow_scan(d):
    """Starts the daemon with a start-up scan that takes some seconds."""
    need("strace")
    need_root()
    slow = ["-e", "trace=getdents64", "-e", "inject=getdents64:delay_enter=30000"]
    status, _, err = run_command(["strace", "-o", "/dev/null", *slow, "true"])
    if status != 0:
        raise Skip("strace can't delay calls here: " + err.strip())
    d.wrapper = ["strace", "-f", "-o", "/dev/null", *slow]
    d.env = {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"}
    d.start()
    matches("scan still running", d.cli_ok("status"))


@case("flush, hold, release and delete while the start-up scan runs apply to what it finds later")
def _():
    with World() as w:
        d = deferring(w, "1h*3")
        domains = ("flushed", "held", "released", "deleted", "left")
        ids = {f"{name}{n}": defer_one(d, f"later{n}@{name}.test") for name in domains for n in range(8)}
        d.cli_ok("hold", "released.test")
        wait_for(lambda: sum(i["state"] == "held" for i in d.queue()) == 8, "the holds")
        d.stop()
        d.peer.script = {}
        slow_scan(d)
        for command, name in (("flush", "flushed"), ("hold", "held"), ("release", "released"), ("delete", "deleted")):
            matches("start-up scan still finds", d.cli_ok(command, name + ".test"))
        matches("start-up scan still finds", d.cli_ok("hold", ids["left0"]))
        matches("scan still running", d.cli_ok("status"))
        wait_for(lambda: "scan still running" not in d.cli_ok("status"), "the scan to end", 60 * SLOW)
        wait_for(lambda: len(d.peer.mails) == 16, "what was flushed and released")
        left = wait_for(lambda: (lambda q: q if len(q) == 16 else None)(d.queue()), "the queue to hold what is left")
        equal({m.rcpts[0].split("@")[1] for m in d.peer.mails}, {"flushed.test", "released.test"}, "delivered")
        states = {f"{i['domain']} {i['state']}" for i in left}
        equal(states, {"held.test held", "left.test held", "left.test deferred"}, "what is left")
        equal([i["id"] for i in left if i["domain"] == "left.test" and i["state"] == "held"], [ids["left0"]], "held by id")
        for event, n in (("deleted", 8), ("held", 8 + 8 + 1), ("released", 8), ("delivered", 16)):
            equal(len(d.events(event=event)), n, f"events {event}")
        for command in ("flush", "hold", "release", "delete"):
            for nobody in ("nobody.test", ""):
                equal(d.cli(command, nobody)[0], 1, f"status of {command} {nobody!r} after the scan")
        equal(sorted(i["id"] for i in d.queue()), sorted(i["id"] for i in left), "the queue after commands for nobody")


@case("schedule, attempts and last reply survive TERM and SIGKILL; only recipients not yet done are tried again")
def _():
    with World() as w:
        d = deferring(w, "6s,1h")
        d.submit("joe@sender.test", ["good@example.test", "later@example.test"])
        first = d.wait_event(event="deferred", recipient="later@example.test")
        d.wait_fate("good@example.test")
        settled(d)
        d.kill()
        d.start()
        item = wait_for(lambda: d.queue(), "the item")[0]
        due = seconds(item["next_attempt"])
        check(abs(due - seconds(first["next_attempt"])) < 0.01, "due time after SIGKILL")
        equal(item["attempts"], 1)
        second = d.wait_event(event="deferred", recipient="later@example.test", count=2)
        equal(second["attempt"], 2)
        check(seconds(second["time"]) >= seconds(first["next_attempt"]) - 0.002, "not early")
        check(3590 < wait_of(second) < 4060, f"wait {wait_of(second)}")
        settled(d)
        d.restart()
        item = wait_for(lambda: d.queue(), "the item")[0]
        equal((item["attempts"], item["next_attempt"]), (2, second["next_attempt"]))
        d.peer.script = {}
        d.cli_ok("flush")
        equal(d.wait_fate("later@example.test")["event"], "delivered")
        equal([m.rcpts for m in d.peer.mails], [["good@example.test"], ["later@example.test"]])


def damage(file, how):
    with open(file, "rb") as f:
        data = bytearray(f.read())
    if how == "header":
        data[20] ^= 1
    elif how == "envelope":
        at = data.index(b"joe@sender.test")
        data[at] ^= 1
    elif how == "body":
        data[data.index(b"Hello.") + 2] ^= 1
    elif how == "cut":
        del data[len(data) // 2 :]
    elif how == "empty":
        data = b""
    with open(file, "wb") as f:
        f.write(data)


@case("damaged queue files go to corrupt/, are counted and reported, and everything else goes on")
def _():
    with World() as w:
        d = deferring(w)
        kinds = ("header", "envelope", "body", "cut", "empty")
        for kind in kinds:
            defer_one(d, f"later@{kind}.test")
        defer_one(d, "later@fine.test")
        d.stop()
        for kind in kinds:
            file = [f for f in d.queue_files() if kind + ".test" in f]
            equal(len(file), 1, f"files of {kind}")
            damage(file[0], kind)
        d.peer.script = {}
        d.start()
        d.cli_ok("flush")
        equal(d.wait_fate("later@fine.test")["event"], "delivered")
        corrupt = wait_for(lambda: (lambda f: f if len(f) == 5 else None)(os.listdir(d.spool + "/corrupt")), "five files in corrupt/")
        say("\n".join(sorted(corrupt)))
        d.wait_empty()
        matches(r"queue_corrupt +5", d.cli_ok("stats"))
        equal(len(d.peer.mails), 1, "mails")
        for kind in kinds:
            check(any(kind + ".test" in name for name in corrupt), f"{kind} in corrupt/")
        check(d.log_text().count("corrupt") >= 5, "each is in the log")


@case("what a torn tail leaves, foreign files and leftovers in tmp/ do no harm")
def _():
    with World() as w:
        d = deferring(w)
        defer_one(d)
        d.stop()
        file = d.queue_files()[0]
        with open(file, "ab") as f:
            f.write(b"\x07torn")
        folder = os.path.dirname(file)
        open(folder + "/README", "w").close()
        open(d.spool + "/tmp/leftover", "w").close()
        d.peer.script = {}
        d.start()
        equal(wait_for(lambda: d.queue(), "the item")[0]["attempts"], 1)
        d.cli_ok("flush")
        equal(d.wait_fate("later@example.test")["event"], "delivered")
        wait_for(lambda: [os.path.basename(f) for f in d.queue_files()] == ["README"], "only the foreign file to be left")
        equal(d.tmp_files(), [])
        equal(os.listdir(d.spool + "/corrupt"), [])


@case("a second daemon on the same spool refuses to start; modes of the spool are tight, wider ones are tightened")
def _():
    with World() as w:
        d = w.daemon()
        other = w.daemon(start=False, spool=d.spool)
        status, _, err = run_command([POSTRIDERD, "-c", other.file])
        equal(status, 1)
        matches("in use by another process", err)
        say(err.strip().split("\n")[-1])
        d.submit("joe@sender.test", "x@[127.0.0.1]")
        wait_for(d.queue_files, "the queue file of a deferral")
        d.stop()
        os.chmod(d.spool, 0o755)
        os.chmod(d.spool + "/queue", 0o777)
        d.start()
        for folder in ("", "/queue", "/tmp", "/corrupt", "/state"):
            equal(oct(os.stat(d.spool + folder).st_mode & 0o777), "0o700", folder)
        equal([oct(os.stat(f).st_mode & 0o777) for f in d.queue_files()], ["0o600"])


# --- stop and reload ---------------------------------------------------------------------


@case("TERM: no new connections, idle sessions get 421, a message being handed over and a delivery in flight finish, exit 0")
def _():
    with World() as w:
        go = []

        def slow(_conn, _line):
            wait_for(lambda: go, "the word to go on")

        d = deferring(w, script={"DOT": slow})
        d.submit("joe@sender.test", "inflight@example.test")
        wait_for(lambda: d.peer.conns and "DATA" in d.peer.conns[0].commands, "the delivery to be in flight")
        idle = d.client()
        idle.ehlo()
        busy = d.client()
        busy.ehlo()
        busy.begin(recipient="last@example.test")
        busy.send(b"Subject: x\r\n\r\n")
        d.signal(signal.SIGTERM)
        equal(idle.reply()[0], 421, "the idle session")
        wait_for(lambda: not can_connect(d.port), "the listener to be closed")
        busy.send(b"hello\r\n.\r\n")
        equal(busy.reply()[0], 250, "the message under way")
        go.append(1)
        d.wait()
        equal(d.wait_fate("inflight@example.test")["event"], "delivered")
        equal(d.queue_files(), [], "queue files: the message taken last stays in the journal")
        d.start()
        equal(d.wait_fate("last@example.test")["event"], "delivered")
        equal(sorted(m.rcpts[0] for m in d.peer.mails), ["inflight@example.test", "last@example.test"])


def can_connect(port):
    try:
        Client(port, greeting=0).close()
        return True
    except OSError:
        return False


@case("TERM and a host that says nothing: the stop comes after shutdown_timeout; the mail is delivered after the next start")
def _():
    with World() as w:
        from peer import SILENT

        d = deferring(w, script={"MAIL": SILENT}, outbound={"shutdown_timeout": "1s"})
        d.submit("joe@sender.test", "a@example.test")
        wait_for(lambda: d.peer.conns and len(d.peer.conns[0].commands) > 1, "the delivery to hang")
        began = time.monotonic()
        d.stop()
        took = time.monotonic() - began
        check(0.5 < took < 5 * SLOW, f"the stop took {took:.1f} s")
        equal(d.queue_files(), [], "queue files after the stop")
        d.peer.script = {}
        d.start()
        equal(d.wait_fate("a@example.test")["event"], "delivered")


@case("TERM with 3,000 messages in the journal: it ends at once; the next start has each of them, and delivers it once")
def _():
    count = 3000
    with World() as w:
        dead = f"127.0.0.1:{free_port()}"
        d = w.daemon(routes=[{"domain": "*", "mx": [dead]}])
        ids = set()
        with d.client() as c:
            c.ehlo()
            for n in range(count):
                c.send(f"MAIL FROM:<joe@sender.test>\r\nRCPT TO:<r{n}@d{n % 7}.test>\r\nDATA\r\n")
                equal([c.reply()[0] for _ in range(3)], [250, 250, 354])
                c.send(stuff(message()))
                ids.add(c.reply()[1][0].split()[-1])
        files = len(d.queue_files())
        check(files < count / 10, f"{files} queue files while the host is down")
        began = time.monotonic()
        d.stop()
        took = time.monotonic() - began
        check(took < 5 * SLOW, f"the stop took {took:.1f} s")
        check(len(d.queue_files()) <= files + 10, f"{len(d.queue_files())} queue files after it, {files} before")
        peer = w.peer()
        d.write_config(routes=[{"domain": "*", "mx": [peer.address]}])
        d.start()
        wait_for(lambda: re.search(r"queue: (\d+) items", d.cli_ok("status")).group(1) == "0", "all to be delivered", 120)
        equal(sorted(e["id"] for e in d.events(event="delivered")), sorted(ids), "delivered, each once")
        equal(len(peer.mails), count, "messages at the peer")
        say(f"stopped in {took:.2f} s")


@case("USR1 and `postrider reload`: a broken config is refused with FILE:LINE and the old one stays; a good one is taken")
def _():
    with World() as w:
        d = deferring(w)
        with open(d.file, encoding="utf-8") as f:
            good = f.read()
        with open(d.file, "w", encoding="utf-8") as f:
            f.write(good + "nonsense = 5;\nsubmission = ;\n")
        d.signal(signal.SIGUSR1)
        wait_for(lambda: "old configuration stays" in d.log_text(), "the refusal in the log")
        matches(re.escape(d.file) + r":\d+: ", d.log_text())
        with open(d.file, "w", encoding="utf-8") as f:
            f.write(good)
        d.write_config(outbound={"temp_fail_intervals": "4s"})
        status, _, err = run_command([POSTRIDER, "-c", d.file, "reload"])
        equal(status, 1, "reload by a client that reads the broken config too")
        d.write_config(outbound={"temp_fail_intervals": "1h*3"}, submission={"max_recipients": 1})
        d.signal(signal.SIGUSR1)
        wait_for(lambda: "read again" in d.log_text(), "the config to be taken")
        with d.client() as c:
            c.ehlo()
            c.want(250, "MAIL FROM:<a@b.test>")
            c.want(250, "RCPT TO:<r1@example.test>")
            c.want(452, "RCPT TO:<r2@example.test>")
        d.write_config(submission={"max_recipients": 2})
        d.cli_ok("reload")
        with d.client() as c:
            c.ehlo()
            c.want(250, "MAIL FROM:<a@b.test>")
            c.want(250, "RCPT TO:<r1@example.test>")
            c.want(250, "RCPT TO:<r2@example.test>")
        d.signal(signal.SIGUSR2)
        wait_for(lambda: "[status]" in d.log_text(), "the summary of USR2")


@case("events: the file is opened anew when moved away; a line torn by kill -9 does not spoil the next")
def _():
    with World() as w:
        d = deferring(w)
        d.submit("joe@sender.test", "one@example.test")
        d.wait_fate("one@example.test")
        os.rename(d.events_file, d.events_file + ".1")
        time.sleep(1.1)
        d.submit("joe@sender.test", "two@example.test")
        equal(d.wait_fate("two@example.test")["event"], "delivered")
        equal(len(d.events(event="received")), 1, "lines in the new file")
        with open(d.events_file + ".1", encoding="utf-8") as f:
            equal(len(f.readlines()), 2, "lines in the old file")
        d.kill()
        with open(d.events_file, "a", encoding="utf-8") as f:
            f.write('{"time":"20')
        d.start()
        d.submit("joe@sender.test", "three@example.test")
        equal(d.wait_fate("three@example.test")["event"], "delivered")
        equal(len(d.events(event="received")), 2, "whole lines")


# --- a full disk ---------------------------------------------------------------------------


def small_disk(w, size):
    need_root()
    folder = w.path("disk")
    os.mkdir(folder)
    status, _, err = run_command(["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", folder])
    if status != 0:
        raise Skip("tmpfs can't be mounted here: " + err.strip())
    w.on_close(lambda: run_command(["umount", "-l", folder]))
    return folder


def fill(folder, leave=0):
    """Writes a file until no space is left; with leave, gives some back."""
    file = folder + "/ballast"
    with open(file, "ab", buffering=0) as f:
        try:
            while True:
                f.write(b"x" * 4096)
        except OSError:
            pass
    if leave:
        os.truncate(file, os.path.getsize(file) - leave)
    return file


@case("a full spool: 452 4.3.1 at MAIL, by SIZE, and at the dot; nothing stays behind; it goes on when there is space")
def _():
    with World() as w:
        disk = small_disk(w, "4m")
        d = deferring(w, script={}, spool=disk + "/spool", outbound={"spool_min_free": 100000, "disabled": True})
        with d.client() as c:
            c.ehlo()
            c.want(452, "MAIL FROM:<a@b.test> SIZE=10000000", "4.3.1")
            c.begin()
            ballast = fill(disk, 50000)
            c.send(stuff(message(body=b"x" * 70 + b"\r\n" * 100000)))
            code, texts = c.reply()
            equal(code, 452, f"the dot on a full disk: {texts}")
            matches("^4.3.1", texts[0])
            equal(glob.glob(disk + "/spool/queue/*/*") + os.listdir(disk + "/spool/tmp"), [], "files left")
            time.sleep(1.1)  # free space is asked for once a second
            c.want(452, "MAIL FROM:<a@b.test>", "4.3.1")
            os.unlink(ballast)
            time.sleep(1.1)
            c.begin()
            c.send(stuff(message()))
            equal(c.reply()[0], 250, "with space again")


@case("a disk that fills up before an outcome is recorded: nothing is lost, nothing bounced, and it goes on when there is space")
def _():
    with World() as w:
        disk = small_disk(w, "4m")
        script = {"RCPT": lambda c, line: "550 5.1.1 no" if "bad" in line else "451 4.2.1 later" if "later" in line else None}
        d = deferring(w, script=script, spool=disk + "/spool", outbound={"spool_min_free": 4096, "disabled": True})
        for to in ("later@example.test", "bad@example.test", "good@example.test"):
            d.submit("joe@sender.test", to)
        equal(len(glob.glob(disk + "/spool/queue/*/*")), 3)
        ballast = fill(disk)
        d.write_config(outbound={"disabled": False})
        d.cli_ok("reload")
        d.cli("flush")
        wait_for(lambda: len(d.peer.conns) >= 3, "the attempts")
        time.sleep(1)
        d.kill()
        d.start()
        os.unlink(ballast)
        d.peer.script = dict(script)
        d.cli("flush")
        equal(d.wait_fate("good@example.test")["event"], "delivered")
        wait_for(lambda: reports(d), "the report", 90 * SLOW)
        check(d.events(event="deferred", recipient="later@example.test"), "deferred")
        d.peer.script = {}
        wait_for(lambda: (d.cli("flush"), d.events(event="delivered", recipient="later@example.test"))[1], "delivery", poll=0.3)
        equal(len(reports(d)), 1, "reports")
        equal(os.listdir(disk + "/spool/corrupt"), [])


run()

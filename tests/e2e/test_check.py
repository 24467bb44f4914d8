#!/usr/bin/env python3
"""`postrider check` on spools that a real daemon left: stopped, killed, and damaged by the test.

What it counts is held against tests/reader/queue_reader.py, which knows
postrider-queue(5) and nothing else; what it repairs, against what the daemon
then delivers.
"""

import glob
import json
import os
import shutil
import sys

from harness import *

sys.path.insert(0, os.path.join(TOP_SRCDIR, "tests", "reader"))
import queue_reader  # noqa: E402

LATER = "451 4.2.1 not now"


def answer_rcpt(_conn, line):
    if "<later" in line:
        return LATER
    return "550 5.1.1 nobody" if "<no" in line else None


def start(w, **settings):
    peer = w.peer(script={"RCPT": answer_rcpt})
    settings = merge({"outbound": {"temp_fail_intervals": "1h*5"}}, settings)
    return w.daemon(routes=[{"domain": "*", "mx": [peer.address]}], **settings), peer


def send(d, to, key, size=2000):
    return d.submit("joe@sender.test", to, message(subject=key, body=checked_body(key, size)))


def settled(d):
    wait_for(lambda: all(item["state"] in ("deferred", "held") for item in d.queue()), "everything to be tried")


def run_check(d, *options):
    """(exit status, findings, summary)"""
    status, out, err = run_command([POSTRIDER, "check", "--json", "--spool", d.spool, *options])
    equal(err, "", "complaints")
    *findings, summary = [json.loads(line) for line in out.splitlines()]
    return status, findings, summary


def kinds(findings):
    return sorted(f["kind"] for f in findings)


def agree(d, summary):
    """Counts of the check and of the independent reader."""
    found = queue_reader.read_spool(d.spool)
    in_journal = [i for i in found.items if "/journal/" in i.path]
    in_files = [i for i in found.items if "/queue/" in i.path]
    for items, said, count in ((in_journal, summary["journal"], "destinations"), (in_files, summary["queue"], "files")):
        equal(said[count], len(items), count)
        equal(said["messages"], len({i.name["id"] for i in items}), "messages")
        equal(said["recipients"], sum(len(i.waiting()) for i in items), "recipients")
    equal(summary["queue"]["held"], sum(i.held for i in in_files), "held")
    equal(summary["queue"]["bytes"], sum(len(i.body) for i in in_files), "bytes")
    equal(summary["corrupt"]["files"], len(found.set_aside), "files set aside")
    return found


def deliver_all(d, peer):
    """Starts it at a peer that takes everything; the keys of what arrives, all of it whole."""
    d.write_config(outbound={"disabled": False}, routes=[{"domain": "*", "mx": [peer.address]}])
    d.start()
    d.cli_ok("flush")
    wait_for(lambda: all(item["state"] == "held" for item in d.queue()), "the queue to be served")
    check(all(verify_body(m.data)[1] for m in peer.mails), "whole bodies")
    return sorted(verify_body(m.data)[0] for m in peer.mails)


@case("beside a running daemon it refuses with one line; a broken configuration is no obstacle where --spool is given")
def _():
    with World() as w:
        d, _peer = start(w)
        for options in ((), ("--repair",)):
            status, out, err = d.cli("check", *options)
            equal((status, out, err.count("\n")), (1, "", 1), "the answer")
            matches("daemon", err)
        d.stop()
        status, out, err = d.cli("check")
        equal((status, err), (0, ""), "check of a stopped daemon's spool")
        matches(r"\n0 errors, 0 warnings, 0 notes", out)
        with open(d.file, "a", encoding="utf-8") as f:
            f.write("no such thing")
        status, out, err = d.cli("check")
        equal((status, out), (1, ""), "with a broken configuration")
        matches("--spool", err)
        equal(d.cli("check", "--spool", d.spool)[0], 0, "with --spool")
        for words in (("--spool",), ("--mend",), ("now",)):
            equal(d.cli("check", *words)[0], 2, f"check {words}")
        equal(d.cli("check", "--spool", w.dir)[0], 1, "no spool")
        equal(os.listdir(w.dir).count("state"), 0, "state/ in what is no spool")


@case("deferred, held, partly delivered, large, on its way after SIGKILL: nothing is wrong, and the counts are the reader's")
def _():
    with World() as w:
        d, _peer = start(w)
        send(d, ["later@a.test", "ok@a.test", "no@a.test", "later2@a.test"], "part")
        send(d, [f"later@d{n}.test" for n in range(5)], "many")
        held = send(d, ["later@b.test", "later@c.test"], "held")
        send(d, "later@a.test", "large", 1000000)
        settled(d)
        d.cli_ok("hold", held)
        d.stop()
        status, findings, summary = run_check(d)
        equal((status, findings), (0, []), "after a stop")
        agree(d, summary)
        equal(summary["queue"]["held"], 2, "held")
        d.write_config(outbound={"disabled": True})
        d.start()
        for n in range(12):
            send(d, [f"a@e{i}.test" for i in range(1 + n % 3)], f"way{n}", (100, 50000, 400000)[n % 3])
        d.kill()
        status, findings, summary = run_check(d)
        equal((status, [f for f in findings if f["severity"] != "note"]), (0, []), "after SIGKILL")
        agree(d, summary)
        equal(summary["journal"]["messages"], 12, "messages on their way")
        equal(summary["body"]["files"], 4, "bodies in files of their own")
        say(f"{summary['queue']['files']} queue files, {summary['journal']['destinations']} destinations in the journal")


def queue_file(d, domain):
    (path,) = glob.glob(f"{d.spool}/queue/*/*-*.{domain}")
    return path


def flip(path, at):
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)
        f.seek(at)
        f.write(bytes([byte[0] ^ 8]))


def renamed(path, due, attempts):
    folder, name = os.path.split(path)
    return os.path.join(folder, f"{due}.{attempts}.{name.split('.', 2)[2]}")


@case("seven kinds of damage: found, repaired, nothing left to repair, and the daemon delivers all that is whole")
def _():
    with World() as w:
        d, _peer = start(w)
        for name in "abcdefgh":
            send(d, f"later@{name}.test", name)
        settled(d)
        d.stop()
        flip(queue_file(d, "a.test"), os.path.getsize(queue_file(d, "a.test")) // 2)  # the body
        with open(queue_file(d, "b.test"), "ab") as f:
            f.write(b"PRT1 torn")
        path = queue_file(d, "c.test")
        os.rename(path, renamed(path, 1700000000000, 0))
        os.chmod(queue_file(d, "d.test"), 0o640)
        path = queue_file(d, "e.test")
        twin = renamed(path, 1700000000000, 0).replace(os.path.dirname(path), d.spool + "/queue/3e")
        shutil.copy2(path, twin)
        path = queue_file(d, "f.test")
        os.rename(path, os.path.join(d.spool, "corrupt", os.path.basename(path)))  # by mistake
        path = queue_file(d, "g.test")
        os.rename(path, path.replace("g.test", "other.test"))
        wanted = ["behind", "damaged", "misnamed", "mode", "torn", "twin", "whole"]
        status, findings, summary = run_check(d)
        equal((status, kinds(findings)), (1, wanted), "findings")
        equal({f["repair"] for f in findings}, {"possible"}, "repairs")
        equal(run_check(d)[1], findings, "findings once more")
        status, text, _err = run_command([POSTRIDER, "check", "--spool", d.spool])
        equal(status, 1, "status of the check as text")
        matches(r"(?m)^error: queue/\S+a\.test: the body fails its checksum; .*<later@a\.test>.* \[--repair would move", text)
        matches(r"(?m)^note: queue/\S+b\.test at \d+: 9 bytes ", text)
        status, findings, summary = run_check(d, "--repair")
        equal((status, kinds(findings)), (1, wanted), "findings repaired")
        equal({f["repair"] for f in findings}, {"done"}, "repairs done")
        equal((summary["repairable"], summary["repaired"]), (7, 7), "repairs")
        status, findings, summary = run_check(d)
        equal((status, summary["repairable"], kinds(findings)), (1, 0, ["set-aside"] * 3), "findings after it")
        agree(d, summary)
        got = deliver_all(d, w.peer())
        equal(got, list("bcdefh"), "mail that arrives")
        d.stop()
        equal(len(os.listdir(d.spool + "/corrupt")), 3, "files that stay in corrupt/")


@case("damaged records of the journal: found where the reader finds them, saved, and the rest is delivered")
def _():
    with World() as w:
        d = w.daemon(outbound={"disabled": True})
        for n in range(12):
            send(d, [f"k{n}@d{i}.test" for i in range(1 + n % 2)], f"k{n}", 3000)
        d.kill()
        (segment,) = queue_reader.read_headers(queue_reader.Spool(d.spool))
        records = queue_reader.read_segment(queue_reader.Spool(d.spool), segment)
        hurt = (2, 5, 9)
        for n, at in zip(hurt, (10, 60, 3000)):
            flip(segment.path, records[n].at + at)
        status, findings, summary = run_check(d)
        equal((status, kinds(findings)), (1, ["record"] * 3), "findings")
        equal([f["offset"] for f in findings], [records[n].at for n in hurt], "offsets")
        found = agree(d, summary)
        equal(len(found.problems), 3, "problems to the reader")
        status, findings, summary = run_check(d, "--repair")
        equal((status, summary["repaired"]), (1, 3), "repairs")
        saved = sorted(glob.glob(d.spool + "/corrupt/journal.*"))
        equal(len(saved), 3, "records in corrupt/")
        status, findings, summary = run_check(d)
        equal((summary["repairable"], kinds(findings)), (0, ["record-known"] * 3 + ["set-aside"] * 3), "findings after it")
        got = deliver_all(d, w.peer())
        equal(sorted(set(got)), sorted(f"k{n}" for n in range(12) if n not in hurt), "mail that arrives")
        d.stop()
        equal(sorted(glob.glob(d.spool + "/corrupt/journal.*")), saved, "the daemon saves them no second time")


@case("as root on the spool of another user: what it makes and brings back is the daemon's")
def _():
    need_root()
    with World() as w:
        d, _peer = start(w)
        send(d, "later@a.test", "a")
        settled(d)
        d.stop()
        for folder, _dirs, files in os.walk(d.spool):
            for path in [folder] + [os.path.join(folder, f) for f in files]:
                os.chown(path, 65534, 65534)
        os.unlink(d.spool + "/state/lock")
        path = queue_file(d, "a.test")
        os.chown(path, 0, 0)  # as restored from a backup
        status, findings, _summary = run_check(d, "--repair")
        equal((status, kinds(findings)), (1, ["owner"]), "findings")
        for name in (path, d.spool + "/state/lock"):
            equal(os.stat(name).st_uid, 65534, f"owner of {name}")
        equal(run_check(d)[0], 0, "status after it")


run()

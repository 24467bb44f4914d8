#!/usr/bin/env python3
"""Power cuts under load: what got a 250 is on the disk, whole, at any moment (laws 1, 2, 3).

The spool is on a filesystem of its own, in an image file that lies on XFS. A
reflink copy of the image, taken at a random moment under load, is what a
disk would hold had the power gone just then. Each copy is mounted, so that
its journal replays, and read with tests/reader/queue_reader.py: every
message whose 250 came before the copy was begun must be there, whole, for
each recipient that no peer had taken and no event had called bounced before
the copy was done. On some of the copies a daemon is started instead, and a
new peer must get what was missing.

What this does not show: writes that the filesystem has handed to the disk
are in the copy, in their order, as with a disk that has no cache of its own.
So a missing fsync is found (the last case proves that: it takes the syncs
away from the daemon), a missing flush of the disk's cache is not.

ext4 with data=writeback uses the blocks of a deleted file again before the
deletion is in its journal: after a power cut such a file may be back with
the content of another. Nothing is lost by that, for only files of which all
is decided are deleted; so there damaged files are counted, and all the rest
must hold.

All mounts are made in a mount namespace of this process, and their loop
devices are of the kind that goes away with the mount: even after SIGKILL
nothing stays behind.
"""

import collections
import datetime
import os
import random
import re
import subprocess
import sys
import threading
import time

from disks import own_namespace, run_root, unmount
from harness import *

sys.path.insert(0, os.path.join(TOP_SRCDIR, "tests", "reader"))
import queue_reader  # noqa: E402

SNAPSHOTS = 200 if LONG else 8 if QUICK else 20
BATCH = 25  # snapshots of one image at most: so much room the outer filesystem has
DAEMONS = 2 if QUICK else 3  # of the snapshots of a batch that a daemon is started on
SENDERS = 8
EVERY_S = (0.1, 0.3)
PAUSE_S = 0.02  # of a sender between two messages: the load is to be checked in a minute
IMAGE_MIB = 320  # mkfs.xfs wants 300
LAG_S = 5 * SLOW  # outcomes are to be on disk 1 s after the peer's reply; the rest is for a busy machine

FILESYSTEMS = {
    "ext4, data=ordered": (["mkfs.ext4", "-q", "-F"], "data=ordered"),
    "ext4, data=writeback": (["mkfs.ext4", "-q", "-F"], "data=writeback"),
    "XFS": (["mkfs.xfs", "-q", "-f"], "nouuid"),
}


# --- disks -----------------------------------------------------------------------------


class Disk:
    """An image of a filesystem on an XFS of its own, with snapshots."""

    def __init__(self, w, kind):
        need_root()
        need("mkfs.xfs", "mkfs.ext4", "mount", "umount", "cp", "truncate")
        self.w = w
        self.make, self.options = FILESYSTEMS[kind]
        own_namespace()
        outer = self.new_image(w.path("outer.img"), 1500, ["mkfs.xfs", "-q", "-m", "reflink=1"])
        try:
            self.outer = self.mount(outer, "outer", "")
            self.image = self.new_image(self.outer + "/disk.img", IMAGE_MIB, self.make)
            os.unlink(self.snapshot("-try"))
            self.top = self.mount(self.image, "disk", self.options)
        except OSError as why:
            raise Skip(f"no loop devices or no reflinks here: {why}") from None

    @staticmethod
    def new_image(path, mib, make):
        run_root("truncate", "-s", f"{mib}M", path)
        run_root(*make, path)
        return path

    def mount(self, image, name, options):
        top = self.w.path(name)
        os.mkdir(top, 0o700)
        run_root("mount", "-o", ",".join(["loop", "noatime"] + ([options] if options else [])), image, top)
        self.w.on_close(lambda: unmount(top))
        return top

    def snapshot(self, number):
        copy = f"{self.outer}/snapshot{number}.img"
        run_root("cp", "--reflink=always", self.image, copy)
        return copy


class Mounted:
    """A snapshot while it is mounted; it is removed afterwards."""

    def __init__(self, disk, cut):
        self.disk, self.cut = disk, cut

    def __enter__(self):
        self.top = self.disk.mount(self.cut.image, f"cut{self.cut.number}", self.disk.options)
        return self.top + "/spool"

    def __exit__(self, *_):
        unmount(self.top)
        os.unlink(self.cut.image)


class Cut:
    """A moment the power went: between began and ended. No image: the daemon had stopped by itself."""

    def __init__(self, number, image, began, ended):
        self.number, self.image, self.began, self.ended = number, image, began, ended


# --- load --------------------------------------------------------------------------------


class Load:
    """Senders that note when each message got its 250."""

    DOMAINS = ["fast1.test", "fast2.test", "fast3.test", "grey.test", "rest1.test", "rest2.test", "no.test", "mixed.test"]
    SIZES = (200, 1000, 3000, 3000, 10000, 40000)

    def __init__(self, d, senders=SENDERS, seed=None):
        self.d = d
        self.rng = random.Random(seed)
        self.acked = {}  # key -> (when, recipients)
        self.ids = {}  # message id -> key
        self.tried = {}
        self.trouble = []
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.send, args=(i, self.rng.random()), daemon=True) for i in range(senders)]

    def begin(self):
        for t in self.threads:
            t.start()

    def end(self):
        self.over.set()
        for t in self.threads:
            t.join(30 * SLOW)
            check(not t.is_alive(), "a sender hangs")
        equal(self.trouble, [], "what went wrong while sending")

    def send(self, number, seed):
        rng = random.Random(seed)
        try:
            with self.d.client() as c:
                c.ehlo()
                n = 0
                while not self.over.is_set():
                    n += 1
                    self.send_one(c, rng, f"s{number}n{n}")
                    time.sleep(rng.uniform(0, 2 * PAUSE_S))
        except (OSError, EOFError, AssertionError) as why:
            self.trouble.append(repr(why))

    def send_one(self, c, rng, key):
        """One to three recipients; those of one domain share a queue file."""
        domains = rng.choices(self.DOMAINS, k=rng.choice((1, 1, 2, 3)))
        to = [f"{key}.{i}@{domain}" for i, domain in enumerate(domains)]
        # now and then one that is written to disk while it arrives
        size = 300000 if rng.random() < 0.01 else rng.choice(self.SIZES)
        self.tried[key] = to
        c.want(250, f"MAIL FROM:<back.{key}@back.test>")
        for r in to:
            c.want(250, f"RCPT TO:<{r}>")
        ident = c.data(message(subject=key, body=checked_body(key, size)))
        self.acked[key] = (time.monotonic(), to)
        self.ids[ident] = key


class Greylist:
    """Answers for the domains of Load: later at first, later for ever, never, or now."""

    def __init__(self):
        self.seen = collections.Counter()

    def __call__(self, _conn, line):
        address = line[line.index("<") + 1 : line.index(">")]
        local, domain = address.split("@")
        self.seen[address] += 1
        if domain.startswith("rest"):
            return "450 4.2.0 not today"
        if domain == "no.test" or domain == "mixed.test" and local.endswith(".1"):
            return "550 5.1.1 nobody"
        if domain in ("grey.test", "mixed.test") and self.seen[address] == 1:
            return "450 4.7.1 greylisted"
        return None


# --- what was known when the power went ------------------------------------------------------


class Record:
    """When each recipient was taken by a peer, or called bounced in an event."""

    def __init__(self, peer, d):
        self.taken = {}
        self.reports = {}  # recipient named in a report -> when a peer took that
        self.broken = []
        for m in peer.mails:
            for r in m.rcpts:
                self.add(m, r)
        # monotonic - wall, to bring the times of events on the clock of the rest
        shift = time.monotonic() - time.time()
        self.events = {}
        for e in d.events():
            if e["event"] in FINAL:
                at = event_seconds(e["time"]) + shift
                self.events.setdefault((e["event"], e["recipient"]), at)

    def add(self, m, r):
        if r.endswith("@back.test"):
            for named in reported(m.data):
                self.reports[named] = min(m.at, self.reports.get(named, m.at))
            return
        self.taken[r] = min(m.at, self.taken.get(r, m.at))
        if not verify_body(m.data)[1]:
            self.broken.append(r)


def event_seconds(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def reported(data):
    return re.findall(r"(?mi)^Final-Recipient: *rfc822; *(\S+)", data.decode("latin-1"))


class Verdict:
    """The counts of all cuts, and what was wrong. weak: deleted files may be back damaged."""

    def __init__(self, weak=False):
        self.weak = weak
        self.wrong = []
        self.counts = collections.Counter()
        self.lag = 0.0

    def note(self, cut, text):
        self.wrong.append(f"cut {cut.number}: {text}")

    def add(self, cut, load, record, spool):
        self.counts["damaged"] += len(spool.problems)
        for p in spool.problems:
            if not self.weak or not cut.image:
                self.note(cut, f"{p.path}: {p.text}")
        for path in spool.set_aside:
            self.note(cut, f"{path}: in corrupt/")
        on_disk, reports = {}, set()
        for item in spool.items:
            self.add_item(cut, load, item, on_disk, reports)
        self.counts["files"] += len(spool.items)
        self.counts["unfinished"] += len(spool.unfinished)
        for key, (when, recipients) in load.acked.items():
            if when < cut.began:
                self.counts["messages"] += 1
                for r in recipients:
                    self.add_recipient(cut, record, on_disk.get(r), reports, r)

    def add_item(self, cut, load, item, on_disk, reports):
        if item.envelope["sender"] == "":
            named = reported(item.body)
            reports.update(named)
            if not named:
                self.note(cut, f"{item.path}: a report of nobody")
            return
        key, whole = verify_body(item.body)
        if not whole or load.ids.get(item.id, key) != key:
            self.note(cut, f"{item.path}: not the body that was sent")
        for r in item.recipients:
            if r.address not in load.tried.get(key, ()):
                self.note(cut, f"{item.path}: {r.address} is none of its recipients")
            on_disk[r.address] = r
        self.counts["partly settled"] += any(r.fate != "waiting" for r in item.recipients)

    def add_recipient(self, cut, record, found, reports, r):
        self.counts["recipients"] += 1
        fate = found.fate if found else None
        taken_at = record.taken.get(r)
        bounced_at = record.events.get(("bounced", r))
        if fate == "waiting":
            self.counts["waiting on disk"] += 1
            if taken_at is not None and taken_at < cut.began:
                self.counts["taken, not yet noted on disk"] += 1
                self.lag = max(self.lag, cut.began - taken_at)
        elif taken_at is not None and taken_at < cut.ended and fate in (None, "delivered"):
            self.counts["taken by a peer"] += 1
        elif bounced_at is not None and bounced_at < cut.ended + 0.002 and fate in (None, "bounced"):
            self.counts["bounced"] += 1
            if r not in reports and record.reports.get(r, cut.ended) >= cut.ended:
                self.note(cut, f"{r}: bounced, and no report of it on disk or at the peer")
        else:
            self.note(cut, f"{r}: on disk {fate}, taken {taken_at}, bounced {bounced_at}; cut {cut.began}..{cut.ended}")

    def judge(self):
        for text in self.wrong[:20]:
            say(text)
        equal(len(self.wrong), 0, "things wrong after a power cut")


# --- a batch of cuts ---------------------------------------------------------------------------


def start(w, disk, peer, **settings):
    outbound = {"temp_fail_intervals": "5s,1h*5", "spool_min_free": 4096}
    settings = merge({"outbound": outbound, "log": {"level": "notice"}}, settings)
    spool = disk.top + "/spool"
    d = w.daemon(start=False, spool=spool, routes=[{"domain": "*", "mx": [peer.address]}], **settings)
    d.spool = spool
    return d.start()


def cut_power(disk, load, count):
    """Runs the load and takes the snapshots. The first messages come before the first of them. Flushes
    let deferred mail be tried again, so that all kinds of writes are under way."""
    cuts = []
    load.begin()
    wait_for(lambda: len(load.acked) > 4 * len(load.threads) or load.trouble, "some messages to be accepted")
    for number in range(count):
        time.sleep(load.rng.uniform(*EVERY_S))
        began = time.monotonic()
        image = disk.snapshot(number)
        cuts.append(Cut(number, image, began, time.monotonic()))
        if number % 4 == 1:
            load.d.cli_ok("flush")
    load.end()
    return cuts


def look(disk, cut, load, record, verdict):
    with Mounted(disk, cut) as spool:
        verdict.add(cut, load, record, queue_reader.read_spool(spool))


def revive(w, disk, cut, load, record, verdict):
    """A daemon on the snapshot: what was accepted and not yet taken must come to a new peer, whole."""
    with Mounted(disk, cut) as spool:
        before = queue_reader.read_spool(spool)
        verdict.add(cut, load, record, before)
        peer = w.peer(keep=False)
        routes = [{"domain": "*", "mx": [peer.address]}]
        d = w.daemon(start=False, name="revived", spool=spool, routes=routes, log={"level": "notice"})
        d.spool = spool
        check(before.items, "the snapshot has a queue")
        d.start()

        def empty():
            d.cli_ok("flush")
            return not d.queue_files() and "queue: 0 items" in d.cli_ok("status")

        wait_for(empty, f"the queue of snapshot {cut.number} to be empty", 60 * SLOW, 0.2)
        d.stop()
        aside = queue_reader.read_spool(spool).set_aside
        equal(base_names(aside), base_names(p.path for p in before.problems), "corrupt/ of the revived daemon")
        judge_arrivals(cut, load, record, peer, verdict)


def base_names(paths):
    return sorted(os.path.basename(p) for p in paths)


def judge_arrivals(cut, load, record, peer, verdict):
    got = collections.Counter()
    for m in peer.mails:
        if m.rcpts[0].endswith("@back.test"):
            continue
        if not verify_body(m.data)[1]:
            verdict.note(cut, f"arrived damaged at {m.rcpts}")
        got.update(m.rcpts)
    verdict.counts["delivered by revived daemons"] += sum(got.values())
    for r, n in got.items():
        if n > 1:
            verdict.note(cut, f"{r} got {n} copies from one daemon")
    for when, recipients in list(load.acked.values()):
        for r in recipients if when < cut.began else ():
            known = min(record.taken.get(r, cut.ended), record.events.get(("bounced", r), cut.ended))
            if r not in got and known >= cut.ended:
                verdict.note(cut, f"{r} did not arrive")


def batch(kind, count, daemons, verdict):
    with World() as w:
        disk = Disk(w, kind)
        peer = w.peer(script={"RCPT": Greylist()}, keep=False)
        d = start(w, disk, peer)
        load = Load(d)
        cuts = cut_power(disk, load, count)
        d.stop()
        record = Record(peer, d)
        equal(record.broken, [], "damaged at the peer")
        now = time.monotonic()
        verdict.add(Cut("after the stop", None, now, now), load, record, queue_reader.read_spool(d.spool))
        chosen = set(load.rng.sample(range(count), min(daemons, count)))
        for cut in cuts:
            if cut.number in chosen:
                revive(w, disk, cut, load, record, verdict)
            else:
                look(disk, cut, load, record, verdict)
        took = [c.ended - c.began for c in cuts]
        say(
            f"{kind}: {len(cuts)} snapshots, each taken in {min(took) * 1000:.0f} to {max(took) * 1000:.0f} ms;"
            f" {len(load.acked)} messages got a 250; {len(chosen)} daemons revived"
        )
        fates = collections.Counter(e["event"] for e in d.events())
        say(f"    events of the run: {dict(fates)}")


def cut_and_judge(kind, count):
    verdict = Verdict(weak="writeback" in kind)
    daemons = DAEMONS
    while count > 0:
        batch(kind, min(count, BATCH), daemons, verdict)
        count -= BATCH
    c = verdict.counts
    say("all snapshots together: " + ", ".join(f"{n} {what}" for what, n in c.items()))
    say(f"oldest reply of a peer not yet noted on disk: {verdict.lag * 1000:.0f} ms before the cut")
    verdict.judge()
    for what in ("messages", "waiting on disk", "taken by a peer", "bounced"):
        check(c[what] > 0, f"nothing seen of: {what}")
    check(verdict.lag < LAG_S, f"an outcome was not on disk after {verdict.lag:.1f} s")


@case(f"{SNAPSHOTS} power cuts under load, ext4: what got a 250 before is there or had arrived")
def _():
    cut_and_judge("ext4, data=ordered", SNAPSHOTS)


@case(f"{SNAPSHOTS // 2} power cuts with ext4, data=writeback: the same, though deleted files may be back damaged")
def _():
    cut_and_judge("ext4, data=writeback", SNAPSHOTS // 2)


@case(f"{SNAPSHOTS // 2} power cuts with XFS")
def _():
    cut_and_judge("XFS", SNAPSHOTS // 2)


@case("the same without syncs: this test notices the loss")
def _():
    need("strace")
    with World() as w:
        disk = Disk(w, "ext4, data=ordered")
        peer = w.peer(script={"RCPT": Greylist()}, keep=False)
        calls = "fsync,fdatasync,sync_file_range,syncfs"
        args = ["strace", "-f", "-o", "/dev/null", "-e", "trace=" + calls, "-e", f"inject={calls}:retval=0"]
        status, _, err = run_command(args + ["true"])
        if status != 0:
            raise Skip("strace can't trace here: " + err.strip())
        env = {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"}
        d = start(w, disk, peer, wrapper=args, env=env)
        subprocess.run(["sync", "-f", disk.top], check=True)
        load = Load(d, 2)
        cuts = cut_power(disk, load, 3)
        d.stop(60)
        verdict = Verdict()
        for cut in cuts:
            look(disk, cut, load, Record(peer, d), verdict)
        c = verdict.counts
        say(f"{c['messages']} messages before the cuts, {c['recipients']} recipients: {len(verdict.wrong)} found missing")
        check(len(verdict.wrong) > len(cuts), "the loss was not noticed")


run()

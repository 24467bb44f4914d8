#!/usr/bin/env python3
"""The spool as an independent reader sees it: tests/reader/queue_reader.py knows postrider-queue(5) and nothing else.

What the daemon says of its queue (`queue --json`, `show`, `log`ged addresses)
and what the reader finds in the files after the stop must be the same, field
by field. Damage is done to copies in every part of a file: the reader and
the daemon must agree which of them are damaged.
"""

import datetime
import glob
import json
import os
import random
import re
import shutil
import struct
import sys

from harness import *

sys.path.insert(0, os.path.join(TOP_SRCDIR, "tests", "reader"))
import checksums  # noqa: E402
import queue_reader  # noqa: E402

READER = os.path.join(TOP_SRCDIR, "tests", "reader", "queue_reader.py")
DAMAGED = 60 if QUICK else 400 if LONG else 150
LATER = "451-4.2.1 not\n451 4.2.1 now"


def answer_rcpt(_conn, line):
    if "<later" in line:
        return LATER
    return "550 5.1.1 nobody" if "<no" in line else None


def rfc3339(ms):
    when = datetime.datetime.fromtimestamp(ms // 1000, datetime.timezone.utc)
    return f"{when:%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}Z"


def start(w, **settings):
    """A daemon that tries everything once, at a peer that puts off or refuses some recipients."""
    peer = w.peer(script={"RCPT": answer_rcpt}, extensions=("8BITMIME", "SMTPUTF8", "DSN", "SIZE 100000000"))
    settings = merge({"outbound": {"temp_fail_intervals": "1h*5"}}, settings)
    return w.daemon(routes=[{"domain": "*", "mx": [peer.address]}], **settings), peer


def settled(d):
    """Waits until nothing in the queue is still to be tried for the first time."""
    wait_for(lambda: all(item["state"] in ("deferred", "held") for item in d.queue()), "everything to be tried")


def read(spool):
    found = queue_reader.read_spool(spool)
    equal([(p.path, p.text) for p in found.problems], [], "problems the reader sees")
    equal(found.set_aside, [], "files in corrupt/")
    equal(found.unfinished, [], "files in tmp/")
    return {f"{i.name['id']}-{i.name['part']}": i for i in found.items}


# --- agreement -----------------------------------------------------------------------


def fate_of(r):
    return "pending" if r.fate == "waiting" else r.fate


def listed(item):
    """What `queue --json` should say of an item of the reader's."""
    waiting = item.waiting()
    attempts = max(r.attempts for r in waiting)
    recipients = []
    for r in item.recipients:
        entry = {"recipient": r.address, "state": fate_of(r), "attempts": r.attempts}
        if r.fate == "waiting":
            entry["next_attempt"] = rfc3339(r.due_ms)
        if r.text:
            entry["response"] = r.text
        recipients.append(entry)
    return {
        "id": item.id,
        "queue_id": f"{item.name['id']}-{item.name['part']}",
        "state": "held" if item.held else "deferred" if attempts else "waiting",
        "domain": item.domain,
        "sender": item.envelope["sender"],
        "user": item.envelope["user"],
        "size": len(item.body),
        "arrival": rfc3339(item.envelope["arrival_ms"]),
        "attempts": attempts,
        "next_attempt": rfc3339(min(r.due_ms for r in waiting)),
        "recipients": recipients,
    }


def shown(item):
    """What `show` should say of it."""
    as_listed, e = listed(item), item.envelope
    lines = [
        f"queue id: {as_listed['queue_id']}",
        f"state: {as_listed['state']}",
        f"domain: {item.domain}",
        f"sender: <{e['sender']}>",
        f"user: {e['user']}",
        f"client: {e['client']} ({e['helo']}) {e['protocol']}",
        f"arrival: {as_listed['arrival']}",
        f"size: {len(item.body)}",
        f"message-id: {e['message_id']}",
        f"next attempt: {as_listed['next_attempt']}",
    ]
    for r in item.recipients:
        next_time = f", next {rfc3339(r.due_ms)}" if r.fate == "waiting" else ""
        lines.append(f"recipient: <{r.address}> {fate_of(r)}, attempts {r.attempts}{next_time}")
        if r.text:
            host = f" from {r.host}" if r.host else ""
            lines.append(f"    last: {r.text}{host} ({rfc3339(r.last_ms) if r.last_ms else '-'})")
    return "\n".join(lines)


def compare(d, said, show):
    """The reader's view of the stopped daemon's spool against what it had said; the reader's items."""
    items = read(d.spool)
    equal(sorted(items), sorted(said), "queue ids")
    for key, item in items.items():
        equal(listed(item), said[key], f"listing of {key}")
        equal(shown(item), show[key], f"show {key}")
        equal(item.torn, 0, "torn bytes")
        equal(item.name["attempts"], said[key]["attempts"], "attempts in the name")
        equal(rfc3339(item.name["due_ms"]), said[key]["next_attempt"], "due time in the name")
    return items


def stop_and_compare(d):
    said = {item["queue_id"]: item for item in d.queue()}
    show = {key: d.cli_ok("show", key).strip() for key in said}
    d.stop()
    return compare(d, said, show)


def send(d, to, size=2000, key="k", sender="joe@sender.test", **options):
    data = message(subject=key, body=checked_body(key, size), Message_ID=f"<{key}@sender.test>")
    return d.submit(sender, to, data, **options)


@case("deferred, held, partly delivered, refused, many domains, small and large: listing and show agree with the files")
def _():
    with World() as w:
        d, peer = start(w)
        ids = {
            "one": send(d, "later@a.test", key="one"),
            "part": send(d, ["ok@a.test", "later1@a.test", "no@a.test", "later2@a.test"], key="part"),
            "many": send(d, [f"later@d{i}.test" for i in range(7)] + ["ok@ok.test"], key="many"),
            "held": send(d, ["later@b.test", "later@c.test"], key="held"),
            "large": send(d, "later@large.test", size=3000000, key="large"),
            "null": send(d, "later@a.test", key="null", sender=""),
            "dsn": send(d, "later@a.test", key="dsn", mail=" RET=HDRS ENVID=a+2Bb", rcpt=" NOTIFY=DELAY,FAILURE ORCPT=rfc822;x+2By@z"),
        }
        settled(d)
        d.cli_ok("hold", ids["held"])
        items = stop_and_compare(d)
        by_key = {}
        for item in items.values():
            key, whole = verify_body(item.body)
            check(whole, f"body of {item.path}")
            equal(item.id, ids[key], "id of " + key)
            by_key.setdefault(key, []).append(item)
        equal({k: len(v) for k, v in by_key.items()}, dict(dict.fromkeys(ids, 1), many=7, held=2), "queue files")
        fates = {r.address: r.fate for r in by_key["part"][0].recipients}
        wanted = {"ok@a.test": "delivered", "no@a.test": "bounced", "later1@a.test": "waiting", "later2@a.test": "waiting"}
        equal(fates, wanted, "fates in one file")
        equal([i.held for i in by_key["held"]], [True, True], "held")
        dsn = by_key["dsn"][0]
        equal((dsn.envelope["ret"], dsn.envelope["envid"]), ("HDRS", "a+2Bb"), "RET and ENVID")
        equal((dsn.recipients[0].notify, dsn.recipients[0].orcpt), (4 + 8, "rfc822;x+2By@z"), "NOTIFY and ORCPT")
        one = by_key["one"][0]
        equal(one.envelope["message_id"], "<one@sender.test>", "Message-ID")
        equal((one.recipients[0].code, one.recipients[0].enhanced), (451, "4.2.1"), "reply of the peer")
        say(f"{len(ids)} messages, {len(items)} files, {sum(len(i.recipients) for i in items.values())} recipients agree")


@case("login, EHLO name, 8-bit, SMTPUTF8, IDN, long domains and address literals in the files")
def _():
    with World() as w:
        d, peer = start(w, submission={"require_tls": False})
        long_domain = ".".join(["x" * 60] * 3) + ".test"
        d.add_user("ann", "secret")
        with d.client() as c:
            words = c.ehlo("[127.0.0.9]")
            check(any(word.startswith("AUTH ") for word in words), f"AUTH is offered: {words}")
            c.auth_plain("ann", "secret")
            c.want(250, "MAIL FROM:<joe@sender.test> BODY=8BITMIME")
            for domain in (long_domain, "[192.0.2.1]", "Upper.TEST"):
                c.want(250, f"RCPT TO:<later@{domain}>")
            c.data(message(body=b".dot\r\n\xc3\xa4\r\n"))
            c.want(250, "MAIL FROM:<jo\u00eb@sender.test> SMTPUTF8")
            c.want(250, "RCPT TO:<later\u00e4@b\u00fccher.test>")
            c.data(message(subject="\u00e4"))
        settled(d)
        items = stop_and_compare(d)
        equal(sorted(i.domain for i in items.values()), sorted([long_domain, "[192.0.2.1]", "upper.test", "xn--bcher-kva.test"]), "domains")
        for item in items.values():
            utf8 = item.domain.startswith("xn--")
            e = item.envelope
            equal((e["user"], e["helo"], e["protocol"]), ("ann", "[127.0.0.9]", "UTF8SMTPA" if utf8 else "ESMTPA"), "client")
            equal(e["flags"], ["smtputf8", "8bit", "8bit_header", "no_leading_dot"] if utf8 else ["8bitmime", "8bit"], "flags")
            if item.domain == long_domain:
                matches("^~[0-9a-f]{16}$", item.name["domain"], "hashed domain in the name")
            if utf8:
                equal((e["sender"], item.recipients[0].address.split("@")[0]), ("jo\u00eb@sender.test", "later\u00e4"), "addresses")


@case("always_split: a file for each recipient; numbers of the files within the message")
def _():
    with World() as w:
        d, peer = start(w, outbound={"always_split": True})
        send(d, ["later1@a.test", "later2@a.test", "later@b.test"])
        settled(d)
        items = stop_and_compare(d)
        equal(sorted((i.name["part"], len(i.recipients)) for i in items.values()), [(1, 1), (2, 1), (3, 1)], "parts")


@case("attempts add records; a restart and a hold change names and not what is recorded")
def _():
    with World() as w:
        d, peer = start(w)
        send(d, ["later1@a.test", "later2@a.test"])
        settled(d)
        for n in range(2, 5):
            d.cli_ok("flush")
            wait_for(lambda n=n: len(peer.commands()) and len(d.events(event="deferred")) >= 2 * n, "another attempt")
            settled(d)
        items = stop_and_compare(d)
        (item,) = items.values()
        check(item.records >= 4, f"{item.records} records")
        recorded = [vars(r) for r in item.recipients]
        d.start()
        wait_for(lambda: d.queue(), "the scan")
        d.cli_ok("hold", item.id)
        (held,) = stop_and_compare(d).values()
        check(held.held, "held")
        equal([vars(r) for r in held.recipients], recorded, "recorded of the recipients")
        say(f"{item.records} outcome records in one file")


# --- the journal ------------------------------------------------------------------------------


def in_journal(items):
    return {key: item for key, item in items.items() if "/journal/" in item.path}


@case("mail on its way, after SIGKILL: what the daemon had listed is in the journal, and nothing else")
def _():
    with World() as w:
        d = w.daemon(outbound={"disabled": True})
        for n in range(5):  # the last has a file for its body
            send(d, [f"a{n}@d{i}.test" for i in range(n + 1)] + ["b@d0.test"], key=f"k{n}", size=50 * 10**n)
        send(d, "a@x.test", key="null", sender="", mail=" RET=HDRS ENVID=a+2Bb", rcpt=" NOTIFY=DELAY,FAILURE ORCPT=rfc822;x+2By@z")
        said = {item["queue_id"]: item for item in d.queue()}
        show = {key: d.cli_ok("show", key).strip().replace("state: active", "state: waiting") for key in said}
        for item in said.values():
            equal(item["state"], "active", "to be tried, were outbound not disabled")
            item["state"] = "waiting"
        d.kill()
        items = compare(d, said, show)
        equal((len(items), sorted(items)), (16, sorted(in_journal(items))), "items in the journal")
        for item in items.values():
            check(verify_body(item.body)[1], f"body of {item.name['id']}")


@case("what is delivered, parked or refused is no longer read in the journal; a killed daemon's ends are a second old at most")
def _():
    with World() as w:
        d, peer = start(w)
        for n in range(10):
            send(d, [f"ok@a{n}.test", f"later@b{n}.test", f"no@c{n}.test"], key=f"k{n}")
        settled(d)
        wait_for(lambda: len([m for m in peer.mails if m.sender == ""]) == 10, "the reports")
        time.sleep(2 * SLOW)
        said = {item["queue_id"]: item for item in d.queue()}
        d.kill()
        items = read(d.spool)
        equal(sorted(items), sorted(said), "queue ids")
        equal(({i.domain[0] for i in items.values()}, in_journal(items)), ({"b"}, {}), "what is left")
        with open(glob.glob(d.spool + "/journal/*")[0], "rb") as f:
            data = f.read()
        (segment,) = queue_reader.read_headers(queue_reader.Spool(d.spool))
        records = queue_reader.read_segment(queue_reader.Spool(d.spool), segment)
        kinds = [r.kind for r in records]
        equal(sum(len(r.envelopes) for r in records if r.kind != queue_reader.ENDS), 40, "parts in the records")
        check(queue_reader.ENDS in kinds, "ends")
        say(f"{len(kinds)} records in {records[-1].end} of {len(data)} bytes")


@case("damaged and torn records: the reader and the daemon agree which are, and the others arrive")
def _():
    with World() as w:
        rng = random.Random(21)
        d = w.daemon(outbound={"disabled": True})
        for n in range(30):
            send(d, [f"k{n}@d{i}.test" for i in range(1 + n % 3)], key=f"k{n}", size=rng.choice((100, 3000, 40000)))
        d.kill()
        (segment,) = queue_reader.read_headers(queue_reader.Spool(d.spool))
        records = queue_reader.read_segment(queue_reader.Spool(d.spool), segment)
        equal(len(records), 30, "records")
        hurt = sorted(rng.sample(range(29), 8)) + [29]
        wanted = []  # reading goes on at the next good head
        with open(segment.path, "r+b") as f:
            for n in hurt:
                part = rng.choice(("head", "front", "body"))
                begins = {"head": 0, "front": 40, "body": 40 + len(records[n].front)}
                at = records[n].at + begins[part] + rng.randrange(24)
                if n - 1 not in hurt or part != "head":
                    wanted.append(records[n].at)
                f.seek(at)
                byte = f.read(1)
                f.seek(at)
                f.write(bytes([byte[0] ^ 1 << rng.randrange(8)]))
        found = queue_reader.read_spool(d.spool)
        offsets = sorted(int(p.text.rsplit(" ", 1)[1]) for p in found.problems)
        # the last was never acknowledged, as far as one can tell
        equal(offsets, [at for at in wanted if at != records[29].at], "damage to the reader")
        equal(sorted({verify_body(i.body)[0] for i in found.items}), sorted(f"k{n}" for n in range(30) if n not in hurt), "whole")
        peer = w.peer()
        d.write_config(outbound={"disabled": False}, routes=[{"domain": "*", "mx": [peer.address]}])
        d.start()
        d.wait_empty()
        aside = sorted(int(os.path.basename(f).split(".")[2]) for f in glob.glob(d.spool + "/corrupt/journal.1.*"))
        equal(aside, offsets, "set aside by the daemon")
        got = sorted(r for m in peer.mails for r in m.rcpts)
        equal(got, sorted(r.address for i in found.items for r in i.recipients), "recipients")
        check(all(verify_body(m.data)[1] for m in peer.mails), "whole bodies arrive")
        say(f"{len(hurt)} of 30 records hurt, {len(offsets)} found damaged, {len(got)} recipients served")


# --- the program itself ------------------------------------------------------------------


@case("the reader as a program: status 0 for a good spool, 1 for a damaged one, 2 for none")
def _():
    with World() as w:
        d, peer = start(w)
        send(d, "later@a.test")
        settled(d)
        d.stop()
        status, out, err = run_command([sys.executable, READER, "--json", d.spool])
        equal((status, err), (0, ""), "status and errors")
        equal(json.loads(out)["recipients"][0]["address"], "later@a.test", "recipient")
        (file,) = d.queue_files()
        with open(file, "r+b") as f:
            f.seek(100)
            byte = f.read(1)
            f.seek(100)
            f.write(bytes([byte[0] ^ 1]))
        status, out, err = run_command([sys.executable, READER, d.spool])
        equal(status, 1, "status with a damaged file")
        matches("checksum", err, "errors")
        status, _, _ = run_command([sys.executable, READER, w.path("nothing")])
        equal(status, 2, "status without a spool")


@case("CRC32C and SipHash of the reader against published values")
def _():
    equal(queue_reader.crc32c(b"123456789"), 0xE3069283, "CRC32C, RFC 3720 check value")
    equal(queue_reader.crc32c(bytes(32)), 0x8A9136AA, "CRC32C of 32 zeros, RFC 3720 B.4")
    equal(queue_reader.crc32c(b"\xff" * 32), 0x62A8AB43, "CRC32C of 32 ones, RFC 3720 B.4")
    data = random.Random(1).randbytes(70000)
    for n in (*range(60, 200), 4096, 65536, 70000):
        slow = 0xFFFFFFFF
        for byte in data[:n]:
            slow = slow >> 8 ^ checksums.TABLE[(slow ^ byte) & 255]
        equal(queue_reader.crc32c(data[:n]), slow ^ 0xFFFFFFFF, f"CRC32C of {n} bytes")
        equal(queue_reader.crc32c(data[n // 3 : n], queue_reader.crc32c(data[: n // 3])), slow ^ 0xFFFFFFFF, "in two parts")
    equal(queue_reader.siphash(b""), 0x1E924B9D737700D7, "SipHash-2-4 of nothing under a key of zeros")


# --- damage --------------------------------------------------------------------------------


def parts_of(item, size):
    """The parts of a queue file as (name, begin, end)."""
    envelope_end = 48 + item.head["envelope_bytes"]
    body_end = item.head["body_offset"] + item.head["body_bytes"]
    return [
        ("head", 0, 48),
        ("envelope", 48, envelope_end),
        ("room", envelope_end, item.head["body_offset"]),
        ("body", item.head["body_offset"], body_end),
        ("tail", body_end, size),
    ]


def spoil(rng, item, data):
    """(what was done, the damaged bytes)"""
    parts = [p for p in parts_of(item, len(data)) if p[2] > p[1]]
    name, begin, end = rng.choice(parts)
    at = rng.randrange(begin, end)
    kind = rng.choice(("flip", "cut", "zeros"))
    if kind == "flip":
        return f"flip in {name}", data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
    if kind == "cut":
        return f"cut in {name}", data[:at]
    stop = min(end, at + rng.randrange(1, 64))
    return f"zeros in {name}", data[:at] + bytes(stop - at) + data[stop:]


def harmless(what):
    """What is lost with the tail was never acknowledged, or is as if; the room has no meaning."""
    return what.endswith((" tail", "flip in room", "zeros in room"))


@case(f"{DAMAGED} files, each damaged somewhere: the reader and the daemon agree which are, and the others arrive")
def _():
    with World() as w:
        d, peer = start(w)
        rng = random.Random(20)
        for i in range(DAMAGED):
            # one in twenty is large: its body is shared with the file in body/, so there is room before it
            send(d, [f"later1@a{i}.test", f"later2@a{i}.test"], size=300000 if i % 20 == 0 else rng.choice((100, 3000)), key=f"k{i}")
        settled(d)
        d.stop()
        done, touched = {}, {}
        for item in read(d.spool).values():
            with open(item.path, "rb") as f:
                data = f.read()
            what, spoilt = spoil(rng, item, data)
            if rng.random() < 0.1 or spoilt == data:
                what = "nothing"
            else:
                with open(item.path, "wb") as f:
                    f.write(spoilt)
            done[os.path.basename(item.path)] = what
            touched[os.path.basename(item.path)] = item
        found = queue_reader.read_spool(d.spool)
        damaged = {os.path.basename(p.path): p.text for p in found.problems}
        wrong = {n: w for n, w in done.items() if (n in damaged) == (w == "nothing" or harmless(w))}
        equal(wrong, {}, "files the reader judged wrongly")
        torn = [i for i in found.items if i.torn]
        say(f"{len(damaged)} damaged, {len(torn)} with a torn tail, {list(done.values()).count('nothing')} untouched")
        for text, n in sorted({t: list(damaged.values()).count(t) for t in damaged.values()}.items()):
            say(f"    {n} times: {text}")
        judge_by_daemon(d, peer, damaged, touched)


def judge_by_daemon(d, peer, damaged, all_items):
    """Starts the daemon on the spool: it must set aside just the damaged files and deliver the rest."""
    peer.script = {}
    d.start()

    def over():
        d.cli("flush")
        return not d.queue_files()

    wait_for(over, "the queue to be empty", 60 * SLOW, 0.3)
    d.stop()
    aside = {os.path.basename(f) for f in glob.glob(d.spool + "/corrupt/*")}
    equal(sorted(aside - set(damaged)), [], "set aside by the daemon, whole to the reader")
    equal(sorted(set(damaged) - aside), [], "damaged to the reader, not set aside by the daemon")
    got = {}
    for m in peer.mails:
        check(verify_body(m.data)[1], "a damaged body was sent")
        for r in m.rcpts:
            got[r] = got.get(r, 0) + 1
    wanted = [r.address for name, i in all_items.items() if name not in damaged for r in i.recipients]
    equal(sorted(got), sorted(wanted), "recipients")
    equal(set(got.values()) or {1}, {1}, "copies")


# --- whole to the checksums, but without sense ------------------------------------------------


class Forge:
    """Changes a queue file and makes its checksums right again."""

    def __init__(self, item, data):
        h = item.head
        self.head = bytearray(data[:48])
        self.envelope = data[48 : 48 + h["envelope_bytes"]]
        self.body = item.body
        self.records = []  # (number, payload)
        at = h["body_offset"] + h["body_bytes"]
        while at < len(data):
            _, size, number, _ = struct.unpack_from("<4sIII", data, at)
            self.records.append((number, data[at + 16 : at + 16 + size]))
            at += 16 + size

    def bytes(self, seed=None):
        crc = queue_reader.crc32c
        sums = (len(self.envelope), crc(self.envelope), crc(self.body), 48 + len(self.envelope), len(self.body))
        struct.pack_into("<IIIQQ", self.head, 12, *sums)
        struct.pack_into("<I", self.head, 44, crc(bytes(self.head[:44])))
        out = bytes(self.head) + self.envelope + self.body
        seed = crc(bytes(self.head[:44])) if seed is None else seed
        for number, payload in self.records:
            front = struct.pack("<4sII", b"PRT1", len(payload), number)
            out += front + struct.pack("<I", crc(front + payload, seed)) + payload
        return out

    def patch_record(self, at, value):
        number, payload = self.records[0]
        self.records[0] = (number, payload[:at] + value + payload[at + len(value) :])

    def envelope_records(self):
        at, out = 4, []
        while at < len(self.envelope):
            size = struct.unpack_from("<H", self.envelope, at + 1)[0]
            out.append(self.envelope[at : at + 3 + size])
            at += 3 + size
        return out

    def set_records(self, records):
        self.envelope = self.envelope[:4] + b"".join(records)

    def change_record(self, kind, change):
        self.set_records([change(r) if r[0] == kind else r for r in self.envelope_records()])


def swap_bytes(old, new):
    def change(f):
        check(old in f.envelope, f"{old} in the envelope")
        f.envelope = f.envelope.replace(old, new)

    return change


def second_entry(f, at, value):
    """Spoils the second entry of the first record: the first, though good, must not count then."""
    number, payload = f.records[0]
    size = (len(payload)) // 2
    f.records[0] = (number, payload[: size + at] + value + payload[size + at + len(value) :])


DAMAGE = {
    "as it was": None,
    "version 2": lambda f: struct.pack_into("<H", f.head, 8, 2),
    "a longer head": lambda f: struct.pack_into("<H", f.head, 10, 52),
    "not zero where zero is": lambda f: struct.pack_into("<I", f.head, 40, 1),
    "envelope of version 2": lambda f: setattr(f, "envelope", b"\2" + f.envelope[1:]),
    "records of the envelope in another order": lambda f: f.set_records(list(reversed(f.envelope_records()))),
    "a record twice": lambda f: f.set_records([r for r in f.envelope_records() for _ in range(2 if r[0] == 8 else 1)]),
    "an unknown record": lambda f: f.set_records(f.envelope_records() + [b"\x0d\1\0x"]),
    "an empty string with a record": lambda f: f.change_record(8, lambda _: b"\x08\0\0"),
    "NUL in a string": swap_bytes(b"client.test", b"client\0test"),
    "a line break in a string": swap_bytes(b"client.test", b"client\ntest"),
    "a record that is longer than the envelope": lambda f: setattr(f, "envelope", f.envelope[:-1]),
    "no recipient": lambda f: f.set_records([r for r in f.envelope_records() if r[0] != 12]),
    "no message id": lambda f: f.set_records([r for r in f.envelope_records() if r[0] != 2]),
    "no domain": lambda f: f.set_records([r for r in f.envelope_records() if r[0] != 4]),
    "no numbers": lambda f: f.set_records(f.envelope_records()[1:]),
    "RET 3": lambda f: f.change_record(1, lambda r: r[:-1] + b"\3"),
    "an unknown flag": lambda f: f.change_record(1, lambda r: r[:-2] + b"\1" + r[-1:]),
    "another body length in the envelope": lambda f: f.change_record(1, lambda r: r[:11] + b"\7" + r[12:]),
    "another domain than the name": lambda f: f.change_record(4, lambda r: r[:3] + b"z" + r[4:]),
    "no queue id": lambda f: f.set_records([r for r in f.envelope_records() if r[0] != 3]),
    "another queue id than the name": lambda f: f.change_record(3, lambda r: r[:-1] + (b"2" if r[-1:] == b"1" else b"1")),
    "NOTIFY 16": lambda f: f.change_record(12, lambda r: r[:3] + b"\x10" + r[4:]),
    "an address longer than its record": lambda f: f.change_record(12, lambda r: r[:4] + b"\xff" + r[5:]),
}
TORN = {
    "an outcome of a recipient that is not there": lambda f: f.patch_record(0, b"\2"),
    "an outcome of fate 0": lambda f: f.patch_record(4, b"\0"),
    "an outcome of fate 6": lambda f: f.patch_record(4, b"\6"),
    "nonsense behind a good entry": lambda f: second_entry(f, 4, b"\6"),
    "NUL in a reply": lambda f: f.patch_record(40, b"\0"),
    "bytes behind the entries": lambda f: f.records.__setitem__(0, (1, f.records[0][1] + b"x")),
    "a record with number 2 first": lambda f: f.records.__setitem__(0, (2, f.records[0][1])),
    "record 3 behind record 1": lambda f: f.records.append((3, f.records[0][1])),
    "record 1 twice": lambda f: f.records.append(f.records[0]),
}


@case(f"{len(DAMAGE) + len(TORN) + 1} forged files with right checksums: reader and daemon agree about each")
def _():
    with World() as w:
        d, peer = start(w)
        forgeries = {**DAMAGE, **TORN, "a record of another file": None}
        for i in range(len(forgeries)):
            send(d, [f"later1@a{i}.test", f"later2@a{i}.test"], key=f"k{i}", size=100)
        settled(d)
        d.stop()
        done = {}
        for item, (what, change) in zip(read(d.spool).values(), forgeries.items()):
            with open(item.path, "rb") as f:
                data = f.read()
            forge = Forge(item, data)
            equal(forge.bytes(), data, "the forge changes nothing by itself")
            if change:
                change(forge)
            with open(item.path, "wb") as f:
                f.write(forge.bytes(seed=4711 if what == "a record of another file" else None))
            done[os.path.basename(item.path)] = what
        found = queue_reader.read_spool(d.spool)
        damaged = {done[os.path.basename(p.path)]: p.text for p in found.problems}
        equal(sorted(damaged), sorted(set(DAMAGE) - {"as it was"}), "damaged to the reader")
        for item in found.items:
            what = done[os.path.basename(item.path)]
            goes_on = what.startswith(("as it", "record"))
            equal((item.records, item.torn > 0), (1 if goes_on else 0, what != "as it was"), what)
        peer.script = {"RCPT": "450 4.0.0 still later"}
        d.start()
        d.cli_ok("flush")
        wait_for(lambda: len(glob.glob(d.spool + "/corrupt/*")) >= len(damaged), "the damaged files to be set aside")
        aside = {done[os.path.basename(f)] for f in glob.glob(d.spool + "/corrupt/*")}
        equal(sorted(aside), sorted(damaged), "set aside by the daemon")
        wait_for(lambda: len(d.events(event="deferred", response="450 4.0.0 still later")) >= 2 * len(found.items), "an attempt for each")
        settled(d)
        d.stop()
        for item in queue_reader.read_spool(d.spool).items:
            before = next(i for i in found.items if i.id == item.id)
            equal((item.records, item.torn), (before.records + 1, 0), "records after one more attempt")
            equal([r.text for r in item.recipients], ["450 4.0.0 still later"] * 2, "replies")


@case("what a crash may leave of an append (a record cut anywhere) is passed over by both; the record before it counts")
def _():
    with World() as w:
        d, peer = start(w)
        send(d, ["later1@a.test", "later2@a.test"])
        settled(d)
        d.stop()
        (item,) = read(d.spool).values()
        with open(item.path, "rb") as f:
            data = f.read()
        end = item.head["body_offset"] + item.head["body_bytes"]
        equal((item.records, data[end : end + 4]), (1, b"PRT1"), "the file has one record")
        for cut in range(end, len(data) + 1):
            again = queue_reader.parse_file(data[:cut], item.name)
            whole = cut == len(data)
            equal((again.records, again.torn), (1, 0) if whole else (0, cut - end), f"records in {cut} of {len(data)} bytes")
            equal([r.attempts for r in again.recipients], [1, 1] if whole else [0, 0], "attempts")
        copy = w.path("copy")
        shutil.copytree(d.spool, copy)
        with open(item.path.replace(d.spool, copy), "wb") as f:
            f.write(data + data[end : len(data) - 7])
        d2 = w.daemon(spool=copy, routes=[{"domain": "*", "mx": [peer.address]}], outbound={"temp_fail_intervals": "1h*5"})
        (said,) = wait_for(d2.queue, "the scan")
        equal(said["attempts"], 1, "attempts the daemon finds")
        d2.cli_ok("flush")
        wait_for(lambda: len(d2.events(event="deferred")) >= 2, "another attempt")
        settled(d2)
        (after,) = read(copy).values()
        equal((after.records, after.torn), (2, 0), "records after the append over the torn one")


run()

#!/usr/bin/env python3
"""queue_reader: reads a spool of Postrider by the letter of postrider-queue(5).

It was written from that page alone and shares nothing with the daemon, so
where the two agree the page is right, and a test that asks this program does
not ask the daemon to vouch for itself.

    queue_reader.py [--json] SPOOL

lists the mail that is in the spool and then what is wrong with it. The exit
status is 0 if all is well, 1 if anything is damaged, 2 for wrong usage. It
changes nothing; while a daemon runs on the spool, files may move under it.

Each place of the spool that holds mail has a function in PLACES that adds to
a Spool what it finds: Items, and Problems.
"""

import dataclasses
import json
import os
import re
import stat
import struct
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from checksums import crc32c, siphash  # noqa: E402


# --- what is found ----------------------------------------------------------------------


class Damage(Exception):
    """The text says what is wrong with the file."""


@dataclasses.dataclass
class Recipient:
    address: str
    notify: int
    orcpt: str
    fate: str = "waiting"
    attempts: int = 0
    due_ms: int = 0
    last_ms: int = 0
    enhanced: str = ""
    code: int = 0
    text: str = ""
    host: str = ""
    host_address: str = ""


@dataclasses.dataclass
class Item:
    """One message for one destination, wherever in the spool it was found."""

    path: str
    name: dict
    head: dict
    envelope: dict
    recipients: list
    records: int  # outcome records
    torn: int  # bytes after them that are none
    body: bytes

    @property
    def id(self):
        return self.envelope["id"]

    @property
    def queue_id(self):
        return self.envelope["queue_id"]

    @property
    def domain(self):
        return self.envelope["domain"]

    @property
    def held(self):
        return self.name["state"] == "h"

    def waiting(self):
        return [r for r in self.recipients if r.fate == "waiting"]

    def as_dict(self):
        out = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "body"}
        out["recipients"] = [dataclasses.asdict(r) for r in self.recipients]
        return out


@dataclasses.dataclass
class Problem:
    path: str
    text: str


@dataclasses.dataclass
class Spool:
    path: str
    items: list = dataclasses.field(default_factory=list)
    problems: list = dataclasses.field(default_factory=list)  # damaged, or not to be there
    unfinished: list = dataclasses.field(default_factory=list)  # tmp/: nobody was told it was accepted; body/: all over
    set_aside: list = dataclasses.field(default_factory=list)  # corrupt/
    epoch: int = 0


# --- names -------------------------------------------------------------------------------

NUMBER = r"(0|[1-9][0-9]*)"
NAME = re.compile(rf"{NUMBER}\.{NUMBER}\.([qh])\.(([0-9a-z]{{9}})([0-9a-z]{{5}})([0-9a-z]{{6}}))-{NUMBER}\.(.+)")
DOMAIN = re.compile(r"[a-z0-9._:\-\[\]]{1,160}|~[0-9a-f]{16}")
PLAIN_DOMAIN = re.compile(rb"[a-z0-9._:\-\[\]]{1,160}")


def parse_name(name):
    """The fields of a file's name, or None if it is of another form."""
    m = NAME.fullmatch(name)
    if not m or not DOMAIN.fullmatch(m.group(9)):
        return None
    attempts, part = int(m.group(2)), int(m.group(8))
    if attempts > 65535 or not 1 <= part <= 65535:
        return None
    return {
        "due_ms": int(m.group(1)),
        "attempts": attempts,
        "state": m.group(3),
        "id": m.group(4),
        "part": part,
        "arrival_ms": int(m.group(5), 36),
        "epoch": int(m.group(6), 36),
        "serial": int(m.group(7), 36),
        "domain": m.group(9),
    }


def domain_in_name(domain):
    data = text_bytes(domain)
    if PLAIN_DOMAIN.fullmatch(data):
        return domain
    return f"~{siphash(data):016x}"


def text_of(data):
    return data.decode("utf-8", "surrogateescape")


def text_bytes(text):
    return text.encode("utf-8", "surrogateescape")


# --- head and envelope ---------------------------------------------------------------------

HEAD_BYTES = 48
ENVELOPE_MAX = 64 << 20
STRING_MAX = 4096
STRINGS = {
    2: "id",
    3: "queue_id",
    4: "domain",
    5: "sender",
    6: "user",
    7: "client",
    8: "helo",
    9: "protocol",
    10: "envid",
    11: "message_id",
}
RET = ("", "FULL", "HDRS")
FLAGS = {1: "8bitmime", 2: "smtputf8", 4: "8bit", 8: "8bit_header", 16: "no_leading_dot", 32: "report"}


def need(condition, text):
    if not condition:
        raise Damage(text)


def parse_head(data):
    need(len(data) >= HEAD_BYTES, "no room for a head")
    magic, version, size, env_bytes, env_crc, body_crc, body_at, body_bytes, zero, crc = struct.unpack_from(
        "<8sHHIIIQQII", data
    )
    need(magic == b"PRQUEUE\n", "does not begin like a queue file")
    need(crc == crc32c(data[:44]), "checksum of the head")
    need(version == 1, f"version {version}")
    need(size == HEAD_BYTES and zero == 0, "sizes in the head")
    need(env_bytes <= ENVELOPE_MAX, "envelope too large")
    need(body_at >= HEAD_BYTES + env_bytes, "body inside the envelope")
    need(body_at + body_bytes <= len(data), "cut short")
    return {
        "envelope_bytes": env_bytes,
        "envelope_crc": env_crc,
        "body_crc": body_crc,
        "body_offset": body_at,
        "body_bytes": body_bytes,
        "crc": crc,
    }


def parse_string(data):
    need(1 <= len(data) <= STRING_MAX, "length of a string in the envelope")
    need(not re.search(rb"[\0\r\n]", data), "NUL, CR or LF in the envelope")
    return text_of(data)


def parse_numbers(data):
    need(len(data) == 21, "length of the numbers in the envelope")
    arrival, body_bytes, flags, ret = struct.unpack("<QQIB", data)
    need(flags < 64 and ret < 3, "flags or RET in the envelope")
    names = [name for bit, name in FLAGS.items() if flags & bit]
    return {"arrival_ms": arrival, "body_bytes": body_bytes, "flags": names, "ret": RET[ret]}


def parse_recipient(data):
    need(len(data) >= 3, "length of a recipient")
    notify, size = struct.unpack_from("<BH", data)
    need(notify < 16 and len(data) >= 3 + size, "a recipient")
    orcpt = data[3 + size :]
    return Recipient(parse_string(data[3 : 3 + size]), notify, parse_string(orcpt) if orcpt else "")


def parse_envelope(data):
    need(data[:4] == b"\1\0\0\0", "version of the envelope")
    envelope = dict.fromkeys(STRINGS.values(), "")
    recipients, at, last = [], 4, 0
    while at < len(data):
        need(at + 3 <= len(data), "envelope cut short")
        kind, size = struct.unpack_from("<BH", data, at)
        value = data[at + 3 : at + 3 + size]
        need(len(value) == size, "envelope cut short")
        need(kind > last or kind == last == 12, "order of the envelope's records")
        if kind == 1:
            envelope.update(parse_numbers(value))
        elif kind in STRINGS:
            envelope[STRINGS[kind]] = parse_string(value)
        else:
            need(kind == 12, f"type {kind} in the envelope")
            recipients.append(parse_recipient(value))
        at, last = at + 3 + size, kind
    need("arrival_ms" in envelope and all(envelope[k] for k in ("id", "queue_id", "domain")), "a record is missing")
    need(1 <= len(recipients) <= 50000, "number of recipients in the envelope")
    for r in recipients:
        r.due_ms = envelope["arrival_ms"]
    return envelope, recipients


# --- outcome records --------------------------------------------------------------------------

FATES = {1: "waiting", 2: "delivered", 3: "bounced", 4: "expired", 5: "deleted"}


def parse_entry(payload, at, count):
    """((recipient, its fields), where it ends), or None if it makes no sense."""
    if at + 32 > len(payload):
        return None
    n, fate, klass, subject, detail, code, attempts, _, due, last = struct.unpack_from("<IBBHHHHHQQ", payload, at)
    if n >= count or fate not in FATES:
        return None
    at += 32
    texts = []
    for _ in range(3):
        size = int.from_bytes(payload[at : at + 2], "little")
        value = payload[at + 2 : at + 2 + size]
        if at + 2 + size > len(payload) or size > STRING_MAX or b"\0" in value:
            return None
        texts.append(text_of(value))
        at += 2 + size
    fields = {
        "fate": FATES[fate],
        "enhanced": f"{klass}.{subject}.{detail}" if klass else "",
        "code": code,
        "attempts": attempts,
        "due_ms": due,
        "last_ms": last,
        "text": texts[0],
        "host": texts[1],
        "host_address": texts[2],
    }
    return (n, fields), at


def parse_payload(payload, count):
    """The entries of a record, or None: of a record in which one makes no sense nothing counts."""
    entries, at = [], 0
    while at < len(payload):
        parsed = parse_entry(payload, at, count)
        if not parsed:
            return None
        entry, at = parsed
        entries.append(entry)
    return entries


def apply_entries(entries, recipients):
    for n, fields in entries:
        need(recipients[n].fate == "waiting", "an outcome after a final fate")
        recipients[n] = dataclasses.replace(recipients[n], **fields)


def read_outcomes(data, at, head_crc, recipients):
    """Applies the records from at on; (how many, where reading stopped)."""
    records = 0
    while len(data) - at > 16:
        magic, size, number, crc = struct.unpack_from("<4sIII", data, at)
        payload = data[at + 16 : at + 16 + size]
        if magic != b"PRT1" or not 1 <= size <= 65536 or len(payload) < size or number != records + 1:
            break
        if crc32c(data[at : at + 12] + payload, head_crc) != crc:
            break
        entries = parse_payload(payload, len(recipients))
        if entries is None:
            break
        apply_entries(entries, recipients)
        records, at = records + 1, at + 16 + size
    return records, at


# --- a queue file -------------------------------------------------------------------------------


def check_name(name, envelope):
    need(envelope["queue_id"] == f"{name['id']}-{name['part']}", "the envelope has another queue id than the name")
    need(domain_in_name(envelope["domain"]) == name["domain"], "the envelope has another domain than the name")


def parse_file(data, name, path=""):
    """The Item in the bytes of a queue file whose parsed name is given; Damage if it is not whole."""
    head = parse_head(data)
    encoded = data[HEAD_BYTES : HEAD_BYTES + head["envelope_bytes"]]
    need(crc32c(encoded) == head["envelope_crc"], "checksum of the envelope")
    envelope, recipients = parse_envelope(encoded)
    check_name(name, envelope)
    end = head["body_offset"] + head["body_bytes"]
    body = data[head["body_offset"] : end]
    need(envelope["body_bytes"] == len(body), "the envelope gives the body another length than the head")
    need(crc32c(body) == head["body_crc"], "checksum of the body")
    records, at = read_outcomes(data, end, head["crc"], recipients)
    return Item(path, name, head, envelope, recipients, records, len(data) - at, body)


# --- the places of a spool ------------------------------------------------------------------------


def names_in(folder):
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []


def read_queue_entry(spool, path):
    name = parse_name(os.path.basename(path))
    try:
        if not name or not stat.S_ISREG(os.lstat(path).st_mode):
            spool.problems.append(Problem(path, "not a queue file"))
            return
        with open(path, "rb") as f:
            data = f.read()
    except FileNotFoundError:
        return  # a running daemon moved it
    try:
        spool.items.append(parse_file(data, name, path))
    except Damage as why:
        spool.problems.append(Problem(path, str(why)))


def drop_doubles(spool):
    """Of files with the same queue id only the one that is further on counts."""
    best = {}
    for item in spool.items:
        key = (item.name["id"], item.name["part"])
        rank = (item.name["attempts"], item.name["due_ms"])
        if key in best and best[key][0] >= rank:
            spool.problems.append(Problem(item.path, "another file has its queue id"))
            continue
        if key in best:
            spool.problems.append(Problem(best[key][1].path, "another file has its queue id"))
        best[key] = (rank, item)
    spool.items = [item for _, item in best.values()]


def read_queue(spool):
    folder = os.path.join(spool.path, "queue")
    if not os.path.isdir(folder):
        spool.problems.append(Problem(folder, "missing"))
    for n in range(64):
        subdir = os.path.join(folder, f"{n:02x}")
        for entry in names_in(subdir):
            read_queue_entry(spool, os.path.join(subdir, entry))
    drop_doubles(spool)


# --- the journal ----------------------------------------------------------------------------------

SEGMENT_HEADER = 4096  # bytes before the first record
RECORD_HEAD = 40
BODY_AT = 4096  # in a file of body/
MESSAGE, ENDS, REPORT = 1, 2, 3
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclasses.dataclass
class Header:
    """Of a segment. limit: where its good records end, if a later segment says so."""

    path: str
    salt: int
    sequence: int
    oldest: int
    previous: int
    previous_end: int
    size: int
    limit: int = 0


def parse_header_copy(data):
    """The fields, None if it is not good."""
    magic, version, first, *numbers, size, zeros, crc = struct.unpack("<8sHHIQQQQQ12sI", data)
    if magic != b"PRJOURN\n" or crc != crc32c(data[:68]):
        return None
    need(version == 1, f"version {version} of a segment")
    need(first == SEGMENT_HEADER and not any(zeros), "sizes in a segment's header")
    return *numbers, size


def read_header(path):
    """None if the segment was never in use."""
    with open(path, "rb") as f:
        block = f.read(SEGMENT_HEADER).ljust(SEGMENT_HEADER, b"\0")
    copies = [block[at : at + 72] for at in (0, 2048)]
    good = [c for c in map(parse_header_copy, copies) if c]
    if good:
        return Header(path, *max(good, key=lambda c: c[1]))
    need(not all(map(any, copies)), "both copies of the header are damaged")
    return None


def read_headers(spool):
    """The segments that count, in ascending sequence."""
    folder, found = os.path.join(spool.path, "journal"), {}
    for name in names_in(folder):
        path = os.path.join(folder, name)
        try:
            need(re.fullmatch("[0-9a-f]{8}", name), "not a segment")
            header = read_header(path)
            need(not header or header.sequence not in found, "two segments with one sequence")
        except Damage as why:
            spool.problems.append(Problem(path, str(why)))
            continue
        if header:
            found[header.sequence] = header
    for h in found.values():
        if h.previous in found and h.previous_end >= SEGMENT_HEADER:
            found[h.previous].limit = h.previous_end
    oldest = found[max(found)].oldest if found else 0
    return [found[n] for n in sorted(found) if n >= oldest]


def id_text(data):
    """A message id from its 16 bytes."""
    out = ""
    for number, digits in zip(struct.unpack("<QQ", data), (9, 11)):
        need(number < 36**digits, "a message id")
        part = ""
        for _ in range(digits):
            number, digit = divmod(number, 36)
            part = DIGITS[digit] + part
        out += part
    return out


@dataclasses.dataclass
class Head:
    kind: int
    front_bytes: int
    body_bytes: int
    front_crc: int
    batch: int


def parse_record_head(data, at, segment):
    """None if there is none that belongs to this use of the segment."""
    head = data[at : at + RECORD_HEAD]
    if len(head) < RECORD_HEAD or not head.startswith(b"PRJ1") or crc32c(head[:36], segment.salt) != int.from_bytes(head[36:], "little"):
        return None
    kind, sequence, front, body, crc, batch, zero = struct.unpack_from("<IQIIIII", head, 4)
    if sequence != segment.sequence or kind not in (MESSAGE, ENDS, REPORT) or zero:
        return None
    return Head(kind, front, body, crc, batch)


@dataclasses.dataclass
class Effect:
    """What a report says of the part it is about."""

    about: tuple  # id, part
    over: bool
    payload: bytes


class Record:
    """A whole record; Damage if it is not."""

    def __init__(self, data, at, segment):
        head = parse_record_head(data, at, segment)
        need(head, "no record")
        self.at, self.kind, self.segment = at, head.kind, segment
        body_at = at + RECORD_HEAD + head.front_bytes
        self.end = (body_at + head.body_bytes + 7) // 8 * 8
        need(self.end <= len(data), "a record is cut short")
        self.front, self.body = data[at + RECORD_HEAD : body_at], data[body_at : body_at + head.body_bytes]
        need(crc32c(self.front) == head.front_crc, "checksum of a record's front")
        self.effect = None
        if self.kind == ENDS:
            need(len(self.front) % 24 == 0 and not self.body, "the form of ends")
            self.ends = [self.parse_part(n) for n in range(0, len(self.front), 24)]
        else:
            self.parse_message()

    def parse_part(self, at):
        """((id, part), number) of an end, or of what a report begins with."""
        part, number = struct.unpack_from("<II", self.front, at + 16)
        return (id_text(self.front[at : at + 16]), part), number

    def parse_message(self):
        need(len(self.front) >= 40, "the front of a message")
        self.id = id_text(self.front[:16])
        self.body_crc, parts, flags, zero, self.body_bytes = struct.unpack_from("<IIIIQ", self.front, 16)
        need(flags < 2 and zero == 0, "flags of a message")
        self.has_file = flags == 1
        if self.has_file:
            need(not self.body, "a body in the record and in a file")
        else:
            need(self.body_bytes == len(self.body), "bytes of a body")
            need(crc32c(self.body) == self.body_crc, "checksum of a record's body")
        at = 40 + 4 * parts
        need(1 <= parts <= 65535 and len(self.front) >= at, "number of parts")
        self.envelopes = []
        for size in struct.unpack_from(f"<{parts}I", self.front, 40):
            self.envelopes.append(self.front[at : at + size])
            at += size
        rest = len(self.front) - at
        need(rest >= 24 if self.kind == REPORT else rest == 0, "bytes of the envelopes")
        if self.kind == REPORT:
            about, flags = self.parse_part(at)
            need(flags < 2, "flags of a report")
            self.effect = Effect(about, flags == 1, self.front[at + 24 :])

    def read_body(self, folder):
        """Of a body with a file of its own: read when a part of the message waits."""
        if not self.has_file:
            return self.body
        path = os.path.join(folder, self.id)
        need(os.path.isfile(path), f"no {path}")
        with open(path, "rb") as f:
            f.seek(BODY_AT)
            body = f.read(self.body_bytes)
        need(len(body) == self.body_bytes and crc32c(body) == self.body_crc, f"{path} is cut short, or its checksum is wrong")
        return body

    def item(self, part, folder):
        body = self.read_body(folder)
        envelope, recipients = parse_envelope(self.envelopes[part - 1])
        need(envelope["queue_id"] == f"{self.id}-{part}", "the envelope has another queue id than the record")
        need(envelope["body_bytes"] == len(body), "the envelope gives the body another length than the record")
        name = parse_name(f"{envelope['arrival_ms']}.0.q.{self.id}-{part}.{domain_in_name(envelope['domain'])}")
        need(name, "a queue id")
        head = {"body_bytes": len(body), "body_crc": self.body_crc}
        return Item(self.segment.path, name, head, envelope, recipients, 0, 0, body)


def next_head(data, at, segment, limited):
    """Where reading goes on behind a record that is not whole at at; None if that is the end."""
    bad = at
    while (at := data.find(b"PRJ1", at + 1)) >= 0:
        head = parse_record_head(data, at, segment) if at % 8 == 0 else None
        if head and (limited or head.batch > bad):
            return at
    return None


def read_segment(spool, segment):
    """Its whole records."""
    with open(segment.path, "rb") as f:
        data = f.read(segment.limit or segment.size)
    at, records = SEGMENT_HEADER, []
    while at < len(data):
        try:
            records.append(Record(data, at, segment))
            at = records[-1].end
        except Damage as why:
            following = next_head(data, at, segment, segment.limit)
            if following is None and not segment.limit:
                break
            spool.problems.append(Problem(segment.path, f"{why} at {at}"))
            at = following or len(data)
    return records


def replay(records):
    """What waits in the journal, as {(id, part): record}, and the effects of reports, in their order."""
    waiting, effects = {}, {}
    for r in records:
        if r.kind == ENDS:
            for part, _ in r.ends:
                waiting.pop(part, None)
                effects.pop(part, None)
            continue
        for part in range(1, len(r.envelopes) + 1):
            waiting[r.id, part] = r
        if r.effect:
            effects[r.id, len(r.envelopes) + 1] = r.effect
            if r.effect.over:
                waiting.pop(r.effect.about, None)
    return waiting, list(effects.values())


def apply_effect(spool, item, effect):
    entries = parse_payload(effect.payload, len(item.recipients))
    if entries is None:
        spool.problems.append(Problem(item.path, "a report's entries make no sense"))
        return
    for n, fields in entries:
        r = item.recipients[n]
        later = (fields["attempts"], fields["last_ms"]) > (r.attempts, r.last_ms)
        if r.fate == "waiting" and (fields["fate"] != "waiting" or later):
            item.recipients[n] = dataclasses.replace(r, **fields)


def read_journal(spool):
    """Behind read_queue: what has a queue file is not here, and reports tell of items wherever they are."""
    records = [r for segment in read_headers(spool) for r in read_segment(spool, segment)]
    waiting, effects = replay(records)
    bodies = os.path.join(spool.path, "body")
    parsed, named = {}, set()
    for (ident, part), record in waiting.items():
        folder = record.segment.sequence % 64
        if folder not in parsed:
            names = map(parse_name, names_in(os.path.join(spool.path, "queue", f"{folder:02x}")))
            parsed[folder] = {(n["id"], n["part"]) for n in names if n}
        if (ident, part) in parsed[folder]:
            continue
        named.add(ident)
        try:
            spool.items.append(record.item(part, bodies))
        except Damage as why:
            spool.problems.append(Problem(record.segment.path, f"{why} at {record.at}"))
    spool.unfinished += [os.path.join(bodies, name) for name in names_in(bodies) if name not in named]
    by_id = {(i.name["id"], i.name["part"]): i for i in spool.items}
    touched = [(by_id[e.about], e) for e in effects if e.about in by_id]
    for item, effect in touched:
        apply_effect(spool, item, effect)
    over = {id(item) for item, _ in touched if not item.waiting()}
    spool.items = [i for i in spool.items if id(i) not in over]


# --- the rest -------------------------------------------------------------------------------------


def read_rest(spool):
    for place, found in (("tmp", spool.unfinished), ("corrupt", spool.set_aside)):
        folder = os.path.join(spool.path, place)
        found += [os.path.join(folder, name) for name in names_in(folder)]
    try:
        with open(os.path.join(spool.path, "state", "epoch"), encoding="ascii") as f:
            spool.epoch = int(f.read())
    except FileNotFoundError:
        pass
    except ValueError:
        spool.problems.append(Problem(os.path.join(spool.path, "state", "epoch"), "not a number"))


PLACES = (read_queue, read_journal, read_rest)


def read_spool(path):
    spool = Spool(path)
    for read in PLACES:
        read(spool)
    return spool


# --- the listing -------------------------------------------------------------------------------------


def show(item):
    e, n = item.envelope, item.name
    state = "held" if item.held else "queued"
    print(f"{n['id']}-{n['part']}  {state}  {len(item.body)} bytes  <{e['sender']}>  {e['domain']}")
    print(f"    name: due {n['due_ms']}, attempts {n['attempts']}; {item.records} records, {item.torn} bytes torn")
    for r in item.recipients:
        print(f"    <{r.address}> {r.fate}, attempts {r.attempts}, due {r.due_ms} {r.text!r}")


def main(args):
    as_json = args[:1] == ["--json"]
    args = args[1:] if as_json else args
    if len(args) != 1 or args[0].startswith("-") or not os.path.isdir(args[0]):
        print("usage: queue_reader.py [--json] SPOOL", file=sys.stderr)
        return 2
    spool = read_spool(args[0])
    for item in spool.items:
        if as_json:
            print(json.dumps(item.as_dict()))
        else:
            show(item)
    for p in spool.problems:
        print(f"{p.path}: {p.text}", file=sys.stderr)
    for path in spool.set_aside:
        print(f"{path}: set aside as damaged", file=sys.stderr)
    if not as_json:
        print(f"{len(spool.items)} items, {len(spool.problems)} problems, {len(spool.unfinished)} unfinished")
    return 1 if spool.problems or spool.set_aside else 0


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")
    sys.stderr.reconfigure(errors="backslashreplace")
    sys.exit(main(sys.argv[1:]))

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
import functools
import json
import os
import re
import stat
import struct
import sys


# --- CRC32C ------------------------------------------------------------------------

POLY = 0x82F63B78  # Castagnoli, bits reversed: bit 31 is the coefficient of x^0


def _table():
    out = []
    for c in range(256):
        for _ in range(8):
            c = c >> 1 ^ (POLY if c & 1 else 0)
        out.append(c)
    return out


TABLE = _table()


def _multiply(a, b):
    """The product of two polynomials modulo the CRC's, both with bits reversed."""
    out = 0
    while b:
        if b & 0x80000000:
            out ^= a
        b = b << 1 & 0xFFFFFFFF
        a = a >> 1 ^ (POLY if a & 1 else 0)
    return out


@functools.lru_cache(maxsize=None)
def _power(j):
    """x^(8 * 2^j) modulo the polynomial."""
    return _multiply(_power(j - 1), _power(j - 1)) if j else 0x00800000


@functools.lru_cache(maxsize=None)
def _terms(j):
    """The exponents in x^(8 * (2^j + 4)) modulo the polynomial; x^32 is its lower part."""
    product = _multiply(_power(j), POLY)
    return [k for k in range(32) if product >> 31 - k & 1]


def crc32c(data, crc=0):
    """The checksum of data, begun with crc.

    Byte by byte only at the end: before, what is long is folded. Its front,
    taken as a polynomial, times x^n modulo the CRC's polynomial has the same
    remainder where it stands n bits later; Python's long integers do that
    for all bits at once.
    """
    size = len(data)
    if size > 64:
        number = int.from_bytes(data, "little") ^ (crc ^ 0xFFFFFFFF)
        while size > 64:
            j = ((size - 5) // 2).bit_length()  # 2^j + 4 bytes stay: 4 more than the front has, or more
            front = size - (1 << j) - 4
            head = number & (1 << 8 * front) - 1
            number >>= 8 * front
            for k in _terms(j):
                number ^= head << 8 * (size - 2 * front) - k
            size -= front
        data, state = number.to_bytes(size, "little"), 0
    else:
        state = crc ^ 0xFFFFFFFF
    for byte in data:
        state = state >> 8 ^ TABLE[(state ^ byte) & 255]
    return state ^ 0xFFFFFFFF


# --- SipHash-2-4 with a key of zeros ----------------------------------------------------

M64 = (1 << 64) - 1


def _rotate(v, n):
    return (v << n | v >> 64 - n) & M64


def _sip_round(v):
    a, b, c, d = v
    a = a + b & M64
    b = _rotate(b, 13) ^ a
    a = _rotate(a, 32)
    c = c + d & M64
    d = _rotate(d, 16) ^ c
    a = a + d & M64
    d = _rotate(d, 21) ^ a
    c = c + b & M64
    b = _rotate(b, 17) ^ c
    c = _rotate(c, 32)
    return a, b, c, d


def siphash(data):
    v = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)
    padded = data + bytes(-(len(data) + 1) % 8) + bytes([len(data) & 255])
    for (word,) in struct.iter_unpack("<Q", padded):
        v = (v[0], v[1], v[2], v[3] ^ word)
        v = _sip_round(_sip_round(v))
        v = (v[0] ^ word, v[1], v[2], v[3])
    v = (v[0], v[1], v[2] ^ 0xFF, v[3])
    for _ in range(4):
        v = _sip_round(v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


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
    unfinished: list = dataclasses.field(default_factory=list)  # tmp/: nobody was told it was accepted
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
FLAGS = {1: "8bitmime", 2: "smtputf8", 4: "8bit", 8: "8bit_header", 16: "reserved", 32: "report"}


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


PLACES = (read_queue, read_rest)


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

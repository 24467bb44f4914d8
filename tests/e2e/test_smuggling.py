#!/usr/bin/env python3
"""Nothing but CRLF.CRLF ends a message, and no bare CR or LF ever leaves.

Each of the sequences that made other servers end a message early is put into
the text, with SMTP commands behind it. A strict peer must then have got
exactly one message; what was behind the sequence must be text in it; and the
commands must not have been obeyed.
"""

from harness import *

# As in the lists of the public scanners for CVE-2023-51764 and its kin, and some of our own.
SEQUENCES = {
    "LF.LF": b"\n.\n",
    "LF.CR": b"\n.\r",
    "CR.LF": b"\r.\n",
    "CR.CR": b"\r.\r",
    "LF.CRLF": b"\n.\r\n",
    "CR.CRLF": b"\r.\r\n",
    "CRLF.LF": b"\r\n.\n",
    "CRLF.CR": b"\r\n.\r",
    "CRLF NUL.CRLF": b"\r\n\0.\r\n",
    "CRLF.NUL CRLF": b"\r\n.\0\r\n",
    "CRLF.CRCRLF": b"\r\n.\r\r\n",
    "CRCRLF.CRCRLF": b"\r\r\n.\r\r\n",
    "CRLF.LFCRLF": b"\r\n.\n\r\n",
    "CRLF SP.CRLF": b"\r\n .\r\n",
    "CRLF.SP CRLF": b"\r\n. \r\n",
    "CRLF.NEL": b"\r\n.\x85",
    "CRLF.VT": b"\r\n.\x0b",
    "CRLF.FF": b"\r\n.\x0c",
    "CRLF.U+2028": "\r\n.\u2028".encode(),
    "LF.LF at the start": b"",
}
INNER = (
    b"MAIL FROM:<evil@evil.test>\r\nRCPT TO:<victim@example.test>\r\nDATA\r\n"
    b"Subject: smuggled\r\n\r\nsmuggled text\r\n"
)


def text_with(name, sequence):
    if not sequence:
        return b".\n" + INNER
    return b"Subject: cover\r\n\r\nbefore" + sequence + INNER


def wanted_body(raw):
    """What must arrive: the body un-stuffed, with each bare CR or LF as CRLF. raw ends before CRLF.CRLF's dot."""
    lines = raw.split(b"\r\n")
    text = b"\r\n".join(line[1:] if line.startswith(b".") else line for line in lines)
    text = text.replace(b"\r\n", b"\1").replace(b"\r", b"\1").replace(b"\n", b"\1")
    return text.replace(b"\1", b"\r\n")


def submit(d, raw, pieces):
    with d.client() as c:
        c.ehlo()
        c.begin()
        for piece in pieces(raw + b".\r\n"):
            c.send(piece)
        code, texts = c.reply()
        # What would be obeyed now would have been answered already.
        c.send(b"NOOP\r\n")
        equal(c.reply()[0], 250, "NOOP right behind")
        c.want(221, "QUIT")
        check(c.at_eof(), "nothing more was answered")
    return code, texts


def examine(peer, raw, name):
    mails = [m for m in peer.mails if m.rcpts == ["ann@example.test"]]
    equal(len(peer.mails), len(mails), f"{name}: only mail for the one recipient")
    equal(mails[-1].sender, "joe@sender.test")
    check(b"smuggled text" in mails[-1].data, f"{name}: the rest is text of the one message")
    want = wanted_body(raw.split(b"\r\n\r\n", 1)[1]) if b"cover" in raw else None
    if want is not None:
        equal(mails[-1].body(), want, f"{name}: body")
    equal(peer.faults, [], f"{name}: bare CR, bare LF or NUL on the wire")
    return mails


def whole(raw):
    return [raw]


def byte_by_byte(raw):
    return [raw[i : i + 1] for i in range(len(raw))]


def try_all(pieces):
    with World() as w:
        peer = w.peer()
        d = w.daemon(routes=[{"domain": "*", "mx": [peer.address]}])
        sent = refused = 0
        for name, sequence in SEQUENCES.items():
            raw = text_with(name, sequence)
            code, texts = submit(d, raw, pieces)
            if b"\0" in raw:
                equal((code, texts[0][:5]), (550, "5.6.0"), name)
                refused += 1
                continue
            equal(code, 250, f"{name}: {texts}")
            sent += 1
            peer.wait_mail(sent)
            examine(peer, raw, name)
        equal(d.events(sender="evil@evil.test"), [])
        say(f"{sent} sequences arrived as text of one message each, {refused} with NUL were refused")


@case("every sequence, sent in one piece")
def _():
    try_all(whole)


@case("every sequence, sent byte by byte")
def _():
    try_all(byte_by_byte)


@case("every sequence, cut into two segments at each place around it")
def _():
    with World() as w:
        peer = w.peer()
        d = w.daemon(routes=[{"domain": "*", "mx": [peer.address]}])
        sent = 0
        for name, sequence in SEQUENCES.items():
            if b"\0" in sequence or not sequence:
                continue
            raw = text_with(name, sequence)
            at = raw.index(b"before") + 6
            for cut in range(at - 1, at + len(sequence) + 2):

                def two(data, cut=cut):
                    yield data[:cut]
                    time.sleep(0.005)
                    yield data[cut:]

                code, texts = submit(d, raw, two)
                equal(code, 250, f"{name} cut at {cut - at}: {texts}")
                sent += 1
                peer.wait_mail(sent)
                examine(peer, raw, name)
        say(f"{sent} cuts, one message each")


@case('bare_newlines = "reject": each of them is refused with 550 5.6.11 and nothing leaves')
def _():
    with World() as w:
        peer = w.peer()
        d = w.daemon(routes=[{"domain": "*", "mx": [peer.address]}], submission={"bare_newlines": "reject"})
        refused = sent = 0
        for name, sequence in SEQUENCES.items():
            raw = text_with(name, sequence)
            code, texts = submit(d, raw, whole)
            rest = raw.replace(b"\r\n", b"")
            if b"\0" in raw or b"\r" in rest or b"\n" in rest:
                equal(code, 550, name)
                matches(r"^5\.6\.(0|11) ", texts[0])
                refused += 1
            else:
                equal(code, 250, name)
                sent += 1
        peer.wait_mail(sent)
        equal(len(peer.mails), sent)
        say(f"{refused} refused, {sent} without a bare CR or LF delivered")


@case("the true end right after DATA is an empty message; what follows it in the same segment are commands")
def _():
    with World() as w:
        peer = w.peer()
        d = w.daemon(routes=[{"domain": "*", "mx": [peer.address]}])
        with d.client() as c:
            c.ehlo()
            c.begin()
            c.send(b".\r\nMAIL FROM:<joe@sender.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\nhi: x\r\n\r\n..\r\n.\r\nQUIT\r\n")
            equal([c.reply()[0] for _ in range(6)], [250, 250, 250, 354, 250, 221])
        peer.wait_mail(2)
        bodies = {m.rcpts[0]: m.body() for m in peer.mails}
        equal(bodies, {"ann@example.test": b"", "bob@example.test": b".\r\n"})


run()

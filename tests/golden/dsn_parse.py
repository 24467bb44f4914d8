"""Reads the golden reports with Python's email package: dsn_parse.py DIRECTORY.

Exits 1 with a message when a part or a field is not what the report meant.
"""
import email
import email.policy
import sys

STATUS = {
    "failed": [("rfc822; r@b.example", "5.1.1")],
    "headers_only": [("rfc822; r@b.example", "5.2.2"), ("rfc822; q@b.example", "5.4.7")],
    "hostile": [(None, "5.0.0"), ("rfc822; b@b.example", "5.1.1"), ("rfc822; c@b.example", "5.1.1")],
    "own_template": [("rfc822; r@b.example", "5.1.1")],
    "defaults": [("rfc822; r@b.example", "5.1.1")],
}


def expect(name, what, got, want):
    if got != want:
        sys.exit(f"{name}: {what} is {got!r}, not {want!r}")


def check(directory, name):
    with open(f"{directory}/dsn_{name}.txt", "rb") as f:
        raw = f.read()
    report = email.message_from_bytes(raw, policy=email.policy.compat32)
    expect(name, "type", report.get_content_type(), "multipart/report")
    expect(name, "report-type", report.get_param("report-type"), "delivery-status")
    expect(name, "Auto-Submitted", report.get_all("Auto-Submitted"), ["auto-replied"])
    expect(name, "MIME-Version", report.get_all("MIME-Version"), ["1.0"])
    expect(name, "Bcc", report["Bcc"], None)
    for field in ("From", "To", "Subject", "Date", "Message-ID"):
        expect(name, f"fields {field}", len(report.get_all(field, [])), 1)
    parts = report.get_payload()
    third = "text/rfc822-headers" if name == "headers_only" else "message/rfc822"
    expect(name, "parts", [p.get_content_type() for p in parts],
           ["text/plain", "message/delivery-status", third])
    expect(name, "defects", [p.defects for p in [report, *parts]], [[], [], [], []])
    blocks = parts[1].get_payload()
    expect(name, "Reporting-MTA", blocks[0]["Reporting-MTA"], "dns; relay.example")
    expect(name, "X-Evil", blocks[0]["X-Evil"], None)
    expect(name, "recipients", len(blocks) - 1, len(STATUS[name]))
    for block, (address, status) in zip(blocks[1:], STATUS[name]):
        expect(name, "Action", block.get_all("Action"), ["failed"])
        expect(name, "Status", block["Status"], status)
        if address:
            expect(name, "Final-Recipient", block["Final-Recipient"], address)
    if third == "message/rfc822" and name != "hostile":
        expect(name, "original", parts[2].get_payload()[0]["Message-ID"], "<1@a.example>")


for golden in STATUS:
    check(sys.argv[1], golden)

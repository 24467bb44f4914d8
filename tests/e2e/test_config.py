#!/usr/bin/env python3
"""The configuration as a user meets it: -t, mistakes with file and line, exit statuses of the commands."""

import getpass
import grp
import os
import re
import stat
import time

from harness import *

# Mistake -> (lines of config, number of the line that is wrong, what the message must hold).
MISTAKES = {
    "unknown key": (['smool = "/x";'], 1, r"smool.*spool"),
    "unknown key in a group": (["submission = {", "  max_recipents = 5;", "};"], 2, r"max_recipents.*max_recipients"),
    "wrong type": (["outbound = {", '  local_mx_ok = "yes";', "};"], 2, "local_mx_ok"),
    "no duration": (["outbound = {", '  connect_timeout = "5 parsecs";', "};"], 2, "connect_timeout"),
    "out of range": (["outbound = {", "  port = 70000;", "};"], 2, "port"),
    "negative": (["submission = {", "  max_recipients = -1;", "};"], 2, "max_recipients"),
    "bad interval": (["outbound = {", '  temp_fail_intervals = "1m, 5x";', "};"], 2, r'temp_fail_intervals.*"5x"'),
    "interval too short": (["outbound = {", '  temp_fail_intervals = "1s";', "};"], 2, "5 seconds"),
    "bad choice": (["submission = {", '  bare_newlines = "maybe";', "};"], 2, "fix.*reject"),
    "bad address": (["listen = (", '  { address = "nowhere"; tls = "none"; }', ");"], 2, "address"),
    "bad network": (["submission = {", '  trusted_networks = [ "10.0.0.0/8",', '    "10.0.0.0/99" ];', "};"], 3, "10.0.0.0/99"),
    "bad route": (["routes = (", '  { domain = "a.test"; mx = [ "ftp://x" ]; }', ");"], 2, "mx"),
    "bad TLS level": (["tls_policy = (", '  { domain = "a.test"; level = "sometimes"; }', ");"], 2, "level"),
    "bad DNS server": (["dns = {", '  servers = [ "resolver" ];', "};"], 2, "servers"),
    "missing certificate": (["tls = {", '  certificate = "/nonexistent.pem";', '  key = "/dev/null";', "};"], 2, "nonexistent.pem"),
}


def check_text(w, text, name="t.conf"):
    file = w.write(name, text)
    status, out, err = run_command([POSTRIDERD, "-t", "-c", file])
    return file, status, out, [l for l in err.split("\n") if l and not l.startswith("warning:")]


def identity():
    return ("root", "root") if is_root() else (getpass.getuser(), grp.getgrgid(os.getegid()).gr_name)


def base(w, listen=True):
    """The first line of a config that is good."""
    user, group = identity()
    line = f'user = "{user}"; group = "{group}"; spool = "{w.path("spool")}";'
    return [line + (' listen = ( { address = "127.0.0.1:2525"; tls = "none"; } );' if listen else "")]


@case(f"{len(MISTAKES)} mistakes, one at a time: exit status 1 and FILE:LINE: message")
def _():
    with World() as w:
        for name, (lines, number, pattern) in MISTAKES.items():
            text = "\n".join(base(w, listen="address" not in lines[-2:][0]) + lines) + "\n"
            file, status, _, errors = check_text(w, text)
            equal(status, 1, f"{name}: exit status")
            good = [e for e in errors if re.match(re.escape(f"{file}:{number + 1}: ") + ".*" + pattern, e)]
            check(good, f"{name}: wanted line {number + 1} and {pattern!r}: {errors}")
            equal(len(errors), 1, f"{name}: {errors}")
            say(f"{name}: {errors[0].replace(w.dir, '')}")


@case("all of them in one file: each is reported, each with its own line")
def _():
    with World() as w:
        # Keys of one group can't come twice, so the mistakes share groups here.
        text = "\n".join(
            base(w)
            + ["smool = 1;", "submission = {", "  max_recipents = 5;", '  bare_newlines = "maybe";', "};", "outbound = {"]
            + ["  port = 70000;", '  temp_fail_intervals = "5x";', '  inet_prefer = "v5";', "};", "dns = {"]
            + ['  timeout = "soon";', "};", "routes = (", '  { domain = "a"; mx = [ "ftp://x" ]; },', '  { domian = "b"; }', ");"]
        )
        file, status, _, errors = check_text(w, text)
        equal(status, 1)
        lines = sorted({int(e[len(file) + 1 :].split(":")[0]) for e in errors})
        say("\n".join(e.replace(w.dir, "") for e in errors))
        wanted = [2, 4, 5, 8, 9, 10, 13, 16, 17]
        equal([n for n in wanted if n not in lines], [], "lines without a message")


@case("a syntax error, an unreadable file, a missing file, an @include with a mistake: named with file and line")
def _():
    with World() as w:
        file, status, _, errors = check_text(w, "\n".join(base(w) + ["outbound = {", "  port = ;", "};"]))
        equal(status, 1)
        matches("^" + re.escape(file) + ":3: ", errors[0])
        status, _, err = run_command([POSTRIDERD, "-t", "-c", w.path("nothere.conf")])
        equal(status, 1)
        matches(r"nothere\.conf", err)
        w.write("more.conf", "\noutbound = { nonsense = 1; };\n")
        file, status, _, errors = check_text(w, "\n".join(base(w) + ['@include "more.conf"', ""]))
        equal(status, 1)
        matches(re.escape(w.path("more.conf")) + ":2: ", errors[0])
        say("\n".join(errors).replace(w.dir, ""))


@case("a good config: -t exits 0 and says nothing wrong; durations and sizes in all spellings")
def _():
    with World() as w:
        text = "\n".join(
            base(w, listen=False)
            + ['outbound = { connect_timeout = 30; lifetime = "5d"; shutdown_timeout = "1m"; spool_min_free = "1G"; };']
            + ['submission = { max_message_size = "10M"; rate = "500/1h"; trusted_networks = [ "::1", "192.0.2.0/24" ]; };']
            + ['listen = ( { address = "127.0.0.1:2525"; tls = "none"; }, { address = "[::1]:2526"; tls = "none"; } );']
        )
        _, status, _, errors = check_text(w, text)
        equal((status, errors), (0, []))


@case("the sample etc/postrider.conf passes -t (with a user and files that exist here)")
def _():
    sample = TOP_SRCDIR + "/etc/postrider.conf"
    check(os.path.exists(sample), "etc/postrider.conf is there")
    with World() as w:
        with open(sample, encoding="utf-8") as f:
            text = f.read()
        crt, key = w.certificate("relay.test")
        user, group = identity()
        changes = {r'\bcertificate = "[^"]*"': f'certificate = "{crt}"', r'\bkey = "[^"]*"': f'key = "{key}"'}
        changes |= {r'\buser = "[^"]*"': f'user = "{user}"', r'\bgroup = "[^"]*"': f'group = "{group}"'}
        for pattern, value in changes.items():
            text = re.sub(pattern, value, text)
        _, status, _, errors = check_text(w, text)
        equal((status, errors), (0, []))


@case("certificate and key that don't fit each other: -t and the start refuse")
def _():
    with World() as w:
        one, two = w.certificate("one.test"), w.certificate("two.test")
        d = w.daemon(start=False, tls={"certificate": one[0], "key": two[1]})
        for args in (["-t"], []):
            status, _, err = run_command([POSTRIDERD, *args, "-c", d.file])
            equal(status, 1)
            matches(re.escape(d.file) + ".*(key|certificate)", err)


@case("a file of trusted certificates with none in it: -t and the start refuse")
def _():
    with World() as w:
        empty = w.path("roots.pem")
        with open(empty, "w", encoding="ascii") as f:
            f.write("none\n")
        d = w.daemon(start=False, outbound={"tls": {"ca_file": empty}})
        for args in (["-t"], []):
            status, _, err = run_command([POSTRIDERD, *args, "-c", d.file])
            equal(status, 1)
            matches(re.escape(f"{d.file}: {empty}: "), err)


@case("usage and versions: -h, -V, wrong options of each program")
def _():
    for program, name in ((POSTRIDERD, "postriderd"), (POSTRIDER, "postrider"), (SANDBOX, "postrider-sandbox")):
        status, out, _ = run_command([program, "-V"])
        equal(status, 0)
        matches(rf"^{name} \d+\.\d+\.\d+", out)
        status, out, _ = run_command([program, "-h"])
        equal(status, 0)
        matches("^usage: " + name, out)
        status, _, err = run_command([program, "--frobnicate"])
        equal(status, 2, f"{name} --frobnicate")
        check(err, "usage on stderr")


@case("postrider: 0 done, 1 refused with a reason, 2 usage, 3 no daemon")
def _():
    with World() as w:
        d = w.daemon()
        equal(d.cli("status")[0], 0)
        status, _, err = d.cli("show", "nosuchid")
        equal(status, 1)
        matches("nosuchid", err)
        equal(d.cli("log", "shout")[0], 1)
        for args in ((), ("frobnicate",), ("show",), ("flush", "a", "b"), ("log",)):
            equal(d.cli(*args)[0], 2, f"postrider {args}")
        equal(d.cli("log", "debug")[0], 0)
        d.stop()
        status, _, err = d.cli("status")
        equal(status, 3)
        matches("running", err)
        equal(run_command([POSTRIDER, "-c", w.path("nothere"), "status"])[0], 1)


@case("postrider passwd: makes the file 0600, adds, changes, keeps the rest, refuses bad logins and empty passwords; yescrypt")
def _():
    with World() as w:
        d = w.daemon(start=False)
        d.add_user("ann@sender.test", "one")
        file = d.dir + "/users"
        equal(oct(stat.S_IMODE(os.stat(file).st_mode)), "0o600")
        with open(file, encoding="utf-8") as f:
            first = f.read()
        matches(r"^ann@sender\.test:\$y\$", first)
        with open(file, "a", encoding="utf-8") as f:
            f.write("# a remark\n")
        d.add_user("bob", "two")
        d.add_user("ann@sender.test", "three")
        with open(file, encoding="utf-8") as f:
            text = f.read()
        check("# a remark\n" in text and "\nbob:$y$" in text and first not in text, text)
        equal(text.count("ann@sender.test:"), 1)
        for login, password in (("a:b", "x"), ("#x", "x"), ("", "x"), ("joe", "")):
            equal(d.cli("passwd", login, stdin=password + "\n")[0], 1, f"login {login!r} password {password!r}")


@case("a user added while the daemon runs can log in, and a changed password counts, within a second")
def _():
    with World() as w:
        d = w.daemon(submission={"require_tls": False})
        d.add_user("ann", "one")
        with d.client() as c:
            c.ehlo()
            c.auth_plain("ann", "one")
        d.add_user("ann", "two")
        time.sleep(1.1)
        with d.client() as c:
            c.ehlo()
            c.auth_plain("ann", "one", code=535)
            c.auth_plain("ann", "two")


@case("privileges: as root the daemon becomes its user, and the spool is that user's")
def _():
    need_root()
    with World() as w:
        d = w.daemon(start=False, user="nobody", group="nogroup")
        os.chmod(d.dir, 0o755)
        for change in ("spool", "events"):
            os.mkdir(d.dir + "/" + change)
            os.chown(d.dir + "/" + change, 65534, 65534)
        d.events_file = d.dir + "/events/e.jsonl"
        d.write_config(events={"file": d.events_file})
        d.start()
        with open(f"/proc/{d.pid()}/status", encoding="ascii") as f:
            text = f.read()
        ids = re.search(r"Uid:\t(\d+)\t(\d+)\t(\d+)\t(\d+)\nGid:\t(\d+)", text).groups()
        equal(set(ids), {"65534"}, "ids")
        matches(r"CapEff:\t0+\n", text)
        d.submit("a@b.test", "x@[127.0.0.1]")
        wait_for(d.queue_files, "the message to be parked")
        made = [os.path.join(top, f) for top, _, files in os.walk(d.spool) for f in files]
        check(os.listdir(d.spool + "/journal"), "there is a journal")
        equal({os.stat(f).st_uid for f in made}, {65534}, "owners of the files in the spool")


run()

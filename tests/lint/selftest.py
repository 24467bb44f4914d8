#!/usr/bin/env python3
"""selftest: every lint test can fail. Each case plants one small tree, runs a
lint test on it, and looks for the finding; a clean tree must pass."""

import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))

GUARDED = "#ifndef A_H\n#define A_H\n%s\n#endif\n"

# (lint test, what is planted, {path: text}, what the finding must say; None: passes)
CASES = [
    (
        "layers",
        "a tree in order",
        {
            "src/base/a.h": GUARDED % "#include <stdint.h>",
            "src/io/a.c": '#include "base/a.h"\n#include <event2/event.h>\nint f(void) { event_base_new(); }\n',
            "queue/a.c": '/* #include "proto/a.h" */\nvoid f(struct qio *q) { q->open(q); qio_rename(q); }\n',
            "queue/qio_posix.c": "void f(void) { fsync(1); }\n",
            "src/core/a.c": 'const char *f(void) { return "SSL_new(x)"; } /* event_add() */\n',
        },
        None,
    ),
    ("layers", "an include that points up", {"src/base/a.c": '#include "io/a.h"\n', "src/io/a.h": ""}, "base may not know io"),
    ("layers", "an include across", {"src/proto/a.c": '#include "queue/a.h"\n', "queue/a.h": ""}, "proto may not know queue"),
    ("layers", "the other way across", {"queue/a.c": '#include "proto/a.h"\n', "src/proto/a.h": ""}, "queue may not know proto"),
    ("layers", "an include without its layer", {"src/base/a.c": '#include "a.h"\n', "src/base/a.h": ""}, 'write "layer/x.h"'),
    ("layers", "an include by relative path", {"src/base/a.c": '#include "../io/a.h"\n', "src/io/a.h": ""}, 'write "layer/x.h"'),
    ("layers", "a file that is not there", {"src/io/a.c": '#include "base/none.h"\n'}, "no such file"),
    ("layers", "tests included from the daemon", {"src/core/a.c": '#include "lib/unit.h"\n'}, "is no layer"),
    ("layers", "a folder that is no layer", {"src/misc/a.c": "\n"}, "misc is no layer"),
    ("layers", "libevent in core", {"src/core/a.c": "#include <event2/event.h>\n"}, "libevent is not used here"),
    (
        "layers",
        "OpenSSL in an interface of io",
        {"src/io/a.h": "#include <openssl/ssl.h>\n", "src/core/a.c": '#include "io/a.h"\n'},
        "OpenSSL is not used here",
    ),
    (
        "layers",
        "OpenSSL in what an interface of io includes",
        {
            "src/io/a.h": "struct a { SSL *ssl; };\n",
            "src/io/b.h": '#include "io/a.h"\n',
            "src/core/a.c": '#include "io/b.h"\n',
        },
        "OpenSSL is not used here",
    ),
    ("layers", "OpenSSL in a private header of io", {"src/io/a.h": "#include <openssl/ssl.h>\n"}, None),
    (
        "layers",
        "a libevent type in an interface of io",
        {"src/io/a.h": "struct a { struct event *e; };\n", "src/core/a.c": '#include "io/a.h"\n'},
        "no libevent type",
    ),
    ("layers", "an event base in core", {"src/core/a.c": "struct event_base *b;\n"}, "libevent is not used here"),
    ("layers", "an OpenSSL call in proto", {"src/proto/a.c": "void f(void) { EVP_MD_fetch(0); }\n"}, "OpenSSL is not used here"),
    ("layers", "c-ares in policy", {"src/policy/a.c": "void f(void) { ares_free(0); }\n"}, "c-ares is not used here"),
    ("layers", "libconfig in core", {"src/core/a.c": "config_t *c;\n"}, "libconfig is not used here"),
    ("layers", "gsasl outside proto/sasl", {"src/proto/a.c": "#include <gsasl.h>\n"}, "GNU SASL is not used here"),
    ("layers", "idn2 in core", {"src/core/a.c": "int x = idn2_lookup_u8();\n"}, "libidn2 is not used here"),
    ("layers", "jansson in tools", {"src/tools/a.c": "json_t *j;\n"}, "jansson is not used here"),
    ("layers", "crypt in core", {"src/core/a.c": "void f(void) { crypt_ra(0); }\n"}, "libcrypt is not used here"),
    ("layers", "a library nobody knows", {"src/io/a.c": "#include <zlib.h>\n"}, "needs a home"),
    ("layers", "an fsync in the queue", {"queue/a.c": "int f(void) { return fsync(1); }\n"}, "only through struct qio"),
    ("layers", "a rename in the queue", {"queue/a.c": "int f(void) { return renameat (1); }\n"}, "only through struct qio"),
    ("layers", "an empty tree", {}, "nothing was found"),
    (
        "tidy",
        "a tree in order",
        {
            "src/base/clock.c": "void f(void) { clock_gettime(0, 0); }\n",
            "src/base/a.c": '/* strcpy(a) */ const char *s = "sprintf(";\nvoid f(void) { x->time(1); uptime(2); localtime_r(); }\n',
            "src/base/b.c": "/* TODO(#12): a mark with its issue */\n",
        },
        None,
    ),
    ("tidy", "strcpy", {"src/base/a.c": "void f(void) { strcpy(a, b); }\n"}, "strcpy is banned"),
    ("tidy", "sprintf in a test", {"tests/unit/a.c": "void f(void) { sprintf (a, b); }\n"}, "sprintf is banned"),
    ("tidy", "sscanf", {"queue/a.c": "void f(void) { sscanf(a, b); }\n"}, "sscanf is banned"),
    ("tidy", "signal", {"src/core/a.c": "void f(void) { signal(1, g); }\n"}, "signal is banned"),
    ("tidy", "gmtime", {"src/core/a.c": "void f(void) { gmtime(&t); }\n"}, "gmtime is banned"),
    ("tidy", "the time outside its home", {"queue/a.c": "int f(void) { return time(0); }\n"}, "come as parameters"),
    ("tidy", "chance outside its home", {"src/core/a.c": "int f(void) { return random(); }\n"}, "come as parameters"),
    ("tidy", "a mark without issue", {"src/core/a.c": "/*\n * TODO: later\n */\n"}, "a.c:2: TODO without"),
    ("tidy", "a long line", {"src/core/a.h": "/*\t" + "x" * 91 + "*/\n"}, "101 columns"),
    ("tidy", "a file nobody builds", {"src/core/a.c": "\n", "src/core/local.mk": "src/core/b.c"}, "no local.mk names"),
    ("tidy", "a long file", {"src/core/a.c": "\n" * 801}, "more than 800 lines"),
    ("headers", "a tree in order", {"src/base/a.h": GUARDED % "#include <stdint.h>\nint32_t f(void);"}, None),
    ("headers", "a header that leans on another", {"src/base/a.h": GUARDED % "int32_t f(void);"}, "int32_t"),
    ("headers", "a header without guard", {"queue/a.h": "struct a { int b; };\n"}, "redefinition"),
    ("format", "a tree in order", {"src/base/a.c": "int f(void)\n{\n\treturn 0;\n}\n"}, None),
    ("format", "blanks for a tab", {"src/base/a.c": "int f(void)\n{\n    return 0;\n}\n"}, "not ok 1"),
]


def run(name, top):
    if name == "format":
        shutil.copy(os.path.join(SOURCE, ".clang-format"), top)
        command = ["sh", os.path.join(HERE, "format.sh"), top]
    else:
        command = [sys.executable, os.path.join(HERE, name + ".py"), top]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def main():
    failed = 0
    for n, (name, what, files, finding) in enumerate(CASES, 1):
        with tempfile.TemporaryDirectory() as top:
            # A tree that names its files, unless the case plants fragments of its own.
            if not any(path.endswith("local.mk") for path in files):
                files = {**files, "src/local.mk": "\n".join(files)}
            for path, text in files.items():
                os.makedirs(os.path.dirname(os.path.join(top, path)), exist_ok=True)
                with open(os.path.join(top, path), "w", encoding="utf-8") as f:
                    f.write(text)
            status, said = run(name, top)
        if "# SKIP" in said:
            print(f"ok {n} - {name}: {what} # SKIP {said.split('# SKIP ')[1].strip()}")
            continue
        good = status == 0 if finding is None else status == 1 and finding in said
        print(f"{'ok' if good else 'not ok'} {n} - {name}: {what}")
        if not good:
            failed += 1
            print("# wanted:", finding or "no finding", "status", status)
            print("".join(f"# {line}\n" for line in said.split("\n")), end="")
    print(f"1..{len(CASES)}")
    return 1 if failed else 0


sys.exit(main())

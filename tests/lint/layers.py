#!/usr/bin/env python3
"""layers: includes point only down the layer list, and each third-party
library is used in its one home (design.md sections 2 and 9)."""

import os
import re

import lint

TOP = lint.tree()

# What each layer may include, besides itself. hooks, conf and io do not know
# each other: core wires them.
BELOW = {
    "base": set(),
    "queue": {"base"},
    "proto": {"base"},
    "policy": {"proto", "base"},
    "io": {"policy", "proto", "base"},
    "conf": {"policy", "proto", "queue", "base"},
    "hooks": {"policy", "proto", "queue", "base"},
    "core": {"hooks", "conf", "io", "policy", "proto", "queue", "base"},
    "tools": {"conf", "io", "policy", "proto", "queue", "base"},
}

# A library: its headers, the names that give it away in code, and the files
# that may use it. Interface headers of src/io (those that others include, or
# that such a header includes) are no home: they name no foreign type.
IO_HOME = r"src/io/.*\.[ch]"

LIBRARIES = [
    (
        "libevent",
        r"event2/|event\.h|evhttp\.h|evdns\.h|evutil\.h",
        r"(?:evhttp|evbuffer|bufferevent|evdns|evconnlistener|evutil|evtimer|evsignal|evthread)_\w+"
        r"|event_(?:base|config|new|free|assign|add|del|active|pending|initialized|once|reinit"
        r"|priority|get|set|enable|self|callback|remove|finalize|loop|dispatch)(?:_\w+)?(?=\s*\()"
        r"|struct\s+event_(?:base|config)\b",
        IO_HOME,
    ),
    (
        "OpenSSL",
        r"openssl/",
        r"(?:SSL|SSL_CTX|BIO|EVP|X509|ERR|RAND|PEM|OPENSSL|HMAC|ASN1|OSSL)_\w+(?=\s*\()"
        r"|(?:SSL|SSL_CTX|BIO|X509|EVP_\w+)\s*\*",
        IO_HOME,
    ),
    ("c-ares", r"ares", r"ares_\w+", IO_HOME),
    ("libcurl", r"curl/", r"curl_\w+(?=\s*\()", IO_HOME),
    (
        "libconfig",
        r"libconfig\.h",
        r"config_(?:init|destroy|read|write|lookup|setting|error|root|set|get|clear)(?:_\w+)?(?=\s*\()"
        r"|(?:struct\s+)?config_(?:setting_)?t\b",
        r"src/conf/.*\.[ch]",
    ),
    ("GNU SASL", r"gsasl", r"gsasl_\w+|Gsasl\w*", r"src/proto/sasl\w*\.c"),
    ("libidn2", r"idn2\.h", r"idn2_\w+", r"src/proto/.*\.c"),
    ("PCRE2", r"pcre2", r"pcre2_\w+", r"src/policy/rewrite\w*\.c"),
    ("Lua", r"lua|lualib|lauxlib", r"luaL?_\w+", r"src/hooks/.*\.c"),
    (
        "jansson",
        r"jansson",
        r"json_t\b|json_(?:loads?\w*|dump\w*|decref|incref|pack\w*|unpack\w*|object\w*|array\w*"
        r"|string\w*|integer\w*|real\w*|typeof|is_\w+)(?=\s*\()",
        r"src/core/control\w*\.c",
    ),
    ("libcrypt", r"crypt\.h", r"crypt(?:_r|_rn|_ra|_gensalt\w*|_checksalt)?(?=\s*\()", IO_HOME),
    ("libdl", r"dlfcn\.h", r"dl(?:open|sym|close)(?=\s*\()", r"src/hooks/.*\.c"),
]

# What libc and the kernel bring. A header in neither list needs a home first.
SYSTEM = re.compile(
    r"""(?:
    assert|ctype|errno|fcntl|float|fnmatch|getopt|glob|grp|ifaddrs|inttypes|libgen|limits|locale|malloc
    |math|netdb|poll|pthread|pwd|sched|semaphore|setjmp|signal|spawn|stdalign|stdarg|stdatomic|stdbool
    |stddef|stdint|stdio|stdlib|stdnoreturn|string|strings|syslog|termios|threads|time|unistd|wchar
    |execinfo|endian|cpuid|immintrin|nmmintrin|x86intrin|dirent
    |arpa/\w+|net/\w+|netinet/\w+|sys/\w+|linux/\w+
    )\.h""",
    re.VERBOSE,
)

# The disk is touched through struct qio only, so that tests can fail it.
RAW_IO = re.compile(
    r"(?<![\w.>])(?:open|openat|creat|write|pwrite|writev|pwritev|rename|renameat|renameat2|link|linkat"
    r"|unlink|unlinkat|fsync|fdatasync|syncfs|sync_file_range|ftruncate|truncate|mkdir|mkdirat"
    r"|opendir|fdopendir|fopen|fallocate|posix_fallocate)\s*\("
)
RAW_IO_HOME = "queue/qio_posix.c"


def layer_of(path):
    parts = path.split(os.sep)
    return parts[1] if parts[0] == "src" else parts[0]


def interfaces_of_io():
    """The headers of src/io that code elsewhere sees, directly or through another of them."""
    seen = set()
    wanted = [p for p in lint.c_files(TOP, ["src"]) if layer_of(p) != "io"]
    while wanted:
        text = lint.read(TOP, wanted.pop())
        for _, _, name in lint.includes_of(text):
            path = f"src/{name}"
            if layer_of(path) == "io" and path not in seen and os.path.exists(os.path.join(TOP, path)):
                seen.add(path)
                wanted.append(path)
    return seen


def is_home(home, path):
    return re.fullmatch(home, path) and path not in INTERFACES


def check_include(path, line, delimiter, name):
    layer = layer_of(path)
    if delimiter == '"':
        m = re.fullmatch(r"(\w+)/[\w.]+\.h", name)
        if not m:
            return f'"{name}": write "layer/x.h"'
        other = m.group(1)
        if other not in BELOW:
            return f'"{name}": {other} is no layer'
        folder = "queue" if other == "queue" else f"src/{other}"
        if not os.path.exists(os.path.join(TOP, folder, name.split("/")[1])):
            return f'"{name}": there is no such file'
        if other != layer and other not in BELOW[layer]:
            return f'"{name}": {layer} may not know {other}'
        return None
    for library, headers, _, home in LIBRARIES:
        if re.match(headers, name):
            if is_home(home, path):
                return None
            return f"<{name}>: {library} is not used here, only in {home}"
    if not SYSTEM.fullmatch(name):
        return f"<{name}>: unknown here; a new library needs a home in tests/lint/layers.py"
    return None


def check_symbols(path, code):
    for library, _, symbols, home in LIBRARIES:
        if is_home(home, path):
            continue
        for m in re.finditer(rf"(?<![\w.>])(?:{symbols})", code):
            line = code.count("\n", 0, m.start()) + 1
            yield line, f"{m.group(0).strip()}: {library} is not used here, only in {home}"
    # core has a struct event of its own (a line of the events file), so only here the name tells.
    if path in INTERFACES:
        for m in re.finditer(r"\bstruct\s+event\b", code):
            yield code.count("\n", 0, m.start()) + 1, "struct event: no libevent type in an interface of io"
    if layer_of(path) == "queue" and path != RAW_IO_HOME:
        for m in RAW_IO.finditer(code):
            line = code.count("\n", 0, m.start()) + 1
            yield line, f"{m.group(0)}): the disk only through struct qio ({RAW_IO_HOME})"


def check_file(path):
    text = lint.read(TOP, path)
    if layer_of(path) not in BELOW:
        return [(1, f"{layer_of(path)} is no layer: add it to tests/lint/layers.py")]
    findings = []
    # Comments may quote an include line; literals are kept, for includes are such.
    code = lint.code_of(text)
    code_lines = code.split("\n")
    for line, delimiter, name in lint.includes_of(text):
        if "include" in code_lines[line - 1]:
            message = check_include(path, line, delimiter, name)
            if message:
                findings.append((line, message))
    findings += check_symbols(path, code)
    return findings


INTERFACES = interfaces_of_io()
report = lint.Report()
for file in lint.c_files(TOP, ["src", "queue"]):
    report.file(file, check_file(file))
report.finish()

"""generate: random tables and messages that look for a difference to Postfix.

`case(random)` builds one from the corners where programs differ: folds, long
lines, NUL and CR, names with a blank before the colon, parts in parts, broken
rule files, several rules on one header.  Every table ends in a WARN that shows
which table saw which line, because most rules change nothing.
"""
# ruff: noqa: E501 - the lists of odd things read better whole

from dataclasses import dataclass
from random import Random

NAMES = ["From", "To", "Subject", "X-A", "X-B", "X-Spam-Flag", "X-Long", "Received", "Bcc", "Return-Path", "Date",
         "Content-Type", "Content-Description", "MIME-Version", "Content-Length", "Content-ID", "Message-ID", "x-a"]  # fmt: skip
WORDS = [
    "yes",
    "YES",
    "no",
    "foo",
    "bar",
    "<>",
    "a@b.example",
    "viagra",
    "x" * 30,
    "a b",
    "k=v;",
    "日本",
    "(c)",
    "tail",
]
HOPS = ["smtp:[127.0.0.1]:1", "dummy:", "dummy:dest", "nothing"]


@dataclass
class Case:
    rules: bytes
    message: bytes
    mime: bytes | None = None
    nested: bytes | None = None
    body: bytes = b""
    milter: bytes = b""
    adds: list[tuple[str, str]] | None = None
    lane: str = "pcre"


def case(r: Random) -> Case:
    lane = r.choices(["pcre", "regexp", "small", "nomime", "milter"], [10, 3, 2, 1, 3])[0]
    kind = "regexp" if lane == "regexp" else "pcre"
    made = Case(table(r, kind, "h"), message(r, lane), lane=lane)
    if r.random() < 0.7:
        made.mime, made.nested = table(r, kind, "m"), table(r, kind, "n")
    if r.random() < 0.4:
        made.body = table(r, kind, "b", body=True)
    if lane == "milter":
        made.milter = table(r, kind, "a")
        made.adds = [(name(r), value(r)) for _ in range(r.randint(1, 4))]
    return made


# --- tables


def table(r: Random, kind: str, mark: str, body: bool = False) -> bytes:
    lines: list[str] = []
    depth = 0
    for _ in range(r.choice([1, 2, 3, 5, 8])):
        roll = r.random()
        if roll < 0.08:
            lines.append(f"if {pattern(r, kind, body)}{r.choice(['', '', ' extra'])}")
            depth += 1
        elif roll < 0.14 and depth:
            lines.append(r.choice(["endif", "ENDIF", "endif extra"]))
            depth -= 1
        elif roll < 0.22:
            lines.append(oddity(r))
        else:
            lines.append(f"{pattern(r, kind, body)}{r.choice([' ', '  ', chr(9)])}{action(r, body)}")
    lines += ["endif"] * max(0, depth - (r.random() < 0.1))
    if r.random() < 0.9:
        lines.append(f"/^(.{{0,40}})/ WARN {mark} $1")
    ending = r.choice(["\n", "\n", "\n", "\r\n"])
    return ending.join([*lines, ""]).encode("utf-8", "surrogateescape")


def oddity(r: Random) -> str:
    return r.choice(
        ["# comment", "", "  # indented comment", "endif", "  /^X-A:/ IGNORE", "/unclosed IGNORE", "/(/ REJECT bad regex",
         "/^X-B:/z IGNORE", "word IGNORE", "/^X-A:/", "/^X-A:/ FROB x", "/^(X-A):/ REPLACE $2", "!/^X-A:(.)/ WARN $1",
         "/^X-B:/ REPLACE novalue", "/^X-B:/ PREPEND novalue", "/^X-B:/ PREPEND", "/^X-B:/ REPLACE", "if", "if /(/",
         "/^X-A:/ REDIRECT nowhere", "/^X-A:/ FILTER nowhere", "/^X-A:/ BCC nowhere", "!", "/^X-A:/ WARN ${1", "!!/^X-A:/ WARN twice",
         "/^X-A: (.*)/ WARN $0", "/^X-A: (.*)/ WARN $1st", "/^X-(A): (.*)/ WARN $(2)/${1}$$"]
    )  # fmt: skip


def pattern(r: Random, kind: str, body: bool) -> str:
    inner = expression(r, kind, body)
    delimiter = r.choices(["/", "#", "|", ":"], [12, 1, 1, 1])[0]
    if delimiter in inner or (delimiter == "#" and r.random() < 1):
        delimiter = "/"
    inner = inner.replace("/", "\\/") if delimiter == "/" else inner
    flags = "".join(r.sample("im" if kind == "regexp" else "imsEU", r.choice([0, 0, 0, 1, 2])))
    if r.random() < 0.03:
        flags += r.choice("xA") if kind == "pcre" else "x"
    return f"{r.choice(['', '', '', '', '!', '! '])}{delimiter}{inner}{delimiter}{flags}"


def expression(r: Random, kind: str, body: bool) -> str:
    if body:
        return r.choice(
            [
                "^--",
                "foo",
                "^$",
                "^.",
                "line (\\w+)" if kind == "pcre" else "line ([a-z0-9]+)",
                "x{100}",
                "^>?From ",
                "tail$",
                "=",
                "^\\.",
            ]
        )
    common = [
        f"^{name(r)}:", f"^{name(r)}: ", f"^{name(r)}:.*{word(r)}", "^X-", f"^({name(r)}|{name(r)}):(.*)$", word(r), f"{word(r)}$",
        "^X-[AB]:", "[[:space:]]$", "^[^:]*: *$", f"^{name(r)}: (.)(.*)", "(a|ab)(c|bcd)*", "^.{60,}", "tail", "boundary", "^(.{0,20}).*",
        "^Received:", "^Content-Type: *([^;]*)", "n",
    ]  # fmt: skip
    pcre = [f"^{name(r)}:\\s*", f"^{name(r)}:\\s+(\\S+)", "\\n", "\\n\\s", f"(?i){word(r)}", f"^{name(r)}:(?!.*{word(r)})", "^(?:X-A|Subject): (.*)",
            "^\\Qx-a\\E:", "[^\\x00-\\x7f]", "(a+)+$", "^Subject\\x3a", "(*UTF8)^Subject: .(.)"]  # fmt: skip
    posix = [
        "^X-A:\\(a\\)",
        "[[:alpha:]]+-[[:alpha:]]",
        "^(X-A|X-AB?): (.*)",
        "[[.a.]]b",
        "a{1,3}",
        "()",
        "\\<foo\\>",
        "(x)\\1",
        "^X-A: (f|fo|foo)(o*)",
    ]
    chosen = r.choice(common + (pcre if kind == "pcre" else posix))
    for special in ("(c)",):
        chosen = chosen.replace(special, "\\(c\\)")
    return chosen


def action(r: Random, body: bool) -> str:
    text = r.choice(
        ["", " text", " some $$ text", " 5.2.3 why", " 4.7.1 later", " 2.1.0 odd", " 日本", " 554 5.7.9 x", " 5.7.1\tx"]
    )
    kind = r.choices(
        ["WARN", "INFO", "IGNORE", "STRIP", "REPLACE", "PREPEND", "DUNNO", "OK", "HOLD", "REDIRECT", "FILTER", "BCC", "DISCARD", "REJECT", "PASS", "warn"],
        [6, 2, 5, 2, 6, 5, 3, 1, 2, 1, 1, 1, 0.7, 1.2, 0.7, 1],
    )[0]  # fmt: skip
    if kind in ("REPLACE", "PREPEND"):
        if body:
            return f"{kind} {r.choice(['new line', 'X-New: body', ' indented', '.dot', 'y' * 1100])}"
        return f"{kind} {r.choice(['X-New: v', 'X-New: $$v', 'Bcc: someone@example.jp', 'Subject: new', 'X-New : blank', 'Return-Path: <x@y>', 'Content-Type: text/html', 'X-New:', 'X-W: ' + word(r)])}"
    if kind == "REDIRECT":
        return f"REDIRECT {r.choice(['r1@example.jp', 'r2@example.org'])}"
    if kind == "BCC":
        return f"BCC {r.choice(['b1@example.jp', 'b2@example.org'])}"
    if kind == "FILTER":
        return f"FILTER {r.choice(HOPS)}"
    return kind + text


# --- messages


def name(r: Random) -> str:
    return r.choice(NAMES)


def word(r: Random) -> str:
    return r.choice(WORDS).replace("(c)", "foo")


def value(r: Random) -> str:
    return " ".join(r.choice(WORDS) for _ in range(r.choice([0, 1, 1, 2, 3])))


def header(r: Random, small: bool) -> bytes:
    roll = r.random()
    line = f"{name(r)}: {value(r)}"
    if roll < 0.1:
        line = f"{name(r)}{r.choice([' ', chr(9), '  '])}:{r.choice(['', ' '])}{value(r)}"
    elif roll < 0.2:
        line = f"{name(r)}:{value(r)}"
    raw = line.encode("utf-8", "surrogateescape")
    while r.random() < 0.25:
        raw += r.choice([b"\n ", b"\n\t", b"\n  ", b"\r\n ", b"\n \n\t"]) + value(r).encode()
    roll = r.random()
    if roll < 0.03:
        at = r.randrange(len(raw))
        at += at == 0  # what smtpd makes of a CR before the first letter is its own affair
        raw = raw[:at] + r.choice([b"\0", b"\r", b"\r\r", b"\xff", b"\x7f", b"\x01"]) + raw[at:]
    elif roll < 0.06:
        raw += (
            b" " + b"y" * r.choice([900, 1000, 1015, 1024, 1030, 2020, 2030, 2047, 2048, 2049, 4096, 5000]) + b" tail"
        )
    elif roll < 0.09 and small:
        raw += b"".join(b"\n " + b"z" * r.randint(20, 300) for _ in range(r.randint(2, 12))) + b"\n tail"
    return raw


def block(r: Random, lane: str, extra: list[bytes]) -> bytes:
    headers = [header(r, lane == "small") for _ in range(r.choice([0, 1, 2, 3, 5, 8]))]
    for one in extra:
        headers.insert(r.randint(0, len(headers)), one)
    return b"".join(h + b"\n" for h in headers)


def message(r: Random, lane: str) -> bytes:
    start = r.choices(
        [b"", b"From a@b Thu Jan  1\n", b">From a@b x\n", b"From a\nFrom b\n", b" leading blank\n", b"\tx: y\n", b"From a\n fold\n"],
        [40, 1, 1, 1, 1, 1, 1],
    )[0]  # fmt: skip
    head, body = entity(r, lane, 0)
    if r.random() < 0.04:
        head, body = large(r, head, body)
    end = r.choices([b"\n", b"", b"no header here\n", b"--b1\n", b"\0\n"], [30, 1, 2, 1, 1])[0]
    raw = start + head + end + body
    if r.random() < 0.05:
        raw = raw.rstrip(b"\n")
    return raw or b"\n"


def large(r: Random, head: bytes, body: bytes) -> tuple[bytes, bytes]:
    """Beyond a limit: 102,400 octets of header, 51,200 of a body segment, 100 nested multiparts."""
    kind = r.choice(["header", "fold", "segment", "nest", "parts"])
    if kind == "header":
        return head + b"X-Long: " + b"y" * r.choice([102380, 102392, 102393, 102400, 103000, 120000]) + b" tail\n", body
    if kind == "fold":
        return head + b"X-Long: yes" + b"\n foo bar baz 0123456789 0123456789" * r.choice(
            [2900, 3010, 3200, 4000]
        ) + b"\n tail\n", body
    if kind == "segment":
        return head, body + b"0123456789012345678901234567890123456789\n" * r.choice(
            [1240, 1248, 1249, 1250, 1300]
        ) + b"foo tail\n--b1\nfoo\n"
    if kind == "nest":
        depth = r.choice([99, 100, 101, 102, 110])
        inner = b"".join(b"Content-Type: multipart/mixed; boundary=n%d\n\n--n%d\n" % (n, n) for n in range(depth))
        first, rest = inner.split(b"\n", 1)
        return head + first + b"\n", rest[1:] + b"X-A: inner\n\nfoo\n"
    parts = b"".join(
        b"--b1\nContent-Type: message/rfc822\nX-A: %d\n\nX-B: %d\n\nfoo\n" % (n, n) for n in range(r.choice([3, 40]))
    )
    return head + b"Content-Type: multipart/mixed; boundary=b1\n", parts


def entity(r: Random, lane: str, depth: int) -> tuple[bytes, bytes]:
    kind = r.choices(["text", "multipart", "message", "other"], [3, 4 if depth < 4 else 0, 3 if depth < 4 else 0, 1])[0]
    if kind == "text":
        extra = [b"Content-Type: text/plain; charset=utf-8"] if r.random() < 0.5 else []
        return block(r, lane, extra), lines(r)
    if kind == "other":
        declared = r.choice(
            [
                b"application/pdf",
                b"",
                b'"multipart"/mixed; boundary=b1',
                b"multipart",
                b"message",
                b"foo/bar; boundary=b1",
            ]
        )
        return block(r, lane, [b"Content-Type: " + declared]), lines(r) + b"--b1\nX-A: in part?\n\n"
    if kind == "message":
        sub = r.choice(
            [
                b"rfc822",
                b"RFC822",
                b"global",
                b"partial",
                b"external-body",
                b"delivery-status",
                b"rfc822; name=x",
                b"global-headers",
            ]
        )
        inner_head, inner_body = entity(r, lane, depth + 1)
        coding = [b"Content-Transfer-Encoding: " + r.choice([b"7bit", b"base64", b"8bit"])] if r.random() < 0.3 else []
        return block(r, lane, [b"Content-Type: message/" + sub, *coding]), inner_head + gap(r) + inner_body
    return multipart(r, lane, depth)


def multipart(r: Random, lane: str, depth: int) -> tuple[bytes, bytes]:
    boundary = r.choice([b"b1", b"b2", b"b1x", b"=_x", b"a:b", b"a b", b"", b"--"])
    sub = r.choice([b"mixed", b"digest", b"alternative", b"Digest"])
    quoted = r.choice(
        [
            b'"%s"',
            b"%s" if boundary not in (b"", b"a b", b"a:b", b"=_x") else b'"%s"',
            b'"%s"; boundary=b2',
            b'(c) "%s" (d)',
            b'"%s";',
        ]
    )
    joint = r.choice(
        [
            b"; boundary=",
            b";\n\tboundary=",
            b"; Boundary = ",
            b"; charset=x; boundary=",
            b"; boundary =\n ",
            b"(boundary=b9); boundary=",
        ]
    )
    declared = (
        b"Content-Type: " + r.choice([b"multipart/", b"Multipart/", b"multipart / "]) + sub + joint + quoted % boundary
    )
    out = lines(r)
    for _ in range(r.choice([0, 1, 2, 3])):
        head, body = entity(r, lane, depth + 1)
        out += b"--" + boundary + r.choice([b"", b"", b"", b" ", b"cruft"]) + b"\n" + head + gap(r) + body
    if r.random() < 0.8:
        out += b"--" + boundary + b"--" + r.choice([b"", b"cruft"]) + b"\n"
    return block(r, lane, [declared]), out + lines(r)


def gap(r: Random) -> bytes:
    return r.choices([b"\n", b"", b"broken header\n"], [20, 1, 1])[0]


def lines(r: Random) -> bytes:
    out = b""
    for _ in range(r.choice([0, 0, 1, 2, 4])):
        out += r.choice(
            [b"foo", b"", b"line one", b".dot", b"..", b"From here", b"--", b"-- ", b"--b1 not", b"X-A: body", b"tail", b"a=b",
             b"nul\0here", b"cr\rhere", "日本".encode(), b"\xff\xfe", b"x" * r.choice([100, 998, 2046, 2047, 2048, 2049, 4095, 4096, 4097]) + b"tail",
             b"." + b"y" * r.choice([2045, 2046, 2047, 2048])]
        ) + b"\n"  # fmt: skip
    return out

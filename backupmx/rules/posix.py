"""Pure.  posix: a POSIX regular expression, as regexp: tables have them, in PCRE2's words.

`translate(source, extended)` gives a PCRE2 pattern that matches the same
strings.  Which strings match does not depend on how alternatives are tried, so
only the captures need care: POSIX wants the longest match that begins first,
PCRE2 the first it finds.  `longest` looks at all of them and takes that one,
and its groups as Debian's regexec(3) fills them.

What Debian's regcomp(3) knows beyond POSIX is known here: \\w \\W \\s \\S \\b \\B
\\< \\> \\` \\' and, in basic expressions, \\+ \\? \\|.  \\d is no digit: it is the
letter d, and where case is ignored it is nothing at all.

Why not regexec(3) itself?  It has no match limit, reads the process's locale
and is another program on FreeBSD; Debian 12's never comes back from
(((((d*)|a*))?|(x)*))+ on "ad".  A translation has one answer everywhere.

BUGS    After 2,000 ways to match, `longest` takes the best it has seen.
        What a group keeps from an earlier turn of a repetition around it is not
        always what regexec(3) says; that differs between systems too.

Standards: POSIX.1-2017 XBD 9 (regular expressions).
"""

import re

from backupmx.rules.pattern import CASELESS, DOTALL, MULTILINE, Pattern, PatternTrouble

_WAYS = 2000
_OPERATORS = {
    0x77: rb"\w", 0x57: rb"\W", 0x73: rb"\s", 0x53: rb"\S", 0x62: rb"\b", 0x42: rb"\B",
    0x3C: rb"\b(?=\w)", 0x3E: rb"\b(?<=\w)", 0x60: rb"\A", 0x27: rb"\z",
}  # fmt: skip
_INTERVAL = re.compile(rb"(\d*)(?:(,)(\d*))?")
_CLASSES = frozenset(
    (
        b"alpha",
        b"digit",
        b"alnum",
        b"upper",
        b"lower",
        b"space",
        b"blank",
        b"punct",
        b"print",
        b"graph",
        b"cntrl",
        b"xdigit",
    )
)
_DUP_MAX = 32767


class PosixPattern:
    """A regexp: pattern.  Speaks like `Pattern`."""

    __slots__ = ("_fast", "_ways", "flags", "groups", "source")

    def __init__(self, source: bytes, *, extended: bool, caseless: bool, newline: bool) -> None:
        translated = _Translation(source, extended, caseless, newline).whole()
        self.flags = DOTALL | (CASELESS if caseless else 0) | (MULTILINE if newline else 0)
        self._fast = Pattern(translated, self.flags)
        self._ways: Pattern | None = None
        self.source = translated
        self.groups = self._fast.groups

    def matches(self, subject: bytes) -> bool:
        """Anywhere in the subject.  Raises NoAnswer."""
        return self._fast.matches(subject)

    def captures(self, subject: bytes) -> tuple[bytes, ...] | None:
        """The groups of the match POSIX means, the whole match first.  Raises NoAnswer."""
        first = self._fast.captures(subject)
        if first is None:
            return None
        if self._ways is None:
            self._ways = Pattern(b"(?:" + self.source + b")(?C)", self.flags)
        return longest(self._ways, subject) or first


def longest(pattern: Pattern, subject: bytes) -> tuple[bytes, ...] | None:
    """Of all matches that begin first the longest; of those the first, but for groups it left empty."""
    best: tuple[tuple[int, int], ...] = ()

    def wanted(spans: tuple[tuple[int, int], ...]) -> bool:
        nonlocal best
        if best and spans[0][0] > best[0][0]:
            return False
        if not best or spans[0][1] > best[0][1] or (spans[0] == best[0] and _fills(spans, best)):
            best = spans
        return True

    pattern.enumerate(subject, _WAYS, wanted)
    return tuple(subject[start:end] if start >= 0 else b"" for start, end in best) or None


def _fills(new: tuple[tuple[int, int], ...], old: tuple[tuple[int, int], ...]) -> bool:
    """A repetition went through one empty turn too many: the first group that differs is empty in `old` alone."""
    for (start, end), (had_start, had_end) in zip(new, old, strict=True):
        if start >= 0 and had_start >= 0 and end - start != had_end - had_start:
            return had_start == had_end
    return False


class _Translation:
    """One expression, read from left to right by descent."""

    def __init__(self, source: bytes, extended: bool, caseless: bool, newline: bool) -> None:
        self.source = source
        self.extended = extended
        self.caseless = caseless
        self.newline = newline
        self.at = 0
        self.opened = 0
        self.closed: set[int] = set()

    def whole(self) -> bytes:
        pattern = self.alternatives(0)
        if self.at < len(self.source):
            raise PatternTrouble("Unmatched ) or \\)")  # basic: \) without \(
        return pattern

    def alternatives(self, depth: int) -> bytes:
        branches = [self.branch(depth)]
        while self.take(b"|" if self.extended else b"\\|"):
            branches.append(self.branch(depth))
        return b"|".join(branches)

    def branch(self, depth: int) -> bytes:
        out = b""
        first = True
        while self.at < len(self.source):
            if self.looking_at(b"|" if self.extended else b"\\|"):
                break
            if self.looking_at(b")" if self.extended else b"\\)") and (depth or not self.extended):
                break
            atom, repeatable = self.atom(depth, first)
            first = first and atom == b"^" and not self.extended  # basic: `^*` is an anchor and a star
            out += self.repeated(atom) if repeatable else atom
        return out

    def atom(self, depth: int, first: bool) -> tuple[bytes, bool]:
        """-> (the next piece, whether a repetition may follow it)."""
        byte = self.source[self.at]
        self.at += 1
        if byte == 0x5C:
            return self.escaped(depth)
        if byte == 0x5B:
            return self.bracket(), True
        if byte == 0x2E:
            return (b"[^\\n]" if self.newline else b"."), True
        if byte == 0x5E and (self.extended or (first and self.here_anchor())):
            return b"^", False
        if byte == 0x24 and (self.extended or self.end_anchor()):
            return (b"$" if self.newline else b"\\z"), False
        if self.extended and byte == 0x28:
            return self.group(depth), True
        if byte == 0x2A and not self.extended and first:
            return b"\\*", True
        if self.extended and byte in b"*+?{":
            raise PatternTrouble("Invalid preceding regular expression")
        return _literal(byte), True

    def here_anchor(self) -> bool:
        """basic: `^` is an anchor at the start, after \\( and after \\|, not behind another one."""
        return self.at == 1 or self.source[self.at - 3 : self.at - 1] in (b"\\(", b"\\|")

    def end_anchor(self) -> bool:
        """basic: `$` is an anchor at the end, before \\) and before \\|."""
        return self.at == len(self.source) or self.source[self.at : self.at + 2] in (b"\\)", b"\\|")

    def escaped(self, depth: int) -> tuple[bytes, bool]:
        if self.at == len(self.source):
            raise PatternTrouble("Trailing backslash")
        byte = self.source[self.at]
        self.at += 1
        if not self.extended and byte == 0x28:
            return self.group(depth), True
        if not self.extended and byte == 0x7B:
            raise PatternTrouble("Invalid preceding regular expression")
        if 0x31 <= byte <= 0x39:
            if byte - 0x30 not in self.closed:
                raise PatternTrouble("Invalid back reference")
            return b"\\g{%c}" % byte, True
        if byte in _OPERATORS:
            return _OPERATORS[byte], byte in b"wWsS"
        if self.caseless and 0x61 <= byte <= 0x7A:
            return b"[^\\x00-\\xff]", True  # regcomp compares in capitals and leaves this letter small
        return _literal(byte), True

    def group(self, depth: int) -> bytes:
        self.opened += 1
        number = self.opened
        inner = self.alternatives(depth + 1)
        if not self.take(b")" if self.extended else b"\\)"):
            raise PatternTrouble("Unmatched ( or \\(")
        self.closed.add(number)
        return b"(" + inner + b")"

    def repeated(self, atom: bytes) -> bytes:
        """The atom with the repetitions that follow it.  Each is wrapped: `a*+` is no possessive here."""
        while True:
            if self.take(b"*"):
                times = b"*"
            elif self.take(b"+" if self.extended else b"\\+"):
                times = b"+"
            elif self.take(b"?" if self.extended else b"\\?"):
                times = b"?"
            elif self.take(b"{" if self.extended else b"\\{"):
                if atom.endswith(b")") and atom.startswith(b"(?:") and not self.extended:
                    raise PatternTrouble("Invalid preceding regular expression")
                times = self.interval()
            else:
                return atom
            simple = len(atom) == 1 or (len(atom) == 2 and atom[:1] == b"\\") or atom[:1] == b"["
            if atom[:1] == b"(" and atom[:3] != b"(?:":
                simple = True  # one whole group
            atom = b"(?:" + (atom if simple else b"(?:" + atom + b")") + times + b")"

    def interval(self) -> bytes:
        match = _INTERVAL.match(self.source, self.at)
        assert match is not None
        self.at = match.end()
        if not self.take(b"}" if self.extended else b"\\}"):
            raise PatternTrouble("Unmatched { or \\{" if self.at == len(self.source) else "Invalid content of \\{\\}")
        low, comma, high = match[1], match[2], match[3] or b""
        if not low and not comma:
            raise PatternTrouble("Invalid content of \\{\\}")
        least = int(low or b"0")
        most = int(high) if high else (None if comma else least)
        if (most is not None and most < least) or max(least, most or 0) > _DUP_MAX:
            raise PatternTrouble("Invalid content of \\{\\}")
        return b"{%d,%s}" % (least, b"" if most is None else b"%d" % most)

    def bracket(self) -> bytes:
        """After `[`: a list, backslash is itself, classes and ranges by byte value."""
        negated = self.take(b"^")
        out, first = b"", True
        while True:
            if self.at == len(self.source):
                raise PatternTrouble("Unmatched [, [^, [:, [., or [=")
            if not first and self.take(b"]"):
                break
            first = False
            if self.looking_at(b"[:"):
                out += self.named_class()
                continue
            low = self.element()
            if self.looking_at(b"-") and self.source[self.at + 1 : self.at + 2] not in (b"]", b""):
                self.at += 1
                high = self.element()
                if self.caseless:
                    low, high = _capital(low), _capital(high)
                if high < low:
                    raise PatternTrouble("Invalid range end")
                out += _in_list(low) + b"-" + _in_list(high)
            else:
                out += _in_list(low)
        if negated and self.newline:
            out += b"\\n"
        return (b"[^" if negated else b"[") + out + b"]"

    def named_class(self) -> bytes:
        end = self.source.find(b":]", self.at + 2)
        name = self.source[self.at + 2 : end] if end >= 0 else b""
        if name not in _CLASSES:
            raise PatternTrouble("Invalid character class name")
        self.at = end + 2
        return b"[:" + name + b":]"

    def element(self) -> int:
        """One member of a list: a byte, [.x.] or [=x=]."""
        for mark in (b".", b"="):
            if self.looking_at(b"[" + mark):
                end = self.source.find(mark + b"]", self.at + 3)
                if end != self.at + 3:
                    raise PatternTrouble("Invalid collation character")
                byte = self.source[self.at + 2]
                self.at = end + 2
                return byte
        byte = self.source[self.at]
        self.at += 1
        return byte

    def looking_at(self, text: bytes) -> bool:
        return self.source.startswith(text, self.at)

    def take(self, text: bytes) -> bool:
        if self.looking_at(text):
            self.at += len(text)
            return True
        return False


def _literal(byte: int) -> bytes:
    one = bytes([byte])
    return one if one.isalnum() or byte >= 0x80 or byte in b"_ " else b"\\" + one


def _capital(byte: int) -> int:
    return byte - 0x20 if 0x61 <= byte <= 0x7A else byte


def _in_list(byte: int) -> bytes:
    return b"\\x{%x}" % byte

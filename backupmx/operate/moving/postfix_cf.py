"""Pure.  postfix_cf: main.cf and master.cf.

    name = value          a line that begins with a blank continues the one before;
                          comments and empty lines may stand between; the last of
                          two lines with one name counts
    $name ${name} $(name)              its value
    ${name?text} ${name?{text}}        text, where name is not empty
    ${name:text} ${name:{text}}        text, where name is empty
    ${name?{text}:{text}}              one or the other
    ${{a} == {b} ? {text} : {text}}    likewise; == != < <= >= >
    $$                                 $

A parameter that is not in the file has a default in DEFAULTS if others are
likely to name it, else it is empty.

Trouble
    Loops of names and endless growth end in CfTrouble for that value: the
    sentence names the parameter.

Standards: postconf(5), master(5).
"""

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

_ASSIGNMENT = re.compile(r"\s*([A-Za-z0-9_]+)\s*=\s*(.*)", re.DOTALL)
_NAME = re.compile(r"[A-Za-z0-9_]+")
_COMPARISON = re.compile(r"\s*(==|!=|<=|>=|<|>)\s*")
_COMPARE: Mapping[str, Callable[[str, str], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_BRACES = re.compile(r"[{}]")
_PARENTHESES = re.compile(r"[()]")
_DEEPEST = 50
_MOST_STEPS = 10_000
_LONGEST = 1 << 20
DEFAULTS = {
    "queue_directory": "/var/spool/postfix",
    "mail_name": "Postfix",
    "syslog_name": "postfix",
    "smtpd_tls_key_file": "$smtpd_tls_cert_file",
    "smtpd_tls_eckey_file": "$smtpd_tls_eccert_file",
    "milter_default_action": "tempfail",
    "inet_interfaces": "all",
    "inet_protocols": "all",
    "smtp_helo_name": "$myhostname",
    "parent_domain_matches_subdomains": "relay_domains",
    "mydestination": "$myhostname, localhost.$mydomain, localhost",
}
"""Of what we ask or others name; `config_directory`, `myhostname` and `mydomain` come with the folder."""


class CfTrouble(Exception):
    """A value that cannot be worked out."""


@dataclass(frozen=True, slots=True)
class Main:
    """The parameters of main.cf, as they are written."""

    values: Mapping[str, str]
    lines: Mapping[str, int] = field(default_factory=dict)
    defaults: Mapping[str, str] = field(default_factory=lambda: DEFAULTS)

    def __contains__(self, name: str) -> bool:
        """It is set, be it to nothing."""
        return name in self.values

    def get(self, name: str) -> str:
        """Its value, worked out; "" for what is set nowhere.  Raises CfTrouble."""
        return " ".join(_expand(self.raw(name), _Work(self), (name,)).split())

    def raw(self, name: str) -> str:
        """As it is written."""
        return self.values.get(name, self.defaults.get(name, ""))

    def words(self, name: str) -> list[str]:
        """A list: words between blanks and commas, {...} in one piece."""
        return split(self.get(name))

    def over(self, options: Mapping[str, str]) -> "Main":
        """With a service's own -o settings."""
        return Main({**self.values, **options}, self.lines, self.defaults)


@dataclass(slots=True)
class _Work:
    """One value being worked out."""

    main: Main
    steps: int = 0


@dataclass(frozen=True, slots=True)
class Service:
    """A line of master.cf."""

    name: str
    """smtp, 25, 192.0.2.1:25, submission"""
    kind: str
    """inet, unix, pass, fifo"""
    command: str
    options: Mapping[str, str]
    """-o name=value"""


def parse_main(text: str, defaults: Mapping[str, str] = DEFAULTS) -> Main:
    values: dict[str, str] = {}
    lines: dict[str, int] = {}
    for number, line in logical_lines(text):
        if match := _ASSIGNMENT.fullmatch(line):
            values[match[1]] = match[2].strip()
            lines[match[1]] = number
    return Main(values, lines, defaults)


def parse_master(text: str) -> tuple[Service, ...]:
    """Lines that are no service are passed over: Postfix would not start with them."""
    services = []
    for _, line in logical_lines(text):
        words = split(line, commas=False)
        if len(words) >= 8 and words[1] in ("inet", "unix", "unix-dgram", "fifo", "pass"):
            services.append(Service(words[0], words[1], words[7], _options(words[8:])))
    return tuple(services)


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Continued lines joined, each with the number of its first."""
    number, parts = 0, list[str]()
    for count, line in enumerate(text.split("\n"), 1):
        line = line.rstrip("\r")
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line[0] in " \t" and parts:
            parts.append(line.strip())
            continue
        if parts:
            yield number, " ".join(parts)
        number, parts = count, [line.strip()]
    if parts:
        yield number, " ".join(parts)


def split(text: str, *, commas: bool = True) -> list[str]:
    """Words; what stands in braces is one word with its braces."""
    words, word, depth = [], list[str](), 0
    for character in text:
        depth += (character == "{") - (character == "}")
        if depth <= 0 and (character.isspace() or (commas and character == ",")):
            if word:
                words.append("".join(word))
            word, depth = [], 0
        else:
            word.append(character)
    return [*words, "".join(word)] if word else words


def _options(words: list[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    at = iter(words)
    for word in at:
        setting = next(at, "") if word == "-o" else word[2:] if word.startswith("-o") else ""
        setting = setting[1:-1] if setting.startswith("{") and setting.endswith("}") else setting
        name, equals, value = setting.partition("=")
        if equals:
            options[name.strip()] = value.strip()
    return options


def _expand(text: str, work: _Work, within: tuple[str, ...]) -> str:
    """`within`: the names whose values we are inside of, and a mark for each brace."""
    work.steps += 1
    if len(within) > _DEEPEST or work.steps > _MOST_STEPS or len(text) > _LONGEST:
        raise CfTrouble(f"{within[0]}: too long, or too many values within values")
    if "$" not in text:
        return text
    pieces, at, length = [], 0, 0
    while (dollar := text.find("$", at)) >= 0:
        piece, after = _reference(text, dollar, work, within)
        pieces += [text[at:dollar], piece]
        length += dollar - at + len(piece)
        if length > _LONGEST:
            raise CfTrouble(f"{within[0]}: grows beyond {_LONGEST} octets")
        at = after
    return "".join((*pieces, text[at:]))


def _reference(text: str, dollar: int, work: _Work, within: tuple[str, ...]) -> tuple[str, int]:
    """What stands at a dollar, worked out, and where the text goes on."""
    opening = text[dollar + 1 : dollar + 2]
    if opening == "$":
        return "$", dollar + 2
    if opening and opening in "{(":
        end = _closing(text, dollar + 1)
        if end < 0:
            raise CfTrouble(f'{within[0]}: "{text[dollar : dollar + 40]}" is not closed')
        return _braced(text[dollar + 2 : end], work, within), end + 1
    match = _NAME.match(text, dollar + 1)
    return (_value(match[0], work, within), match.end()) if match else ("$", dollar + 1)


def _braced(inside: str, work: _Work, within: tuple[str, ...]) -> str:
    inside = inside.strip()
    if inside.startswith("{"):
        return _compared(inside, work, within)
    match = _NAME.match(inside)
    name, rest = (match[0], inside[match.end() :].lstrip()) if match else ("", inside)
    if not rest:
        return _value(name, work, within)
    return _chosen(bool(_value(name, work, within)), rest, work, within)


def _compared(inside: str, work: _Work, within: tuple[str, ...]) -> str:
    left, at = _part(inside, 0)
    match = _COMPARISON.match(inside, at)
    if not match:
        raise CfTrouble(f'{within[0]}: "{inside[:40]}" compares nothing')
    right, at = _part(inside, match.end())
    deeper = (*within, "{")
    a, b = _expand(left, work, deeper).strip(), _expand(right, work, deeper).strip()
    compare = _COMPARE[match[1]]
    holds = compare(f"{int(a):020}", f"{int(b):020}") if _number(a) and _number(b) else compare(a, b)
    return _chosen(holds, inside[at:].lstrip(), work, within)


def _chosen(holds: bool, rest: str, work: _Work, within: tuple[str, ...]) -> str:
    """?{then}:{else}, ?then, :else."""
    if rest.startswith("?"):
        then, at = _part(rest, 1)
        otherwise = rest[at:].lstrip().removeprefix(":")
    elif rest.startswith(":"):
        then, otherwise = "", rest[1:]
    else:
        raise CfTrouble(f'{within[0]}: "{rest[:40]}" is neither ? nor :')
    return _expand(then if holds else _part(otherwise, 0)[0], work, (*within, "?"))


def _part(text: str, at: int) -> tuple[str, int]:
    """{text} without its braces, or all that is left."""
    while text[at : at + 1].isspace():
        at += 1
    if text[at : at + 1] == "{" and (end := _closing(text, at)) >= 0:
        return text[at + 1 : end].strip(), end + 1
    return text[at:], len(text)


def _closing(text: str, at: int) -> int:
    """Where what opens at `at` closes; -1: nowhere."""
    opens = text[at]
    depth = 0
    for match in (_BRACES if opens == "{" else _PARENTHESES).finditer(text, at):
        depth += 1 if match[0] == opens else -1
        if not depth:
            return match.start()
    return -1


def _value(name: str, work: _Work, within: tuple[str, ...]) -> str:
    if name in within:
        raise CfTrouble(f"{within[0]}: ${name} leads back to itself")
    return _expand(work.main.raw(name), work, (*within, name))


def _number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20

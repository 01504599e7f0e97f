"""Pure.  lint: mistakes in rule files that load and still do not do what was meant.

`lint(table, role)` gives findings in the order of the file: what the loader
had to skip, what a rule alone shows (smells.py), and what rules do to each
other: one that an earlier one always answers first, one inside an `if` that
asks for another header.

A finding is a sentence about what happens and a proposal; nobody has to take
it.  Soundness is not promised, but "shadowed" and "never" are only said when
they are certain.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from backupmx.rules import anchor, smells
from backupmx.rules.smells import Role, shown, source
from backupmx.rules.table import Rule, Table

_INSTEAD = (
    ("no replacement text", "no-action", "write an action behind the pattern: IGNORE, REJECT, DISCARD ..."),
    ("do not prepend whitespace", "swallowed", "begin every rule between if and endif in the first column"),
    ("ignoring extra text after IF", "swallowed", "put it on a line of its own, in the first column"),
    ("ignoring extra text after ENDIF", "text-after-endif", "put it on a line of its own, in the first column"),
    ("ignoring ENDIF without", "unbalanced", "remove it, or look for an `if` that could not be used"),
    ("IF has no matching ENDIF", "unbalanced", "close the block with a line `endif`"),
    ("logical line must not start", "swallowed", "begin the rule in the first column"),
    ("unknown regexp option", "unusable", "the flags are i m s x A E U for pcre:, i m x for regexp:"),
    ("no closing regexp delimiter", "unusable", "end the pattern with the character it began with"),
    ("unknown action", "no-action", "see the actions in docs/rules.md"),
    ("$number found in negative", "unusable", "a pattern that must not match captures nothing: use no $1"),
    ("non-numeric replacement", "unusable", "write ${1} where letters follow, and $$ for a dollar"),
    ("out of range replacement", "unusable", "use the number of a ( ) in the pattern, from $1 on"),
)
_EVERYTHING = re.compile(rb"\^?(?:\.\*|\.|\.\+)?\$?")


@dataclass(frozen=True, slots=True)
class Finding:
    """One mistake."""

    file: str
    line: int
    name: str
    """A word to search for in docs/rules.md."""
    what: str
    """What happens."""
    instead: str
    """What to write instead; "" is not said."""

    def at(self, lines: Iterable[int]) -> str:
        """As a person reads it, said of these lines: "header_checks:1,2,5: what"."""
        instead = f"\n    instead: {self.instead}" if self.instead else ""
        return f"{self.file}:{','.join(map(str, lines))}: {self.what}{instead} [{self.name}]"


def together(findings: Iterable[Finding]) -> list[str]:
    """The same sentence about several lines once, where the first of them stands."""
    lines: dict[Finding, dict[int, None]] = {}
    for finding in findings:
        lines.setdefault(replace(finding, line=0), {})[finding.line] = None
    return [finding.at(all_of_it) for finding, all_of_it in lines.items()]


def lint(table: Table, role: Role = "header") -> tuple[Finding, ...]:
    """Everything that looks wrong in a table, in the order of its lines."""
    found = [*_warnings(table)]
    for rule in table.rules:
        if rule.statement.word != "endif":
            found += (
                Finding(table.name, rule.line, smell.name, smell.what, smell.instead)
                for ask in smells.ALL
                for smell in ask(rule, role)
            )
    found += _shadowed(table)
    found += _contradicted(table)
    return tuple(sorted(dict.fromkeys(found), key=lambda finding: finding.line))


def _warnings(table: Table) -> Iterator[Finding]:
    for warning in table.warnings:
        line, _, message = warning.removeprefix(f"{table.name}:").partition(": ")
        known = ((name, instead) for words, name, instead in _INSTEAD if message.startswith(words))
        name, instead = next(known, ("unusable", "until it is mended the rule is not there"))
        yield Finding(table.name, int(line), name, message, instead)


def _blocks(rules: Sequence[Rule]) -> Iterator[tuple[Rule, tuple[Rule, ...]]]:
    """Each rule and if, with the ifs it stands in."""
    within: list[Rule] = []
    for rule in rules:
        if rule.statement.word == "endif":
            within.pop()
            continue
        yield rule, tuple(within)
        if rule.statement.word == "if":
            within.append(rule)


def _shadowed(table: Table) -> Iterator[Finding]:
    """Rules that an earlier one always answers first."""
    earlier: list[tuple[Rule, tuple[Rule, ...]]] = []
    for rule, within in _blocks(table.rules):
        if rule.statement.word != "rule":
            continue
        for other, outside in earlier:
            if within[: len(outside)] == outside and _covers(other, rule):
                yield Finding(
                    table.name,
                    rule.line,
                    "shadowed",
                    f"line {other.line} (/{shown(source(other))}/) matches whatever this one matches, and comes first",
                    f"put it before line {other.line}, or remove it",
                )
                break
        earlier.append((rule, within))


def _covers(earlier: Rule, later: Rule) -> bool:
    """Certainly: what the later pattern matches, the earlier one does too."""
    one, two = earlier.statement.first, later.statement.first
    if one is None or two is None or earlier.statement.second is not None:
        return False
    if (one.source, sorted(one.flags), one.negated) == (two.source, sorted(two.flags), two.negated):
        return True
    if one.negated or one.flags.strip(b"mU"):
        return False
    if _EVERYTHING.fullmatch(one.source):
        return b"$" not in one.source or one.source == b"^.*$"
    literal = _literal(one.source)
    return bool(literal) and not two.negated and later.prefix.startswith(literal)


def _literal(pattern: bytes) -> bytes:
    """The text of a pattern that is `^text` and nothing else, in lower case."""
    found = anchor.prefix(pattern, 0)
    return found if found and re.sub(rb"\\(.)", rb"\1", pattern).lower() == b"^" + found else b""


def _contradicted(table: Table) -> Iterator[Finding]:
    """Rules inside an `if` that is only true for another header."""
    for rule, within in _blocks(table.rules):
        name = anchor.name(rule.prefix)
        for block in within:
            wanted = anchor.name(block.prefix)
            if name and wanted and name != wanted:
                yield Finding(
                    table.name,
                    rule.line,
                    "never",
                    f"line {block.line} lets only {shown(wanted)} in, this rule asks for {shown(name)}",
                    "move it out of the if block",
                )
                break

"""Pure.  table: a header_checks table that can be asked.

`load(text, name, kind)` compiles a table and never fails: what Postfix would
skip is skipped and named in `warnings`.  Whether a table with warnings may be
used is for the caller to say (rules.strict).

`Table.find(subject, ...)` is Postfix's lookup: rules from top to bottom, the
first that matches wins.  `if` whose pattern does not match skips to its
`endif`; without an `endif` it ends the lookup.

A rule is asked only about headers it can match (anchor.py): for each header
name that rules are anchored to there is a shorter program of the rules left,
and one for all other names.  A table of a thousand rules for a thousand names
costs what its few unanchored rules cost.

Why not one big alternation of all patterns?  First match wins by position in
the file, captures are numbered a pattern, and a pattern that gives up must not
silence its neighbours.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from backupmx.rules import anchor
from backupmx.rules.pattern import NoAnswer, Pattern, PatternTrouble, options
from backupmx.rules.posix import PosixPattern
from backupmx.rules.replacement import BadReplacement, Replacement, parse
from backupmx.rules.syntax import Expression, Kind, Statement, statements
from backupmx.rules.vocabulary import remark, split


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """A statement that can be asked."""

    statement: Statement
    pattern: Pattern | PosixPattern | None
    """None for endif."""
    second: PosixPattern | None = None
    replacement: Replacement | None = None
    prefix: bytes = b""
    """What every subject it matches begins with, in lower case; b"": nothing is known."""

    @property
    def line(self) -> int:
        return self.statement.line

    @property
    def whole(self) -> str:
        """The line as it stands in the file, with what it continues over, on one line."""
        return self.statement.whole.decode("utf-8", "backslashreplace")


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A rule in a program: what `find` needs of it at hand, and where an `if` that does not hold goes on."""

    rule: Rule
    matches: Callable[[bytes], bool]
    negated: bool
    decides: bool
    """False: an `if`."""
    prefix: bytes
    skip_to: int = 0
    """-1: nowhere."""


Program = tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Hit:
    """The rule that matched, and its action text."""

    table: "Table"
    rule: Rule
    text: bytes


class Asked:
    """What asking about one message cost: rules that gave no answer, and the time that is left.

    Before the time is up a rule that gives up is asked again about the next
    header, as Postfix would.  After it, it is not: then each rule costs the
    message at most one more limit.
    """

    __slots__ = ("_clock", "_given_up", "_until", "late", "troubles")

    def __init__(self, clock: Callable[[], float] | None = None, budget: float = 0.0) -> None:
        self._clock = clock
        self._until = clock() + budget if clock else 0.0
        self._given_up: set[Rule] = set()
        self.late = False
        self.troubles: dict[str, None] = {}

    def check_time(self) -> None:
        self.late = self.late or (self._clock is not None and self._clock() > self._until)

    def gave_up(self, table: "Table", rule: Rule, why: str) -> None:
        self._given_up.add(rule)
        self.troubles[f"{table.name}:{rule.line}: {why}: counts as no match"] = None
        self.check_time()

    def holds(self, table: "Table", step: Step, subject: bytes) -> bool:
        """Once late: a rule that gave up before, or is slow now without giving up, is not asked again."""
        if step.rule in self._given_up or self._clock is None:
            return False
        began = self._clock()
        try:
            answer = step.matches(subject) is not step.negated
        except NoAnswer as why:
            self.gave_up(table, step.rule, str(why))
            return False
        if self._clock() - began > _SLOW:
            self._given_up.add(step.rule)
        return answer


_SLOW = 0.01
"""Seconds for one answer: three times what the match limit allows from one place in the subject."""


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A table file, compiled."""

    name: str
    kind: Kind
    rules: tuple[Rule, ...]
    """Rules, ifs and endifs in order, the unusable ones left out."""
    warnings: tuple[str, ...]
    """ "FILE:LINE: message" for what could not be used."""
    everything: Program = field(repr=False)
    unnamed: Program = field(repr=False)
    """For headers whose name no rule is anchored to."""
    names: frozenset[bytes] = field(repr=False)
    """Header names in lower case that rules are anchored to."""
    _named: dict[bytes, Program] = field(default_factory=dict, repr=False)

    def __bool__(self) -> bool:
        return bool(self.rules)

    def program(self, name: bytes) -> Program:
        """The rules that can match a header of this name (lower case), in order."""
        if name not in self.names:
            return self.unnamed
        if (program := self._named.get(name)) is None:
            program = self._named[name] = _program(self.rules, lambda rule: _may_match(rule, name))
        return program

    def find(self, subject: bytes, program: Program, asked: Asked, *, folded: bool = True) -> Hit | None:
        """The first rule of a program that matches; None: none does.

        `folded` says that a blank follows every line end in the subject, which
        the prefixes of /m patterns rely on.
        """
        at, size = 0, len(program)
        start = subject[:256].lower() if folded and size > 1 else b""
        while at < size:
            step = program[at]
            at += 1
            if start and step.prefix and not start.startswith(step.prefix):
                holds = False
            elif asked.late:
                holds = asked.holds(self, step, subject)
            else:
                try:
                    holds = step.matches(subject) is not step.negated
                except NoAnswer as why:  # neither /p/ nor !/p/ has matched
                    asked.gave_up(self, step.rule, str(why))
                    holds = False
            if step.decides:
                if holds and (hit := self._hit(step.rule, subject, asked)):
                    return hit
            elif not holds:
                if step.skip_to < 0:
                    return None
                at = step.skip_to
        return None

    def _hit(self, rule: Rule, subject: bytes, asked: Asked) -> Hit | None:
        """The first pattern of a rule matched: does the second allow it, and what is the text?"""
        if rule.replacement is None:
            return None
        try:
            second = rule.statement.second
            if second and rule.second and rule.second.matches(subject) is second.negated:
                return None
            if not rule.replacement.highest or rule.pattern is None:
                return Hit(self, rule, rule.replacement.text())
            groups = rule.pattern.captures(subject)
            return Hit(self, rule, rule.replacement.text(groups)) if groups else None
        except NoAnswer as why:
            asked.gave_up(self, rule, str(why))
            return None


def load(text: bytes, name: str, kind: Kind = "pcre") -> Table:
    """Any bytes -> a table.  `name` is for messages: the file's."""
    warnings: list[str] = []
    rules: list[Rule] = []
    nesting = 0

    def warn(line: int, message: str) -> None:
        warnings.append(f"{name}:{line}: {message}")

    def open_ifs() -> int:
        return nesting

    for statement in statements(text, kind, open_ifs, warn):
        try:
            rules.append(_compiled(statement, kind, warn))
        except (PatternTrouble, BadReplacement) as why:
            warn(statement.line, f"{why}: skipping this rule")
            continue
        nesting += {"if": 1, "endif": -1, "rule": 0}[statement.word]
    for rule in _unclosed(rules):
        warn(rule.line, "IF has no matching ENDIF: where it does not match, the rest of the table is not asked")
    names = frozenset(label for rule in rules if (label := anchor.name(rule.prefix)))
    everything = _program(rules, lambda rule: True)
    unnamed = _program(rules, lambda rule: not anchor.name(rule.prefix))
    return Table(name, kind, tuple(rules), tuple(warnings), everything, unnamed, names)


def _compiled(statement: Statement, kind: Kind, warn: Callable[[int, str], None]) -> Rule:
    """Raises PatternTrouble or BadReplacement.  In Postfix's order: the replacement is looked at first."""
    first, second = statement.first, statement.second
    if first is None:
        return Rule(statement, None)
    replacement = parse(statement.text) if statement.word == "rule" else None
    if replacement and replacement.highest and first.negated:
        raise BadReplacement("$number found in negative match replacement text")
    pattern = _pattern(first, kind)
    if b"X" in first.flags:
        warn(statement.line, 'ignoring obsolete regexp option "X"')
    if replacement and replacement.highest > pattern.groups:
        raise BadReplacement(f'out of range replacement index "{replacement.highest}"')
    other = _pattern(second, kind) if second else None
    prefix = b"" if first.negated else anchor.prefix(pattern.source, pattern.flags)
    if replacement and not replacement.highest:
        text = replacement.text()
        if text and (why := remark(*split(text), None)):
            warn(statement.line, why)
    return Rule(statement, pattern, other if isinstance(other, PosixPattern) else None, replacement, prefix)


def _pattern(expression: Expression, kind: Kind) -> Pattern | PosixPattern:
    flags = expression.flags
    if kind == "regexp":
        return PosixPattern(
            expression.source,
            extended=flags.count(b"x") % 2 == 0,
            caseless=flags.count(b"i") % 2 == 0,
            newline=flags.count(b"m") % 2 == 1,
        )
    return Pattern(expression.source, options(flags))


def _unclosed(rules: list[Rule]) -> list[Rule]:
    open_ifs: list[Rule] = []
    for rule in rules:
        if rule.statement.word == "if":
            open_ifs.append(rule)
        elif rule.statement.word == "endif":
            open_ifs.pop()
    return open_ifs


def _may_match(rule: Rule, name: bytes) -> bool:
    label = anchor.name(rule.prefix)
    return label == name if label else name.startswith(rule.prefix)


def _program(rules: Sequence[Rule], keep: Callable[[Rule], bool]) -> Program:
    """The rules worth asking, with where each `if` goes on.  A block whose `if` cannot hold is left out."""
    steps: list[Rule] = []
    targets: dict[int, int] = {}
    open_ifs: list[int] = []
    left_out = 0
    for rule in rules:
        word = rule.statement.word
        if left_out:
            left_out += {"if": 1, "endif": -1, "rule": 0}[word]
        elif word == "endif":
            targets[open_ifs.pop()] = len(steps)
        elif not keep(rule):
            left_out = int(word == "if")
        else:
            if word == "if":
                open_ifs.append(len(steps))
            steps.append(rule)
    return tuple(_step(rule, targets.get(n, -1)) for n, rule in enumerate(steps))


def _step(rule: Rule, skip_to: int) -> Step:
    first, pattern = rule.statement.first, rule.pattern
    assert first is not None
    assert pattern is not None  # endif is no step
    return Step(rule, pattern.matches, first.negated, rule.statement.word == "rule", rule.prefix[:256], skip_to)


EMPTY: Final = load(b"", "")
"""No table."""

"""Pure.  trouble: what can go wrong with a check, and whose fault it is.

    EngineAway     the engine is not there: `on_error` decides
    Unscannable    the engine is there and this message made it fail:
                   `on_unscannable` decides
      Lost         it hung or went away over it: an engine that does so again
                   and again may be away itself (`breaker`)
    TooLarge       more than the engine looks at: skipped, nothing decides
    RulesTrouble   a rule file of yara or builtin that cannot be used.  At
                   start and on reload, never for a message

All but the last are raised by engines and end in virus.py and spam.py, which
make findings of them.  The text of each is one line for the log.
"""

from collections.abc import Sequence


class EngineAway(Exception):
    """Nobody listens, or what answers is no such engine."""


class Unscannable(Exception):
    """It took the message and then failed, hung or went away."""


class Lost(Unscannable):
    """It took the message and said nothing more."""


class TooLarge(Exception):
    """It does not look at messages of this size."""


class RulesTrouble(ValueError):
    """`errors` are sentences: "spam.toml: rule SPF_FAIL: ..."; every one of the file at once."""

    def __init__(self, errors: Sequence[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = tuple(errors)

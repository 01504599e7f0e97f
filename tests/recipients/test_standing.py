"""What is known of an address, and what it is worth at its age."""

import itertools

import pytest

from backupmx.recipients.standing import (
    NO_KEPT,
    YES_KEPT,
    Decision,
    Knowledge,
    ListState,
    Standing,
    Taught,
    decide,
    judge,
)

NOW = 1_800_000_000.0
WEEK = 7 * 86400.0
FRESH, STALE, NEVER = (
    ListState("ldap", NOW - 60, WEEK),
    ListState("ldap", NOW - 8 * 86400, WEEK),
    ListState("ldap", None, WEEK),
)
FILE = ListState("file", 0.0, 0.0)
YES, NO = Taught(True, NOW - 86400), Taught(False, NOW - 3600, "550 5.1.1 no")
OLD_YES, OLD_NO = Taught(True, NOW - YES_KEPT - 1), Taught(False, NOW - NO_KEPT - 1)


@pytest.mark.parametrize(
    ("lists", "listed", "taught", "asks", "expected"),
    [
        ([STALE], "ldap", None, False, Standing.LISTED),
        ([STALE], "", YES, False, Standing.TAUGHT),
        ([FRESH], "", YES, False, Standing.ABSENT),
        ([FRESH], "", Taught(True, NOW - 30), False, Standing.TAUGHT),
        ([FRESH], "", None, True, Standing.ABSENT),
        ([FRESH], "", OLD_YES, True, Standing.ABSENT),
        ([FILE], "", None, False, Standing.ABSENT),
        ([FILE, STALE], "", None, False, Standing.UNSURE),
        ([NEVER], "", None, False, Standing.UNSURE),
        ([STALE], "", NO, False, Standing.UNSURE),
        ([], "", NO, True, Standing.UNTAUGHT),
        ([], "", OLD_NO, True, Standing.UNSURE),
        ([], "", OLD_YES, False, Standing.UNLISTED),
        ([], "", None, False, Standing.UNLISTED),
    ],
)
def test_standing(lists: list[ListState], listed: str, taught: Taught | None, asks: bool, expected: Standing) -> None:
    """A yes holds at any age of its list, a no only while every list is fresh; the newer of two words counts."""
    assert judge(lists, listed, taught, asks, NOW).standing is expected


def test_it_says_who_and_when() -> None:
    """The list that decided, and its age."""
    assert judge([FRESH], "", None, False, NOW) == Knowledge(Standing.ABSENT, "ldap", NOW - 60)
    assert judge([], "", NO, True, NOW) == Knowledge(Standing.UNTAUGHT, "the primary", NOW - 3600, "550 5.1.1 no")


@pytest.mark.parametrize("can_ask", [False, True])
def test_decisions(can_ask: bool) -> None:
    """Who exists is taken whatever the policy; "cannot tell" is never 550."""
    for standing, unknown in itertools.product(Standing, ("auto", "accept", "defer", "reject")):
        decision = decide(standing, unknown, can_ask)
        if standing.exists:
            assert decision is Decision.ACCEPT
        elif unknown != "auto":
            assert decision == unknown
        elif standing is Standing.UNSURE:
            assert decision is (Decision.ASK if can_ask else Decision.DEFER)
        elif standing is Standing.UNTAUGHT:
            assert decision is (Decision.ASK if can_ask else Decision.REJECT)
        else:
            assert decision is (Decision.ACCEPT if standing is Standing.UNLISTED else Decision.REJECT)

"""Pure.  schedule: when to try again, and when to give up.

As Postfix's qmgr: the next wait is the age of the message, but at least
retry_min and at most retry_max; so tries come at 0, 5, 10, 20, 40 minutes and
then every hour.  A little is added or taken by chance, so that what came
together does not come again together.

RFC 5321 4.5.4.1: two tries in the first hour, whatever retry_min says; give up
after 4 to 5 days at the earliest, which is the default of `lifetime`.
"""

HOUR = 3600.0
SPREAD = 0.1


def next_attempt(
    arrived: float, now: float, attempts: int, *, retry_min: float, retry_max: float, lifetime: float, chance: float
) -> float:
    """When mail that was just deferred is due again.  `attempts`: those before this one; `chance`: 0 to 1."""
    age = max(0.0, now - arrived)
    wait = min(max(age, retry_min), retry_max) * (1 + SPREAD * (2 * chance - 1))
    due = now + wait
    if attempts == 0 and age < HOUR:
        due = min(due, max(now, arrived + HOUR))
    # Its last try is when it expires, not up to an hour later.
    return max(now + 1, min(due, arrived + lifetime))


def farthest(*, retry_min: float, retry_max: float) -> float:
    """No wait is longer than so many seconds: a time beyond is that of a clock which was ahead."""
    return max(HOUR, retry_min, retry_max) * (1 + SPREAD)


def expired(arrived: float, now: float, lifetime: float) -> bool:
    return now - arrived >= lifetime


def probe_wait(failures: int, *, probe_min: float, probe_max: float, chance: float) -> float:
    """How long a next hop rests that was found down `failures` times in a row."""
    wait = min(probe_max, probe_min * 2.0 ** min(failures - 1, 30))
    return wait * (1 + SPREAD * (2 * chance - 1))

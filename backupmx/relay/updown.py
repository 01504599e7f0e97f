"""Pure.  updown: what an answer, or none, makes of a next hop's state.

    unknown ──answered──► up ◄──── the last of `up_after` in a row ────┐
       │                  │                                            │
       └────failed────► down ──answered──► down, answering again ──────┘
                          ▲                        │
                          └────────failed──────────┘

Down at the first failure (no host of it took a connection), up when it has
answered `up_after` times in a row, each at least APART seconds after the one
before: a primary that reboots in a loop, or takes one connection in two, stays
down for those who ask (route/primaries.py).  Its mail does not wait for that: it
begins to go out with the first answer, slowly (ramp.py).

The intervals between probes grow through such a time: only `up` ends the series.
A HopState's `probe_at` is when the next answer counts, too.
"""

from dataclasses import replace

from backupmx.queue.entry import HopState
from backupmx.relay import schedule
from backupmx.relay.settings import RelaySettings

APART = 5.0
"""Seconds between two answers that count; and between the probes that ask for them."""


def unknown(next_hop: str) -> HopState:
    return HopState(next_hop, None, 0.0, "", 0.0, 0)


def answers(state: HopState) -> bool:
    """At the last look it took a connection."""
    return state.up is True or (state.up is False and state.successes > 0)


def rests(state: HopState, now: float) -> bool:
    """Down, silent, and its next probe is not due."""
    return state.up is False and not state.successes and state.probe_at > now


def answered(state: HopState, now: float, settings: RelaySettings) -> HopState:
    """It took a connection, or a message."""
    if state.up is True or (state.successes and now < state.probe_at):
        return state
    successes = state.successes + 1
    if state.up is None or successes >= settings.up_after:
        return replace(state, up=True, since=now, error="", probe_at=0.0, failures=0, successes=0)
    return replace(state, successes=successes, probe_at=now + APART)


def failed(state: HopState, why: str, now: float, settings: RelaySettings, chance: float) -> HopState:
    """No host of it took a connection."""
    was_down = state.up is False
    failures = state.failures + 1 if was_down else 1
    wait = schedule.probe_wait(
        failures, probe_min=settings.probe_min, probe_max=settings.probe_max, chance=chance
    )  # fmt: skip
    since = state.since if was_down else now
    return replace(
        state, up=False, since=since, error=why, probe_at=now + wait, failures=failures, successes=0
    )  # fmt: skip

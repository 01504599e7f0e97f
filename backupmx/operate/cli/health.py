"""health: what `status` says of alarms, engines and verdicts, from the tally.  Pure.

summary(tally)      what --json prints
lines(tally, now)   the same for a person
"""

from collections.abc import Iterator

from backupmx.journal import VERDICTS
from backupmx.operate.measures import ago
from backupmx.operate.report.tally import Engine, Tally


def summary(tally: Tally) -> dict[str, object]:
    """ "alarms", "engines", "verdicts", and since when verdicts are counted."""
    return {
        "alarms": [
            {
                "key": one.alarm.key, "since": int(one.alarm.since), "text": one.alarm.text,
                "processes": list(one.processes),
            }
            for one in tally.alarms
        ],
        "engines": [
            {
                "engine": engine.name, "state": _word(engine), "since": int(engine.since), "why": engine.why,
                "away_for": engine.away, "asked_by": engine.asked_by,
            }
            for engine in tally.engines
        ],
        "verdicts": verdicts(tally),
        "counting_since": int(tally.began) or None,
    }  # fmt: skip


def verdicts(tally: Tally) -> dict[str, int]:
    """How many messages had which fate, the most frequent first."""
    counts = sorted(tally.named(VERDICTS), key=lambda count: -count.value)
    return {count.labels["fate"]: count.value for count in counts}


def lines(tally: Tally, now: float) -> Iterator[str]:
    """Alarms first."""
    for one in tally.alarms:
        yield f"ALARM for {ago(max(0.0, now - one.alarm.since))}: {one.alarm.text} [{', '.join(one.processes)}]"
    for engine in tally.engines:
        some = f" for {engine.away} of {engine.asked_by} processes" if 0 < engine.away < engine.asked_by else ""
        why = f" ({engine.why})" if engine.why else ""
        kind = "" if " " in engine.name else "engine "  # "DNS server 192.0.2.53", "milter rspamd" say what they are
        yield f"{kind}{engine.name}: {_word(engine)}{some} for {ago(max(0.0, now - engine.since))}{why}"
    if counted := verdicts(tally):
        told = ", ".join(f"{count} {fate}" for fate, count in counted.items())
        yield f"verdicts: {told}; counted for {ago(max(0.0, now - tally.began))}"
    if tally.trouble:
        yield f"note: {tally.trouble}"


def _word(engine: Engine) -> str:
    return "away" if engine.away else "up"

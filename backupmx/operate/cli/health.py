"""health: what `status` says of alarms, engines and verdicts to a person, from the tally.  Pure."""

from collections.abc import Iterator

from backupmx.operate.measures import ago
from backupmx.operate.report import glance
from backupmx.operate.report.tally import Tally


def lines(tally: Tally, now: float) -> Iterator[str]:
    """Alarms first."""
    for alarm in glance.alarms(tally):
        yield f"ALARM for {ago(max(0.0, now - alarm.since))}: {alarm.text} [{', '.join(alarm.processes)}]"
    for one in glance.engines(tally):
        some = f" for {one.away_for} of {one.asked_by} processes" if 0 < one.away_for < one.asked_by else ""
        why = f" ({one.why})" if one.why else ""
        kind = "" if " " in one.engine else "engine "  # "DNS server 192.0.2.53", "milter rspamd" say what they are
        yield f"{kind}{one.engine}: {one.state}{some} for {ago(max(0.0, now - one.since))}{why}"
    if counted := glance.verdicts(tally):
        told = ", ".join(f"{count} {fate}" for fate, count in counted.items())
        yield f"verdicts: {told}; counted for {ago(max(0.0, now - tally.began))}"
    if tally.trouble:
        yield f"note: {tally.trouble}"

"""Pure.  words: what an operator reads first: one sentence about what is so, one about what waits."""

from backupmx.operate.measures import ago
from backupmx.operate.page.facts import Status
from backupmx.operate.page.template import host, many


def headline(status: Status) -> str:
    """The gravest thing that is so."""
    outages = [hop for hop in status.next_hops if hop.state == "down"]
    down = [host(hop.next_hop) for hop in outages]
    away = [engine.engine for engine in status.engines if engine.state != "up"]
    if not status.running:
        return "The appliance does not run."
    if status.disk_free < status.min_free:
        return "The disk is full: new mail is put off."
    if len(down) == 1 and outages[0].since:
        return f"{down[0]} has been down for {ago(max(0, status.now - outages[0].since))}."
    if down:
        return f"{_list(down)} are down."
    if away:
        return f"{_list(away)} {'does' if len(away) == 1 else 'do'} not answer."
    if status.alarms:
        return f"{many(len(status.alarms), 'alarm')}."
    if any(hop.refused for hop in status.next_hops):
        return "Refused mail waits for a decision."
    return status.trouble or "All is well."


def summary(status: Status) -> str:
    """How much waits, and since when."""
    waiting = sum(hop.waiting for hop in status.next_hops)
    if not waiting:
        return "Nothing waits."
    oldest = min((hop.oldest for hop in status.next_hops if hop.oldest), default=status.now)
    return f"{waiting:,} recipient{'s wait' if waiting != 1 else ' waits'}; the oldest for {ago(status.now - oldest)}."


def _list(names: list[str]) -> str:
    if len(names) > 3:
        return f"{len(names)} of them"
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))

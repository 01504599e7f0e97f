"""page: what an operator sees and does in a browser, and the same as JSON; /metrics; /healthz.

    browser, curl, Prometheus ──HTTP──► listen ─► guard ─┬─► pages   HTML, for people
                                                         ├─► api     JSON, for programs
                                                         └─► metrics, healthz
    pages, api ──read──► sight ─► queue, tally, recipients   what is so now
               ──do────► deeds ─► desk, groups               what an operator may do; the commands do the same

Reading order: process (its life), listen (who gets a connection), guard (who gets an answer),
tokens (who is who), sight and deeds, then pages and api.

A process of its own: when it dies, hangs or is fed rubbish the mail goes on, and the supervisor
starts another.  It has nothing that a command has not: the same user, the same functions.

Never open.  Whoever has no token reads nothing, on loopback and on a Unix socket too: other
users of the machine are there, and so is every web site in the operator's browser (DNS
rebinding), which is why Host and Origin are checked before anything else.

It wants the extra backupmx[page]; without it, and with an empty admin.listen, there is none.
Nothing of it is imported by the other processes.
"""

from importlib.util import find_spec

NEEDS = ("starlette", "uvicorn", "jinja2")


def missing() -> list[str]:
    """Libraries of the extra that are not here."""
    return [name for name in NEEDS if find_spec(name) is None]

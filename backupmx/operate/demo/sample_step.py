"""sample_step: one sample through the appliance, and everything it left behind.

What is compared, and where each fact comes from:

    the reply      the SMTP dialogue
    findings       the appliance's log, events "found"
    rules          `backupmx explain --json`; those that Postfix logs, in the log
    verdict        the log's "judged", or "delivered"
    arrival        what the primary holds, byte for byte

`explain` is asked about the same octets from the same client: its verdict and
findings must be those of the appliance that really took the message.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from backupmx.operate.demo import arrival, client, samples, served
from backupmx.operate.demo.primary import Primary, Received
from backupmx.operate.demo.samples import Rule, Sample
from backupmx.operate.demo.scene import DOOR, Scene
from backupmx.operate.demo.served import Event, Served
from backupmx.operate.demo.step import Step, Trouble

OWN = ("Received", "Authentication-Results")
"""What stands on top of a message at the primary: the shipped rules remove our X-Spam-* and X-Virus-*."""

_ENDS = ("delivered", "deferred", "kept_refused", "bounced", "judged")

Hit = tuple[str, str, str]
"""header_checks:LINE, action, header name."""

Explained = Mapping[str, Any]
"""What `backupmx explain --json` prints."""


def act(sample: Sample, scene: Scene, appliance: Served, primary: Primary, step: Step) -> None:
    """Send it, and compare."""
    stored = scene.folder / "samples" / sample.file
    content = samples.content(sample, stored.read_bytes())
    answer = client.send(scene.port, sample.sender, [samples.OWNER], content)
    step.tell("sent", f"{len(content):,} octets, <{sample.sender}> to <{samples.OWNER}>")
    step.tell("reply", str(answer))
    step.expect("the reply", 250, answer.code)
    if not answer.queue_id:
        raise Trouble("the reply names no queue id")
    end = appliance.wait_for_event(answer.queue_id, *_ENDS)
    events = [e for e in appliance.events if e.get("queue_id") == answer.queue_id]
    explained = explain(sample, content, scene)
    compare_findings(sample, events, explained, step)
    compare_rules(sample, events, explained, scene.header_checks.read_text("utf-8"), step)
    compare_verdict(sample, end, explained, step)
    compare_arrival(sample, content, received(primary, answer.queue_id), step)


def compare_findings(sample: Sample, events: list[Event], explained: Explained, step: Step) -> None:
    found = {e["check"]: e for e in events if e["event"] == "found"}
    for check, event in found.items():
        words = [w for w in dict.fromkeys((event["seen"], event["detail"])) if w != "neutral"]  # neutral: facts alone
        step.tell("finding", f"{check}: {', '.join(words)} ({event['engine']})")
    skipped = {check for check, event in found.items() if event["seen"] == "skipped"}
    skipped |= {f["check"] for f in explained["findings"] if f["seen"] == "skipped"}
    same = {f["check"]: f["seen"] for f in explained["findings"] if f["check"] not in skipped}
    theirs = {check: event["seen"] for check, event in found.items() if check not in skipped}
    step.expect("findings of backupmx explain", theirs, same)
    if sample.seen:
        step.expect("findings", dict(sample.seen), {c: found[c]["seen"] for c in sample.seen if c in found})
        results = [f"{check}={event['detail'].partition(' ')[0]}" for check, event in found.items()]
        step.expect("results not found", [], [r for r in sample.results if r not in results])
    else:
        step.tell("finding", "none: a rule had settled it, no check was asked")
        step.expect("findings", [], sorted(found))


def compare_rules(sample: Sample, events: list[Event], explained: Explained, table: str, step: Step) -> None:
    """Each rule by its line in the file, on the client's headers and on the fields our checks added."""
    theirs, ours = _hits(explained["rules"]), _hits(explained["rules_on_ours"])
    _tell_rules(theirs, "sent by the client", step)
    _tell_rules(ours, "added by our checks", step)
    step.expect("rules on the client's headers", [_hit(rule, table) for rule in sample.rules], theirs)
    step.expect("rules on our own fields", [_hit(rule, table) for rule in sample.own_rules], ours)
    logged = _hits([e for e in events if e["event"] == "ruled"])
    step.expect("rules in the log", [hit for hit in (*theirs, *ours) if hit[1] != "IGNORE"], logged)


def compare_verdict(sample: Sample, end: Event, explained: Explained, step: Step) -> None:
    verdict = "accept" if end["event"] == "delivered" else str(end.get("fate", end["event"]))
    step.tell("verdict", f"{verdict} ({in_short(end['reason'])})")
    step.expect("the verdict", "accept" if sample.delivered else "discard", verdict)
    step.expect("the verdict of backupmx explain", verdict, explained["action"])


def compare_arrival(sample: Sample, content: bytes, arrived: list[Received], step: Step) -> None:
    step.expect("messages at the primary", int(sample.delivered), len(arrived))
    if not arrived:
        step.tell("primary", "received nothing")
        return
    message = arrived[0].content
    results = arrival.value_of(message, "Authentication-Results")
    removed = [rule.header for rule in sample.rules]
    step.tell("primary", f"received {len(message):,} octets; Authentication-Results: {results}")
    step.expect("results missing in it", [], [r for r in sample.results if r not in results])
    step.expect("recipients", (samples.OWNER,), arrived[0].recipients)
    step.expect("differences", [], arrival.differences(content, message, removed=removed, own=OWN))
    less = f", less {', '.join(removed)}" if removed else ""
    step.tell("", f"every byte as sent{less}, below our {' and '.join(OWN)}")


def received(primary: Primary, queue_id: str) -> list[Received]:
    """What a primary has of a message of ours: our Received: names it."""
    mark = f"id {queue_id}"
    return [m for m in primary.received if mark in arrival.value_of(m.content, "Received")]


def explain(sample: Sample, content: bytes, scene: Scene) -> Explained:
    """What `explain` says of the octets we sent, with the demo's own configuration.  Raises Trouble."""
    sent = scene.folder / "sent" / sample.file
    sent.parent.mkdir(exist_ok=True)
    sent.write_bytes(content)
    who = ("--client", DOOR, "--helo", client.HELO, "--from", sample.sender, "--to", samples.OWNER)
    ran = served.run("explain", str(sent), *who, "--json", config=scene.config)
    if ran.status != 0 or len(ran.objects()) != 1:
        raise Trouble(f"explain: status {ran.status}: {ran.err.strip()}")
    return ran.objects()[0]


def in_short(reason: str) -> str:
    """Tables by their file names alone: the demo's folder says nothing to the reader."""
    return re.sub(r"\S+/(header_checks:\d+)", r"\1", reason)


def _hits(decisions: Sequence[Mapping[str, Any]]) -> list[Hit]:
    """From explain's decisions ("table", "line") and the log's ("rule")."""
    rules = [str(d.get("rule") or f"{d.get('table')}:{d.get('line')}") for d in decisions]
    return [
        (in_short(rule), d["action"].upper(), d["header"].partition(":")[0])
        for rule, d in zip(rules, decisions, strict=True)
    ]


def _hit(rule: Rule, table: str) -> Hit:
    return f"header_checks:{samples.line_of(table, rule.pattern)}", rule.action, rule.header


def _tell_rules(hits: list[Hit], whose: str, step: Step) -> None:
    for action in dict.fromkeys(hit[1] for hit in hits):
        lines = [(rule.rpartition(":")[2], header) for rule, done, header in hits if done == action]
        headers = ", ".join(f"{header} (line {line})" for line, header in lines)
        step.tell("rules", f"{action} {headers}, {whose}")

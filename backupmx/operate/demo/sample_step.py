"""sample_step: one sample through the appliance, and everything it left behind.

What is compared, and where each fact comes from:

    the reply      the SMTP dialogue
    findings       the appliance's log, events "found"
    rules          `backupmx replay-headers --json` for the client's headers,
                   the log's "ruled" for the fields our checks added
    verdict        the log's "judged", or "delivered"
    arrival        what the primary holds, byte for byte
"""

import re

from backupmx.operate.demo import arrival, client, samples, served
from backupmx.operate.demo.primary import Primary, Received
from backupmx.operate.demo.samples import Rule, Sample
from backupmx.operate.demo.scene import Scene
from backupmx.operate.demo.served import Event, Served
from backupmx.operate.demo.step import Step, Trouble

OWN = ("Received", "Authentication-Results")
"""What stands on top of a message at the primary: the shipped rules remove our X-Spam-* and X-Virus-*."""

_ENDS = ("delivered", "deferred", "kept_refused", "bounced", "judged")

Hit = tuple[str, str, str]
"""header_checks:LINE, action, header name."""


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
    compare_findings(sample, events, step)
    compare_rules(sample, _replayed(sample, scene), events, scene.header_checks.read_text("utf-8"), step)
    compare_verdict(sample, end, step)
    compare_arrival(sample, content, received(primary, answer.queue_id), step)


def compare_findings(sample: Sample, events: list[Event], step: Step) -> None:
    found = {e["check"]: e for e in events if e["event"] == "found"}
    for check, event in found.items():
        words = [w for w in dict.fromkeys((event["seen"], event["detail"])) if w != "neutral"]  # neutral: facts alone
        step.tell("finding", f"{check}: {', '.join(words)} ({event['engine']})")
    if sample.seen:
        step.expect("findings", dict(sample.seen), {c: found[c]["seen"] for c in sample.seen if c in found})
        results = [f"{check}={event['detail'].partition(' ')[0]}" for check, event in found.items()]
        step.expect("results not found", [], [r for r in sample.results if r not in results])
    else:
        step.tell("finding", "none: a rule had settled it, no check was asked")
        step.expect("findings", [], sorted(found))


def compare_rules(sample: Sample, replayed: list[Hit], events: list[Event], table: str, step: Step) -> None:
    """The client's headers by replay, our own fields by the log, each with the line of the file."""
    logged = [_as_hit(e["rule"], e["action"], e["header"]) for e in events if e["event"] == "ruled"]
    own = [hit for hit in logged if hit not in replayed]
    for rule, action, header in replayed:
        step.tell("rule", f"{rule} {action} {header}, sent by the client")
    for rule, action, header in own:
        step.tell("rule", f"{rule} {action} {header}, added by our check")
    step.expect("rules on the client's headers", [_hit(rule, table) for rule in sample.rules], replayed)
    step.expect("rules on our own fields", [_hit(sample.own_rule, table)] if sample.own_rule else [], own)


def compare_verdict(sample: Sample, end: Event, step: Step) -> None:
    verdict = "accept" if end["event"] == "delivered" else str(end.get("fate", end["event"]))
    step.tell("verdict", f"{verdict} ({in_short(end['reason'])})")
    step.expect("the verdict", "accept" if sample.delivered else "discard", verdict)


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


def _replayed(sample: Sample, scene: Scene) -> list[Hit]:
    """What `replay-headers` says of the file, with the demo's own configuration."""
    ran = served.run("replay-headers", str(scene.folder / "samples" / sample.file), "--json", config=scene.config)
    if ran.status != 0:
        raise Trouble(f"replay-headers: status {ran.status}: {ran.err.strip()}")
    decisions = [d for judged in ran.objects() for d in judged["decisions"]]
    return [_as_hit(f"{d['table']}:{d['line']}", d["action"], d["header"]) for d in decisions]


def _as_hit(rule: str, action: str, header: str) -> Hit:
    return in_short(rule), action.upper(), header.partition(":")[0]


def in_short(reason: str) -> str:
    """Tables by their file names alone: the demo's folder says nothing to the reader."""
    return re.sub(r"\S+/(header_checks:\d+)", r"\1", reason)


def _hit(rule: Rule, table: str) -> Hit:
    return f"header_checks:{samples.line_of(table, rule.pattern)}", rule.action, rule.header

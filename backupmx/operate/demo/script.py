"""script: the steps of the demo, in order.

1  the policy, written by `backupmx init` and found usable
2  the appliance answers; it refuses what is not ours
3  the samples, one step each
4  quarantine holds what was discarded
5  the primary goes down; mail is accepted, the other primary gets its own
6  the queue holds it, over a kill -9 of every process too
7  the primary comes back; `backupmx flush`; everything arrived, once
8  SIGTERM: a clean end, and no error in the log
"""

from collections.abc import Iterator
from typing import Any

from backupmx.operate.demo import arrival, client, sample_step, samples, served
from backupmx.operate.demo.primary import Primary
from backupmx.operate.demo.samples import NEIGHBOUR, OWNER, Sample
from backupmx.operate.demo.scene import Scene
from backupmx.operate.demo.served import Served
from backupmx.operate.demo.step import Planned, Step, Trouble

WAITING = 3
"""Mails for the primary that is down."""


class Script:
    """The acts.  `plan()` is their order; each compares through its Step."""

    def __init__(self, scene: Scene, appliance: Served, owner: Primary, neighbour: Primary) -> None:
        self._scene = scene
        self._appliance = appliance
        self._owner = owner
        self._neighbour = neighbour
        self._waiting: dict[str, bytes] = {}
        """Queue id -> what was sent, of mail for the primary that is down."""
        self._discarded: dict[str, str] = {}
        """Sender -> queue id, of what rests in quarantine."""

    def plan(self) -> list[Planned]:
        return [
            Planned("The shipped policy, written and checked", self._policy, needed=True),
            Planned("The appliance starts and greets", self._start, needed=True),
            Planned("At the door: what is not ours is refused", self._door),
            *(Planned(f"{sample.file}: {sample.about}", self._sample(sample)) for sample in samples.SAMPLES),
            Planned("Quarantine holds what was discarded", self._quarantine),
            Planned("Quarantine gives back what should not have been; a virus only by force", self._release),
            Planned("The primary goes down; mail is accepted all the same", self._away, needed=True),
            Planned("backupmx queue list: it waits, and why", self._queued),
            Planned("kill -9 of every process, and a new start: it still waits", self._power_cut, needed=True),
            Planned("The primary is back: backupmx flush", self._flush),
            Planned("Everything arrived, once, and the queue is empty", self._empty),
            Planned("SIGTERM: a clean end, no error in the log", self._end),
        ]

    # 1 the policy

    def _policy(self, step: Step) -> None:
        ran = served.run("init", str(self._scene.folder))
        step.expect("status of backupmx init", 0, ran.status)
        self._scene.dress()
        checked = served.run("check", "config", "--json", config=self._scene.config)
        errors = [error for answer in checked.objects() for error in answer["errors"]]
        step.expect("what check config cannot use", [], errors)
        step.expect("usable", [True], [answer["usable"] for answer in checked.objects()])
        step.tell("policy", f"{len(ran.out.splitlines())} files in {self._scene.folder}")
        routes = (f"{domain} -> 127.0.0.1:{port}" for domain, port in self._scene.primaries.items())
        step.tell("primaries", ", ".join(routes))

    # 2 the door

    def _start(self, step: Step) -> None:
        self._appliance.start()
        greeting = client.greeting(self._scene.port)
        step.tell("greeting", f"{greeting} (on 127.0.0.1:{self._scene.port})")
        step.expect("the greeting", (220, "mx2.example.net"), (greeting.code, greeting.text.partition(" ")[0]))

    def _door(self, step: Step) -> None:
        for recipient, expected in (("somebody@elsewhere.example", 554), ("nobody@example.jp", 550)):
            answer = client.send(self._scene.port, "sato@sender.example", [recipient], b"")
            step.tell("reply", str(answer))
            step.expect(f"reply to {recipient}", expected, answer.code)

    # 3 the samples

    def _sample(self, sample: Sample) -> Any:
        return lambda step: sample_step.act(sample, self._scene, self._appliance, self._owner, step)

    # 4 quarantine

    def _quarantine(self, step: Step) -> None:
        ran = served.run("quarantine", "list", "--json", config=self._scene.config)
        kept = ran.objects()
        for entry in kept:
            self._discarded[entry["sender"]] = entry["queue_id"]
            step.tell("kept", f"{entry['queue_id']} <{entry['sender']}>: {sample_step.in_short(entry['reason'])}")
        expected = sorted(s.sender for s in samples.SAMPLES if not s.delivered)
        step.expect("senders in quarantine", expected, sorted(e["sender"] for e in kept))
        delivered = sum(s.delivered for s in samples.SAMPLES)
        step.expect("messages at the primary so far", delivered, len(self._owner.received))

    def _release(self, step: Step) -> None:
        for file, status in (("flagged-elsewhere.eml", 0), ("eicar.eml", 1)):
            sample = next(s for s in samples.SAMPLES if s.file == file)
            queue_id = self._discarded.get(sample.sender, "none")
            ran = served.run("quarantine", "release", queue_id, config=self._scene.config)
            step.tell("refused" if ran.status else "released", sample_step.in_short((ran.out + ran.err).strip()))
            step.expect(f"status of quarantine release, {file}", status, ran.status)
            if status == ran.status == 0:
                self._appliance.wait_for_event(queue_id, "delivered")
            step.expect(f"{file} at the primary", 1 - status, len(sample_step.received(self._owner, queue_id)))

    # 5 and 6 the primary is down

    def _away(self, step: Step) -> None:
        self._owner.stop()
        step.tell("down", f"{self._owner.name}, the primary of example.jp, takes no connection")
        for number in range(1, WAITING + 1):
            answer = self._send(number, OWNER, step)
            self._waiting[answer.queue_id] = samples.note(number, OWNER)
        other = self._send(WAITING + 1, NEIGHBOUR, step)
        for queue_id in self._waiting:
            self._appliance.wait_for_event(queue_id, "queued")
        self._appliance.wait_for_event(other.queue_id, "delivered")
        step.expect("mail at the other primary", 1, len(sample_step.received(self._neighbour, other.queue_id)))
        step.tell("delivered", f"{other.queue_id} to {self._neighbour.name}: one primary down holds up no other")

    def _send(self, number: int, recipient: str, step: Step) -> client.Answer:
        answer = client.send(self._scene.port, "sato@sender.example", [recipient], samples.note(number, recipient))
        step.tell("reply", f"{answer} (for {recipient})")
        step.expect("the reply", 250, answer.code)
        if not answer.queue_id:
            raise Trouble("the reply names no queue id")
        return answer

    def _queue(self) -> list[dict[str, Any]]:
        ran = served.run("queue", "list", "--json", config=self._scene.config)
        if ran.status != 0:
            raise Trouble(f"queue list: status {ran.status}: {ran.err.strip()}")
        return ran.objects()

    def _queued(self, step: Step) -> None:
        entries = self._queue()
        for entry in entries:
            for waits in entry["recipients"]:
                why = waits["delay_reason"] or "its next hop is down"
                step.tell(entry["queue_name"], f"{entry['queue_id']} {waits['address']}: {why}")
        step.expect("ids in the queue", sorted(self._waiting), sorted(e["queue_id"] for e in entries))
        step.expect("recipients", [OWNER] * WAITING, [w["address"] for e in entries for w in e["recipients"]])

    def _power_cut(self, step: Step) -> None:
        self._appliance.kill()
        self._appliance.start()
        held = sorted(e["queue_id"] for e in self._queue())
        step.expect("ids in the queue", sorted(self._waiting), held)
        step.tell("queue", f"{len(held)} messages, each one that was answered 250")

    # 7 the primary is back

    def _flush(self, step: Step) -> None:
        self._owner.start()
        step.tell("up", f"{self._owner.name} again")
        ran = served.run("flush", "--json", config=self._scene.config)
        for counts in ran.objects():
            step.tell("flush", ", ".join(f"{name} {value}" for name, value in counts.items()))
            seen = {name: counts.get(name) for name in ("waiting", "delivered", "deferred", "refused")}
            step.expect("counts", {"waiting": WAITING, "delivered": WAITING, "deferred": 0, "refused": 0}, seen)
        step.expect("status of backupmx flush", 0, ran.status)

    def _empty(self, step: Step) -> None:
        step.expect("the queue", [], self._queue())
        for queue_id, sent in self._waiting.items():
            arrived = sample_step.received(self._owner, queue_id)
            step.expect(f"copies of {queue_id}", 1, len(arrived))
            for message in arrived:
                wrong = arrival.differences(sent, message.content, removed=(), own=sample_step.OWN)
                step.expect("differences", [], wrong)
        delivered = sum(s.delivered for s in samples.SAMPLES) + 1  # and the one that quarantine gave back
        step.expect("messages at the primary", delivered + len(self._waiting), len(self._owner.received))
        step.tell("queue", "empty")
        step.tell("primary", f"has all {len(self._waiting)}, each once, each byte as sent")

    # 8 the end

    def _end(self, step: Step) -> None:
        step.expect("exit status of backupmx serve", 0, self._appliance.stop())
        step.expect("errors in its log", [], list(self._errors()))
        step.tell("log", f"{len(self._appliance.events)} events, no error among them")

    def _errors(self) -> Iterator[str]:
        for event in self._appliance.events:
            if event["event"] in ("bug_line", "queue_trouble", "damaged", "died", "engine_down", "rule_failed"):
                yield str(event.get("why") or event.get("text") or event)
        yield from self._appliance.complaints

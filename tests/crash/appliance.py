"""appliance: the whole of it under load, and kill -9 of each of its processes at random moments.

A round is an appliance with two workers, senders who write down what they are told, and smtp-sink as the
primary.  In every second round the primary is away first, so that the kills fall into the flush.  Some of the
mail a rule discards: it must be in quarantine.

    worker, relay      started again by the supervisor
    supervisor, all    an operator starts the appliance again
    a command          queue hold, queue release, flush: killed somewhere between its start and its end
"""

import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.crash.examine import Examined
from tests.crash.result import Crash
from tests.journeys.appliance import Appliance, alive, environment, kill
from tests.journeys.patience import eventually
from tests.journeys.traffic import Traffic
from tests.neighbours.smtp_sink import SmtpSink, smtp_sink

RULES = r"/^Subject: traffic \d*7$/  DISCARD" + "\n"


def a_worker(mx: Appliance) -> None:
    kill(mx.child(random.choice(["worker 1", "worker 2"])))


def the_relay(mx: Appliance) -> None:
    kill(mx.child("relay"))


def the_supervisor(mx: Appliance) -> None:
    """Its children end their work and go; the next appliance waits for them."""
    assert mx.process is not None
    kill(mx.process.pid)
    mx.ends()
    mx.start()


def all_of_them(mx: Appliance) -> None:
    assert mx.process is not None
    victims = [mx.process.pid, *mx.children()]
    for pid in victims:
        kill(pid)
    mx.ends()
    eventually(lambda: not any(alive(pid) for pid in victims))
    mx.start()


def a_command(mx: Appliance) -> None:
    """Of an operator.  What it holds is released at the end of the round."""
    waiting = [entry["queue_id"] for entry in mx.queue()]
    one = random.choice(waiting) if waiting else "4hMhBL5kx5z000001"
    words = random.choice([["queue", "hold", one], ["queue", "release", one], ["queue", "retry", one], ["flush"]])
    command = [sys.executable, "-m", "backupmx", *words, "-c", str(mx.config)]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment()
    ) as process:
        time.sleep(random.uniform(0.2, 0.6))  # a moment of chance in its life, most of which is its start
        process.kill()


VICTIMS: tuple[Callable[[Appliance], None], ...] = (a_worker, the_relay, the_supervisor, all_of_them, a_command)


def appliance_kills(work: Path, *, rounds: int) -> Iterator[Crash]:
    for number in range(rounds):
        folder = work / f"round-{number}"
        folder.mkdir(parents=True)
        with smtp_sink(folder / "sink") as sink:
            yield from _round(folder, sink, away=number % 2 == 1)


def _round(folder: Path, sink: SmtpSink, away: bool) -> Iterator[Crash]:
    victims = random.sample(VICTIMS, len(VICTIMS))
    settings = {"smtp": {"workers": 2}, "queue": {"retry_min": "1s", "retry_max": "2s", "min_free": 0}}
    mx = Appliance(folder / "mx", settings, f"example.jp  smtp:[127.0.0.1]:{sink.port}\n", RULES).start()
    traffic = Traffic(mx.port)
    try:
        if away:
            sink.stop()
        traffic.start()
        if away:
            traffic.wait_for(300)
            sink.start()
            subprocess.run([sys.executable, "-m", "backupmx", "flush", "--no-wait", "-c", str(mx.config)], check=False,
                           stdout=subprocess.DEVNULL, env=environment())  # fmt: skip
        for victim in victims:
            traffic.wait_for(20 + random.randrange(60))
            victim(mx)
        traffic.wait_for(50)
        traffic.stop()
        found = _examined(mx, traffic, sink)
    finally:
        traffic._ending.set()
        if mx.process is not None:
            mx.kill_all()
    kind = "the primary returns" if away else "mail flows"
    for victim in victims[:-1]:
        yield Crash(f"kill -9 of a process, {kind}", victim.__name__, Examined(()))
    yield Crash(f"kill -9 of a process, {kind}", f"{folder.name}, {victims[-1].__name__}", found)


def _examined(mx: Appliance, traffic: Traffic, sink: SmtpSink) -> Examined:
    for entry in mx.queue():
        if entry["queue_name"] == "hold":
            mx.cli("queue", "release", entry["queue_id"])
    kept = {id for id in traffic.acked if id.endswith("7")}
    try:
        eventually(lambda: set(traffic.acked) - kept <= set(_copies(sink)), 60)
        mx.empty(30)
    except AssertionError:
        pass  # what is missing is told below
    copies = _copies(sink)
    wrongs = [f"{id} read 250 and is nowhere" for id in set(traffic.acked) - kept - set(copies)]
    wrongs += [f"{id} was refused and arrived" for id in set(copies) & traffic.refused]
    wrongs += [f"{id} was discarded by a rule and arrived" for id in set(copies) & kept]
    if (missing := len(kept) - len(mx.quarantine())) > 0:  # what was on its way at a kill may be there, too
        wrongs.append(f"{missing} messages are not in quarantine")
    check = mx.cli("queue", "check")
    if check.returncode:
        wrongs.append(f"queue check: {check.stdout[-300:]}{check.stderr[-300:]}")
    if "Traceback" in mx.log:
        wrongs.append("a traceback in the log")
    return Examined(tuple(wrongs), sum(n - 1 for n in copies.values()))


def _copies(sink: SmtpSink) -> Counter[str]:
    """Whole messages by subject; what a killed relay left unfinished is none."""
    return Counter(d.values("Subject")[0] for d in sink.messages() if d.raw.rstrip().endswith(b"-- the end"))

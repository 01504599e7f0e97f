"""run: the demo from the empty folder to the last line.

Whatever happens, a Ctrl-C and SIGTERM too, the appliance, the primaries and
the DNS server are stopped and the folder is removed (unless it is to be kept).
"""

import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from backupmx.operate.demo import samples, zones
from backupmx.operate.demo.primary import Primary
from backupmx.operate.demo.scene import PortTaken, Scene, free_port
from backupmx.operate.demo.screen import Screen
from backupmx.operate.demo.script import Script
from backupmx.operate.demo.served import Served
from backupmx.operate.demo.step import Planned, Step, Trouble

_LOG_TAIL = 12


def run(port: int, keep: bool, screen: Screen) -> int:
    """The exit status: 0 only when every step was as expected."""
    try:
        port = free_port(port)
    except PortTaken as trouble:
        screen.remark(f"backupmx demo: {trouble}")
        screen.closing(0, 1)
        return 1
    with _ended_by_sigterm(), ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="backupmx-demo-"))
        if not keep:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        script, appliance = _raise_curtain(folder, port, stack)
        screen.opening(f"backupmx demo: a secondary MX on 127.0.0.1:{port}, two primaries, a DNS server, in {folder}")
        plan = script.plan()
        right = play(plan, screen)
        if right < len(plan):
            for line in _tail(appliance):
                screen.remark(line)
        if keep:
            screen.remark(f"kept: {folder}")
    screen.closing(right, len(plan))
    return 0 if right == len(plan) else 1


def play(plan: list[Planned], screen: Screen) -> int:
    """Do the steps in order.  -> how many were as expected; after a needed one fails no more are tried."""
    right = 0
    for number, planned in enumerate(plan, 1):
        step = Step(planned.title)
        screen.begin(number, len(plan), step.title)
        try:
            planned.act(step)
        except (Trouble, OSError) as trouble:
            step.wrong.append(str(trouble))
        finally:
            screen.end(number, len(plan), step)
        right += step.ok
        if planned.needed and not step.ok:
            break
    return right


def _raise_curtain(folder: Path, port: int, stack: ExitStack) -> tuple[Script, Served]:
    """Everything around the appliance, started; the stack ends it."""
    dns = zones.Zones(zones.SHIPPED.read_text("utf-8"))
    dns.start()
    stack.callback(dns.stop)
    owner = Primary("primary1.example.net", free_port())
    owner.start()
    stack.callback(owner.stop)
    neighbour = Primary("primary2.example.net", free_port())
    neighbour.start()
    stack.callback(neighbour.stop)
    ports = {"example.jp": owner.port, "example.net": neighbour.port}
    scene = Scene(folder, port, ports, dns.server, samples.PEOPLE)
    appliance = Served(scene.config)
    stack.callback(appliance.kill)
    return Script(scene, appliance, owner, neighbour), appliance


def _tail(appliance: Served) -> Iterator[str]:
    """The end of the appliance's log, for whoever wants to know why."""
    if appliance.complaints or appliance.events:
        yield "the end of the appliance's log:"
    yield from (f"    {line}" for line in appliance.complaints[-_LOG_TAIL:])
    for event in appliance.events[-_LOG_TAIL:]:
        yield "    " + " ".join(f"{name}={value}" for name, value in event.items() if name not in ("time", "pid"))


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM is an orderly end too: nobody's child process may stay behind."""

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

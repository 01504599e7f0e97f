"""python -m tests.crash: every crash point there is, a table and JSON.

    python -m tests.crash [--every N] [--json FILE] [KIND …]

    KIND   power, forgetful, kill, faults, appliance, mutations      default: all of them
    N      only every N-th point of the first four, for a look in a minute

Status 0: nothing was lost, nothing was half, and every mutation was found.
"""

import argparse
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.crash.appliance import appliance_kills
from tests.crash.boundaries import kills, kills_in_a_crowd
from tests.crash.faults import faults
from tests.crash.mutations import MUTATIONS, Proof, prove
from tests.crash.power import forgetful_disks, power_cuts
from tests.crash.result import Crash, Tally, machine

SCRIPTED = ("evening", "morning", "inherited")
CROWDS = ("crowd", "pair")

Kind = Callable[[Path, int], Iterator[Crash]]


def power(work: Path, every: int) -> Iterator[Crash]:
    for story in (*SCRIPTED, *CROWDS):
        yield from power_cuts(story, work / story, every=every)


def forgetful(work: Path, every: int) -> Iterator[Crash]:
    yield from forgetful_disks("morning", work / "morning", every=5 * every)


def kill(work: Path, every: int) -> Iterator[Crash]:
    for story in SCRIPTED:
        yield from kills(story, work / story, every=every)
    for story in CROWDS:
        yield from kills_in_a_crowd(story, work / story, times=max(1, 200 // every), chance=random.Random())


def fault(work: Path, every: int) -> Iterator[Crash]:
    for story in SCRIPTED:
        yield from faults(story, work / story, every=every)


def appliance(work: Path, every: int) -> Iterator[Crash]:
    yield from appliance_kills(work, rounds=max(1, 25 // every))


KINDS: dict[str, Kind] = {
    "power": power, "forgetful": forgetful, "kill": kill, "faults": fault, "appliance": appliance,
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__.partition("\n")[0])
    parser.add_argument("kinds", nargs="*", metavar="KIND", default=[*KINDS, "mutations"])
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--json", type=Path, default=Path("crash.json"))
    options = parser.parse_args()
    print(f"{machine()}\n", flush=True)
    tally, work = Tally(), Path(tempfile.mkdtemp(prefix="backupmx-crash-"))
    for kind in [kind for kind in options.kinds if kind in KINDS]:
        for crash in tally.counting(KINDS[kind](work / kind, options.every)):
            _progress(tally, crash)
    proofs = mutations(work) if "mutations" in options.kinds else []
    print(f"\n\n{tally.table()}\n", flush=True)
    for proof in proofs:
        print(f"{'found' if proof.found else 'NOT FOUND'} after {proof.points}: {proof.line}")
    with options.json.open("w") as file:
        tally.write(file, [proof.line for proof in proofs])
    if tally.wrongs or any(proof.found is None for proof in proofs):
        print(f"what was left is in {work}")
        return 1
    shutil.rmtree(work)
    return 0


def _progress(tally: Tally, crash: Crash) -> None:
    for wrong in crash.found.wrongs:
        print(f"\nWRONG {crash.kind}: {crash.what}: {wrong}", flush=True)
    if tally.crashes % 100 == 0:
        print(f"\r{tally.crashes:,} crash points, {len(tally.wrongs)} wrong; {crash.kind}   ", end="", flush=True)


def mutations(work: Path) -> list[Proof]:
    proofs = []
    for number, mutation in enumerate(MUTATIONS):
        print(f"\rwithout a promise: {mutation.promise}{' ' * 30}", end="", flush=True)
        proofs.append(prove(mutation, work / f"mutation-{number}"))
    return proofs


if __name__ == "__main__":
    sys.exit(main())

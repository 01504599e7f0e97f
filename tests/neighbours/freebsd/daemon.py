#!/usr/bin/env python3
"""daemon(8), as far as rc.d/backupmx uses it: -f -H -o LOG -p PID -P OWN COMMAND…, in the background."""

import getopt
import os
import signal
import subprocess
import sys

options, command = getopt.getopt(sys.argv[1:], "fHo:p:P:")
given = dict(options)
assert {"-f", "-H"} <= set(given), sys.argv
if os.fork():
    os._exit(0)
os.setsid()
null = os.open("/dev/null", os.O_RDWR)
for descriptor in (0, 1, 2):
    os.dup2(null, descriptor)


def opened() -> int:
    return os.open(given["-o"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


log = opened()


def reopen(number: int, frame: object) -> None:
    os.dup2(opened(), log)


signal.signal(signal.SIGHUP, reopen)
with open(given["-P"], "w") as own:
    own.write(f"{os.getpid()}\n")
with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as child:
    with open(given["-p"], "w") as pid:
        pid.write(f"{child.pid}\n")
    assert child.stdout
    while data := os.read(child.stdout.fileno(), 65536):
        os.write(log, data)
for name in ("-p", "-P"):
    os.unlink(given[name])

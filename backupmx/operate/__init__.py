"""operate: the appliance as an operator meets it.

appliance   supervisor: sockets, children, signals (start, run, stop)
worker      one receiving process
courier     the relay process
page/       what an operator sees and does in a browser, the same as JSON, /metrics
desk        what is done to queued mail, by whichever of command line and page; groups: to refused mail
tally       what all processes counted; watch, alarms: who is told
demo        the whole job on one screen
cli/        the command line, one file a noun
"""

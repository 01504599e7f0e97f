"""operate: the appliance as an operator meets it.

appliance   supervisor: sockets, children, signals (start, run, stop)
worker      one receiving process
deliver     the relay process
demo        the whole job on one screen
cli/        the command line, one file a noun
"""

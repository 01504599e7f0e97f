"""serve: the processes of a running appliance.

appliance    the supervisor: sockets, children, signals (start, run, stop)
worker       a child that receives
courier      the child that relays
reload       what follows a SIGHUP, and what wants a restart
loop         how a child runs, and what it tells the supervisor

Made of policy (rules, maps and lists, read and read again), tables, sources (lists of
recipients), places (where all of it lies) and asking (primaries about recipients).
They stand on ports and activation (sockets), identity (the user), lock (one appliance
a queue), descriptors, notify (systemd).
"""

"""demo: the whole job on one screen, with the embedded defaults and no daemon.

A real `backupmx serve` runs as a process of its own on loopback, with the
shipped policy as `backupmx init` writes it.  Around it stands a small world:
two primaries, and a DNS server that knows the senders' domains.  The demo is
their client and their operator: it sends the samples by SMTP, reads the
appliance's log, asks `backupmx explain`, `queue list`, `flush` ... and
compares everything with what it expected, to the byte where that matters.

    run         from the empty folder to the last line
    script      the steps in order: read this first
    sample_step one sample through the appliance, compared
    scene       the folder, the configuration, the ports
    served      the appliance as a process: its log, its commands
    primary     a primary that keeps what it gets, and can be down
    client      the senders' mail server
    zones       a DNS server for one zone file
    samples     what is sent, and what should become of it            pure
    arrival     what a primary should have received, byte for byte    pure
    step        one step: what was seen, and what was not as expected
    screen      for a terminal, and for a pipe

A step that cannot fail shows nothing, so every line that says "ok" is a
comparison; tests/operate/test_demo_*.py turns each of them false once.
"""

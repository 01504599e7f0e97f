"""backupmx: the secondary MX that a domain can trust.

A domain lists this appliance in DNS behind its primary.  When the primary is
down, slow or in maintenance it takes the mail, checks it before it says 250,
applies the operator's header_checks, keeps it on disk and relays it by
transport.map once the primary is there.

A message's way, and the order to read the code in

    receive ──► admit ──► rules ──► check ──► rules ──► queue ──► relay
    socket      RCPT      client's  findings  added     250 here  primary

    mail/        the nouns: address, envelope, message, reply, verdict   pure
    receive/     intake.py:accept() tells the first half, final dot to reply
    rules/       tables x headers -> decisions -> verdict                pure
    check/       virus, spam, SPF, DKIM, DMARC: findings, never decisions
    queue/       entry.py: the states and the promise; sqlite.py keeps them
    relay/       attempt.py:attempt() tells the second half, claim to outcome
    route/       transport.map, next hops, the health of the primaries
    recipients/  who exists
    net/         the wire: dns, tls, the SMTP client
    operate/     the appliance (start, run, stop), the command line, the page, alarms

`config.py` is every setting with its sentence; `journal.py` is every event an
operator can see.  Imports go down only:

    operate -> receive, relay -> check, rules, recipients, queue -> route -> net -> mail

`receive` and `relay` are strangers: they are separate processes that meet in
the queue.  So are `check`, `rules`, `recipients` and `queue`.

What binds everything
    250 means it survives a power cut.  Nothing is removed before its outcome
    is committed (RFC 5321 section 4.2.5 and 6.1).
    Unknown trouble is temporary.  A 5xx is always a deliberate line of policy.
    The peer reads a bland sentence with our queue id; the log reads everything.
    Bytes, not text: a message no rule touched leaves as it came.

Ten words (RFC 5321 and Postfix)
    envelope     reverse-path, recipients and their ESMTP parameters
    content      what came between DATA and the dot: headers and body
    rule         one line of a header_checks table; it leads to a decision
    verdict      what is done with a message: accept, reject, defer, discard, hold ...
    finding      what one check saw, with the header fields it wants to add
    entry        one message in the queue and a record for each recipient
    next hop     where a recipient's mail goes: "smtp:[primary1.example.net]"
    claim        an entry's recipients for one next hop, leased to one attempt
    outcome      delivered, deferred, refused, bounced: one a recipient
    held         kept until an operator says more; refused: held with the primary's words
"""

__version__: str


def __getattr__(name: str) -> str:
    """The version, looked up when somebody asks: a command that does not would pay a tenth of its start for it."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        found = version("backupmx")
    except PackageNotFoundError:  # run from a checkout that was never installed
        found = "0"
    globals()[name] = found
    return found

"""intake: from the final dot to our reply, everything we do to a message, in order.

    1 trace    our own Received: goes on top; more than 50 of others: 554 5.4.6
    2 rules    header_checks and its sisters on what the client sent.  REJECT and
               DISCARD settle the fate: no check runs.  PASS and REDIRECT end
               this pass of the rules; our own checks still run.
    3 check    virus, spam, SPF, DKIM, DMARC at once, under one deadline.  They
               give findings.  An engine that is away: `on_error` decides.
    4 stamp    outside copies of what our checks say (X-Spam-*, X-Virus-*, our
               Authentication-Results) go; our own fields follow our Received.
    5 rules    milter_header_checks on each field that step 4 added: this is
               where our own X-Spam-Flag: YES is discarded.
    6 queue    put() returns when it survives a power cut.  Only now: 250.

Steps 2, 4 and 5 are pure; 3 asks engines and DNS; 6 writes.  Step 6 is
shielded: a client that hangs up while we commit does not undo the commit.

Trouble
    QueueFull, QueueTrouble   their own temporary reply; nothing was stored.
    anything else             a bug: the session turns it into 451 4.3.0.

A discarded message reads 250 like any other (header_checks(5)): the client
learns nothing.  It is kept in quarantine unless `rules.discard` says drop.

Standards: RFC 5321 4.4 (trace), 6.1 (responsibility), 6.3 (loops); RFC 8601.
"""

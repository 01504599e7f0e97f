"""check: what engines and DNS say of a message.  Findings, never decisions.

    finding       what one check saw, and the header fields it wants to add
    run           all checks at once, under one deadline
    consequence   what `on_error` makes of an engine that was away      pure
    stamp         outside copies off, our own fields on                 pure
    virus_clamd virus_yara spam_spamd spam_builtin spf dkim dmarc arc

A check never raises for what a message or an engine does: it returns a
finding.  That an engine is away and that this message made it fail are two
different outcomes, so that nobody switches the scanner off with a crafted mail.
"""

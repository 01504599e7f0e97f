"""check: what engines and DNS say of a message.  Findings, never decisions.

    finding       what one check saw, and the header fields it wants to add
    run           all checks at once, under one deadline; `build` makes them
    stamp         outside copies off, our own fields on                 pure
    consequence   what `on_error` makes of an engine that was away      pure
    trouble       what can go wrong with a check, and whose fault it is

    virus         virus_clamd (with virus_sessions), virus_yara (with parts, what it decodes): engines
    spam          spam_spamd, spam_rspamd, spam_builtin: engines; spam_rules: spam.toml
    milters       any milter, after these: milter_listed (one of them), milter_replay
                  (told event by event), milter_draft, milter_headers (its edits; pure), milter_macros
    breaker       an engine that is away is left alone                what stands
    remembered    the same message again                              before engines
    spf dkim dmarc arc
                  with signature and dkim_body (DKIM and ARC), dmarc_record and
                  author (DMARC)
    wire          one request to an engine on a socket, one answer
    field         how a header field of ours is written                 pure

A check never raises for what a message or an engine does: it returns a
finding.  That an engine is away and that this message made it fail are two
different outcomes, so that nobody switches the scanner off with a crafted mail.
"""

"""attempt: from a claim to its outcomes, everything that happens to mail on its way out.

    1 route     the next hop's hosts in order: [host] as it stands, a domain by
                its MX, several hops after one another (transport(5))
    2 deliver   one transaction for all recipients of the claim, over a
                connection that is kept: EHLO, STARTTLS if offered, MAIL, RCPT,
                DATA pipelined.  A broken STARTTLS is tried again in clear,
                within the same try (level `may`).
    3 judge     each recipient's reply becomes an outcome:
                2xx delivered; 4xx, no connection, silence: deferred;
                5xx: refused (held with the primary's words) or bounced, as
                `relay.on_refusal` says; too old: expired
    4 notice    what bounced or expired is told to a non-null sender: RFC 3464
    5 settle    outcomes and notice are one commit.  Until then the lease holds
                the recipients; after a crash they are tried again.

At least once: the primary sees a message twice only when its own 250 was lost
between it and us, or we died between its 250 and our commit.

Trouble
    HopDown         no host of the next hop took a connection: the whole next
                    hop rests until its probe is due, at the cost of this try.
    QueueTrouble    the outcome could not be written: the lease runs out and
                    the mail is tried again.  Nothing is lost.

Standards: RFC 5321 4.5.4.1 (retries), 5.1 (MX), 6.1 (notices), RFC 3464.
"""

"""policy: what we hold against a client, each point with its own switch of [smtp]; all are off by default.

    clients     one Clients a worker, one Visit a connection: session and service ask these, and nobody else here
    access      smtp.client_access: own allow and block lists, first match
    helo        how a client greets, and whether a sender's domain is a whole name           pure
    dnsbl       block and welcome lists in the DNS, with weights                             pure
    pregreet    the wait before the greeting, which bots do not stand
    acquainted  who stood it: clients.db, shared by the workers, kept over restarts

The DNS is asked while the client reads our greeting; what comes of it is said
at RCPT, as Postfix does (smtpd_delay_reject), so that the log has sender and
recipient, and the client's postmaster reads for which mail it was.
"""

"""queue: where accepted mail rests until the primary takes it.

    entry       the states, the promise, the Queue protocol: read this first
    sqlite      the queue of one machine: open_queue(), SqliteQueue
    quarantine  what a rule discarded and policy kept
    wake        a bell from whoever commits to whoever relays

    commit      one writer thread that commits whatever has gathered; reader: one that reads
    incoming    new entries             claims    leases on recipients
    outcomes    what became of them     orders    an operator's words, flush
    hops        next hops, reroute      listing   the queue a page at a time
    delays      senders told of late mail
    pauses      domains not relayed     facts     what every process shares
    refusals    what primaries refused  once      our own mail that is put once
    ledger      the account of all mail audit     its sum, and a message's life
    stock       messages read back, verified, counted
    parcel      a message outside the queue: export, import
    rows        an entry as the database keeps it                  pure
    bodies      large bodies as files beside the database
    schema      the file, its version, its errors; schema.sql: the tables

Nothing outside this folder knows that it is SQLite.
"""

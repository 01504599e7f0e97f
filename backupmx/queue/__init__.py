"""queue: where accepted mail rests until the primary takes it.

    entry       the states, the promise, the Queue protocol: read this first
    sqlite      the queue of one machine
    commit      one writer thread that commits whatever has gathered
    bodies      large bodies as files beside the database
    quarantine  what a rule discarded and policy kept
    schema.sql  the tables, versioned

Nothing outside this folder knows that it is SQLite.
"""

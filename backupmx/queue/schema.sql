-- The queue's tables, version 4 (PRAGMA user_version), as a new file gets them.  How a file of an older version
-- becomes one like it: from_1.sql and its sisters, listed in schema.py.

-- One message, written once.  Small columns come first, so that a listing never reads a body.
CREATE TABLE entry (
    key        INTEGER PRIMARY KEY,    -- ours alone; used anew when a message is gone, so nothing outside keeps it
    id         TEXT    NOT NULL UNIQUE,
    arrived    REAL    NOT NULL,       -- seconds since the epoch
    sender     TEXT    NOT NULL,
    size       INTEGER NOT NULL,       -- octets on the wire
    message_id TEXT    NOT NULL,
    reason     TEXT    NOT NULL,       -- why held or discarded: "header_checks:2: X-Spam-Flag: YES"
    body_type  TEXT    NOT NULL,       -- "", 7BIT, 8BITMIME
    smtputf8   INTEGER NOT NULL,
    ret        TEXT    NOT NULL,
    envid      TEXT    NOT NULL,
    client     TEXT,                   -- JSON: address, port, name, helo, protocol, [tls version, cipher, bits]
    vouched    INTEGER NOT NULL DEFAULT 0,  -- SPF or DKIM stands for the sender's domain: a notice may go there
    checksum   INTEGER NOT NULL,       -- CRC-32 of head and body
    path       TEXT,                   -- name in the body folder; NULL: the body is in this row
    start      INTEGER NOT NULL,       -- where the body begins in that file
    head       BLOB    NOT NULL,       -- logical headers, a line feed between them
    body       BLOB
);
CREATE UNIQUE INDEX entry_path ON entry (path) WHERE path IS NOT NULL;

-- One recipient of a message, as long as it waits.
CREATE TABLE recipient (
    entry        INTEGER NOT NULL,
    n            INTEGER NOT NULL,     -- the order of the original transaction
    hop          INTEGER NOT NULL,     -- below zero: that of a paused domain
    due          REAL,                 -- when it may be claimed: next_attempt, or the end of its lease; NULL: not by itself;
                                       -- below zero: now, in the second row (turns.py)
    lease        REAL,                 -- an attempt has it until then
    state        TEXT    NOT NULL,     -- queued deferred held refused discarded unreturned
    attempts     INTEGER NOT NULL,
    next_attempt REAL    NOT NULL,     -- of what is in quarantine: since when
    address      TEXT    NOT NULL,
    domain       TEXT    NOT NULL,     -- of the address, folded
    notify       TEXT    NOT NULL,
    orcpt        TEXT    NOT NULL,
    reason       TEXT    NOT NULL,     -- of the last try
    fixed        INTEGER NOT NULL DEFAULT 0,  -- a rule chose the next hop (FILTER), not transport.map: reroute leaves it
    many         INTEGER NOT NULL DEFAULT 1,  -- so many of the client's recipients (REDIRECT: one in place of all)
    came         INTEGER NOT NULL DEFAULT 0,  -- account's day; of our own notices its complement (~): the sum wants no entry
    PRIMARY KEY (entry, n)
) WITHOUT ROWID;
CREATE INDEX recipient_due ON recipient (hop, due) WHERE due IS NOT NULL;
CREATE INDEX recipient_leased ON recipient (entry) WHERE lease IS NOT NULL;
CREATE INDEX recipient_quarantined ON recipient (entry) WHERE state IN ('discarded', 'unreturned');

-- Next hops by number, and what the relay last knew of them.  A hop is never removed: a handful stays a handful.
CREATE TABLE hop (
    key      INTEGER PRIMARY KEY,
    name     TEXT    NOT NULL UNIQUE,
    up       INTEGER,
    since    REAL,                     -- NULL: nothing is known
    error    TEXT    NOT NULL DEFAULT '',
    probe_at REAL    NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    successes INTEGER NOT NULL DEFAULT 0,
    addresses TEXT    NOT NULL DEFAULT ''  -- JSON: what it last resolved to, each with what it offers; '': nothing yet
);

-- When next hops were down, of the last days; an outage that lasts is `since` of its hop.
CREATE TABLE outage (
    hop   INTEGER NOT NULL,
    began REAL    NOT NULL,            -- seconds since the epoch
    ended REAL    NOT NULL,
    PRIMARY KEY (hop, began)
) WITHOUT ROWID;

-- Flushes and the recipients that still have to get their try since.
CREATE TABLE flush (
    key       INTEGER PRIMARY KEY AUTOINCREMENT,
    began     REAL    NOT NULL,
    total     INTEGER NOT NULL,
    delivered INTEGER NOT NULL DEFAULT 0,
    deferred  INTEGER NOT NULL DEFAULT 0,
    refused   INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE flushing (
    entry INTEGER NOT NULL,
    n     INTEGER NOT NULL,
    flush INTEGER NOT NULL,
    PRIMARY KEY (entry, n, flush)
) WITHOUT ROWID;
CREATE INDEX flushing_flush ON flushing (flush);

-- Small facts that every process shares: facts.py.
CREATE TABLE fact (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- The account of all mail.  `account` counts what came in, by day of arrival (days since the epoch, UTC) and domain;
-- `ledger` has a row for each recipient that has its end.  Waiting and ended are what came in, or something is missing.
CREATE TABLE account (
    day        INTEGER NOT NULL,
    domain     TEXT    NOT NULL,
    own        INTEGER NOT NULL,       -- 1: our own notices
    recipients INTEGER NOT NULL,
    pruned     INTEGER NOT NULL DEFAULT 0,  -- of these ended, and older than ledger.keep
    PRIMARY KEY (day, domain, own)
) WITHOUT ROWID;
CREATE TABLE ledger (
    id         TEXT    NOT NULL,
    n          INTEGER NOT NULL,
    ended      REAL    NOT NULL,
    arrived    REAL    NOT NULL,
    state      TEXT    NOT NULL,       -- delivered bounced discarded expired deleted
    many       INTEGER NOT NULL,
    own        INTEGER NOT NULL,
    attempts   INTEGER NOT NULL,
    size       INTEGER NOT NULL,
    address    TEXT    NOT NULL,
    domain     TEXT    NOT NULL,
    sender     TEXT    NOT NULL,
    message_id TEXT    NOT NULL,
    relay      TEXT    NOT NULL,
    reason     TEXT    NOT NULL,       -- the last words, or the rule: "header_checks:2"
    PRIMARY KEY (id, n, ended)
) WITHOUT ROWID;

-- Whom a message was for before a rule said REDIRECT: `trace` is asked by these.  They go with its row of the ledger.
CREATE TABLE redirected (
    id      TEXT NOT NULL,
    address TEXT NOT NULL,
    PRIMARY KEY (id, address)
) WITHOUT ROWID;

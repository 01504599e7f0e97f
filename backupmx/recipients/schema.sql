-- recipients.db, version 3 (PRAGMA user_version): what was learned about who exists.

-- A list that is fetched whole.
CREATE TABLE IF NOT EXISTS source (
    key    INTEGER PRIMARY KEY,
    name   TEXT    NOT NULL UNIQUE,
    synced REAL,                       -- when its addresses were last true, seconds since the epoch; NULL: never
    many   INTEGER NOT NULL DEFAULT 0,
    tried  REAL,                       -- the last try to fetch it
    error  TEXT    NOT NULL DEFAULT '' -- of that try
);

-- "user@domain" or "@domain", folded.
CREATE TABLE IF NOT EXISTS listed (
    address TEXT    NOT NULL,
    source  INTEGER NOT NULL,
    PRIMARY KEY (address, source)
) WITHOUT ROWID;

-- What a primary said of one address, "user@domain", or of any of a domain's, "@domain".
CREATE TABLE IF NOT EXISTS taught (
    address TEXT    PRIMARY KEY,
    "exists" INTEGER NOT NULL,
    at      REAL    NOT NULL,
    said    TEXT    NOT NULL
) WITHOUT ROWID;
DROP INDEX IF EXISTS taught_at; -- of version 2
CREATE INDEX IF NOT EXISTS taught_age ON taught ("exists", at);

-- Addresses that a primary was asked about lately, whatever it said.
CREATE TABLE IF NOT EXISTS asked (
    address TEXT PRIMARY KEY,
    at      REAL NOT NULL
) WITHOUT ROWID;

-- How many questions more a next hop may be asked now.
CREATE TABLE IF NOT EXISTS allowance (
    next_hop TEXT PRIMARY KEY,
    many     REAL NOT NULL,
    at       REAL NOT NULL
) WITHOUT ROWID;

-- Clients that were told to use the primary, and came back; `key` is a hash of who, from whom and to whom.
CREATE TABLE IF NOT EXISTS turned_away (
    key   BLOB    PRIMARY KEY,
    times INTEGER NOT NULL,
    at    REAL    NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS turned_away_at ON turned_away (at);

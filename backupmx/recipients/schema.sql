-- recipients.db, version 1 (PRAGMA user_version): what was learned about who exists.

-- A list that is fetched whole.
CREATE TABLE source (
    key    INTEGER PRIMARY KEY,
    name   TEXT    NOT NULL UNIQUE,
    synced REAL,                       -- when its addresses were last true, seconds since the epoch; NULL: never
    many   INTEGER NOT NULL DEFAULT 0,
    tried  REAL,                       -- the last try to fetch it
    error  TEXT    NOT NULL DEFAULT '' -- of that try
);

-- "user@domain" or "@domain", folded.
CREATE TABLE listed (
    address TEXT    NOT NULL,
    source  INTEGER NOT NULL,
    PRIMARY KEY (address, source)
) WITHOUT ROWID;

-- What a primary said of one address, "user@domain", or of any of a domain's, "@domain".
CREATE TABLE taught (
    address TEXT    PRIMARY KEY,
    "exists" INTEGER NOT NULL,
    at      REAL    NOT NULL,
    said    TEXT    NOT NULL
) WITHOUT ROWID;
CREATE INDEX taught_at ON taught (at);

-- tally.db: what was counted, and how each process is.

CREATE TABLE tally (
    began REAL NOT NULL                 -- when counting began, seconds since the epoch: one row
);

CREATE TABLE counts (
    name   TEXT NOT NULL,               -- backupmx_rule_hits_total
    labels TEXT NOT NULL,               -- {"table": "...", "line": "3", "rule": "..."}
    value  INTEGER NOT NULL,
    began  REAL NOT NULL,               -- when a process first knew of it
    last   REAL NOT NULL,               -- when it last grew; 0: never
    seen   REAL NOT NULL,               -- when a process last spoke of it
    PRIMARY KEY (name, labels)
) WITHOUT ROWID;

CREATE TABLE hourly (                   -- made by whoever writes first, so that an older file has it too
    hour  INTEGER NOT NULL,             -- when it began, seconds since the epoch
    fate  TEXT NOT NULL,
    value INTEGER NOT NULL,
    PRIMARY KEY (hour, fate)
) WITHOUT ROWID;

CREATE TABLE processes (
    pid  INTEGER PRIMARY KEY,
    name TEXT NOT NULL                  -- worker 1
);

CREATE TABLE alarms (
    pid   INTEGER NOT NULL REFERENCES processes ON DELETE CASCADE,
    key   TEXT NOT NULL,                -- engine clamd
    since REAL NOT NULL,
    text  TEXT NOT NULL,
    PRIMARY KEY (pid, key)
) WITHOUT ROWID;

CREATE TABLE engines (
    pid   INTEGER NOT NULL REFERENCES processes ON DELETE CASCADE,
    name  TEXT NOT NULL,
    up    INTEGER NOT NULL,
    since REAL NOT NULL,
    why   TEXT NOT NULL,
    PRIMARY KEY (pid, name)
) WITHOUT ROWID;

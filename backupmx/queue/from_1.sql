-- Version 1 -> 2: what a notice, a rule's next hop, health and the account of all mail need to know.
ALTER TABLE entry ADD COLUMN vouched INTEGER NOT NULL DEFAULT 0;
ALTER TABLE recipient ADD COLUMN fixed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE recipient ADD COLUMN many INTEGER NOT NULL DEFAULT 1;
ALTER TABLE recipient ADD COLUMN came INTEGER NOT NULL DEFAULT 0;
UPDATE recipient SET came = (
    SELECT CASE WHEN client IS NULL THEN ~CAST(arrived / 86400 AS INTEGER) ELSE CAST(arrived / 86400 AS INTEGER) END
    FROM entry WHERE key = recipient.entry
);
ALTER TABLE hop ADD COLUMN successes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE hop ADD COLUMN addresses TEXT NOT NULL DEFAULT '';
DROP INDEX recipient_discarded;
CREATE INDEX recipient_leased ON recipient (entry) WHERE lease IS NOT NULL;
CREATE INDEX recipient_quarantined ON recipient (entry) WHERE state IN ('discarded', 'unreturned');
CREATE TABLE account (
    day        INTEGER NOT NULL,
    domain     TEXT    NOT NULL,
    own        INTEGER NOT NULL,
    recipients INTEGER NOT NULL,
    pruned     INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (day, domain, own)
) WITHOUT ROWID;
CREATE TABLE ledger (
    id         TEXT    NOT NULL,
    n          INTEGER NOT NULL,
    ended      REAL    NOT NULL,
    arrived    REAL    NOT NULL,
    state      TEXT    NOT NULL,
    many       INTEGER NOT NULL,
    own        INTEGER NOT NULL,
    attempts   INTEGER NOT NULL,
    size       INTEGER NOT NULL,
    address    TEXT    NOT NULL,
    domain     TEXT    NOT NULL,
    sender     TEXT    NOT NULL,
    message_id TEXT    NOT NULL,
    relay      TEXT    NOT NULL,
    reason     TEXT    NOT NULL,
    PRIMARY KEY (id, n, ended)
) WITHOUT ROWID;

-- What waits came in: the account begins with it.
INSERT INTO account (day, domain, own, recipients)
    SELECT max(came, ~came), domain, came < 0, sum(many) FROM recipient GROUP BY 1, 2, 3;

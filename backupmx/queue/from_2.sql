-- Version 2 -> 3: when next hops were down, for the digest.
CREATE TABLE outage (
    hop   INTEGER NOT NULL,
    began REAL    NOT NULL,
    ended REAL    NOT NULL,
    PRIMARY KEY (hop, began)
) WITHOUT ROWID;

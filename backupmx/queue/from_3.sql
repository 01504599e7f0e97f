-- Version 3 -> 4: whom a message was for before a rule said REDIRECT.
CREATE TABLE redirected (
    id      TEXT NOT NULL,
    address TEXT NOT NULL,
    PRIMARY KEY (id, address)
) WITHOUT ROWID;

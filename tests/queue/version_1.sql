-- A queue as version 1 left it: `.dump` of its file, with waiting, deferred, held, discarded and paused mail.
BEGIN TRANSACTION;
CREATE TABLE entry (
    key        INTEGER PRIMARY KEY,    
    id         TEXT    NOT NULL UNIQUE,
    arrived    REAL    NOT NULL,       
    sender     TEXT    NOT NULL,
    size       INTEGER NOT NULL,       
    message_id TEXT    NOT NULL,
    reason     TEXT    NOT NULL,       
    body_type  TEXT    NOT NULL,       
    smtputf8   INTEGER NOT NULL,
    ret        TEXT    NOT NULL,
    envid      TEXT    NOT NULL,
    client     TEXT,                   
    checksum   INTEGER NOT NULL,       
    path       TEXT,                   
    start      INTEGER NOT NULL,       
    head       BLOB    NOT NULL,       
    body       BLOB
);
INSERT INTO "entry" VALUES(1,'4hMhBL5kx5z000001',1800000001.0,'sender@example.com',62,'<m@example.com>','','8BITMIME',1,'HDRS','env+2Bid','["192.0.2.1", 40025, "mx.example.com", "helo.example.com", "ESMTP", ["TLSv1.3", "AES", 256]]',3943590162,NULL,0,X'52656365697665643A2066726F6D20736F6D6577686572650A09627920686572650A5375626A6563743A2068656C6C6F',X'0D0A48656C6C6F2E0D0A');
INSERT INTO "entry" VALUES(2,'4hMhBL5kx5z000002',1800000002.0,'sender@example.com',62,'<m@example.com>','','8BITMIME',1,'HDRS','env+2Bid','["192.0.2.1", 40025, "mx.example.com", "helo.example.com", "ESMTP", ["TLSv1.3", "AES", 256]]',3943590162,NULL,0,X'52656365697665643A2066726F6D20736F6D6577686572650A09627920686572650A5375626A6563743A2068656C6C6F',X'0D0A48656C6C6F2E0D0A');
INSERT INTO "entry" VALUES(3,'4hMhBL5kx5z000003',1800000003.0,'sender@example.com',62,'<m@example.com>','header_checks:2: HOLD','8BITMIME',1,'HDRS','env+2Bid','["192.0.2.1", 40025, "mx.example.com", "helo.example.com", "ESMTP", ["TLSv1.3", "AES", 256]]',3943590162,NULL,0,X'52656365697665643A2066726F6D20736F6D6577686572650A09627920686572650A5375626A6563743A2068656C6C6F',X'0D0A48656C6C6F2E0D0A');
INSERT INTO "entry" VALUES(4,'4hMhBL5kx5z000004',1800000004.0,'sender@example.com',62,'<m@example.com>','header_checks:7: X-Spam-Flag: YES','8BITMIME',1,'HDRS','env+2Bid','["192.0.2.1", 40025, "mx.example.com", "helo.example.com", "ESMTP", ["TLSv1.3", "AES", 256]]',3943590162,NULL,0,X'52656365697665643A2066726F6D20736F6D6577686572650A09627920686572650A5375626A6563743A2068656C6C6F',X'0D0A48656C6C6F2E0D0A');
INSERT INTO "entry" VALUES(5,'4hMhBL5kx5z000005',1800000005.0,'sender@example.com',62,'<m@example.com>','','8BITMIME',1,'HDRS','env+2Bid','["192.0.2.1", 40025, "mx.example.com", "helo.example.com", "ESMTP", ["TLSv1.3", "AES", 256]]',3943590162,NULL,0,X'52656365697665643A2066726F6D20736F6D6577686572650A09627920686572650A5375626A6563743A2068656C6C6F',X'0D0A48656C6C6F2E0D0A');
CREATE TABLE fact (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
INSERT INTO "fact" VALUES('paused','{"paused.example": 1800000005.0}');
INSERT INTO "fact" VALUES('rerouting','');
INSERT INTO "fact" VALUES('routes','routes-1');
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
CREATE TABLE hop (
    key      INTEGER PRIMARY KEY,
    name     TEXT    NOT NULL UNIQUE,
    up       INTEGER,
    since    REAL,                     
    error    TEXT    NOT NULL DEFAULT '',
    probe_at REAL    NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0
);
INSERT INTO "hop" VALUES(1,'smtp:[primary1.example.net]',NULL,NULL,'',0.0,0);
INSERT INTO "hop" VALUES(2,'smtp:[primary2.example.net]',0,1800000009.0,'connection refused',1800000600.0,2);
CREATE TABLE recipient (
    entry        INTEGER NOT NULL,
    n            INTEGER NOT NULL,     
    hop          INTEGER NOT NULL,     
    due          REAL,                 
    lease        REAL,                 
    state        TEXT    NOT NULL,     
    attempts     INTEGER NOT NULL,
    next_attempt REAL    NOT NULL,
    address      TEXT    NOT NULL,
    domain       TEXT    NOT NULL,     
    notify       TEXT    NOT NULL,
    orcpt        TEXT    NOT NULL,
    reason       TEXT    NOT NULL,     
    PRIMARY KEY (entry, n)
) WITHOUT ROWID;
INSERT INTO "recipient" VALUES(1,0,1,1800000001.0,NULL,'queued',0,1800000001.0,'anna@example.jp','example.jp','FAILURE','rfc822;anna@example.jp','');
INSERT INTO "recipient" VALUES(1,1,1,1800000001.0,NULL,'queued',0,1800000001.0,'ben@example.jp','example.jp','FAILURE','rfc822;ben@example.jp','');
INSERT INTO "recipient" VALUES(2,0,2,1800000600.0,NULL,'deferred',1,1800000600.0,'carl@example.jp','example.jp','FAILURE','rfc822;carl@example.jp','said');
INSERT INTO "recipient" VALUES(3,0,1,NULL,NULL,'held',0,1800000003.0,'dora@example.jp','example.jp','FAILURE','rfc822;dora@example.jp','');
INSERT INTO "recipient" VALUES(4,0,1,NULL,NULL,'discarded',0,1800000004.0,'emil@example.jp','example.jp','FAILURE','rfc822;emil@example.jp','');
INSERT INTO "recipient" VALUES(5,0,-1,1800000005.0,NULL,'queued',0,1800000005.0,'paul@paused.example','paused.example','FAILURE','rfc822;paul@paused.example','');
CREATE UNIQUE INDEX entry_path ON entry (path) WHERE path IS NOT NULL;
CREATE INDEX recipient_due ON recipient (hop, due) WHERE due IS NOT NULL;
CREATE INDEX recipient_discarded ON recipient (entry) WHERE state = 'discarded';
CREATE INDEX flushing_flush ON flushing (flush);
COMMIT;
PRAGMA user_version=1;

/**
 * What brings a database from one `user_version` to the next. A released entry is never changed, only followed by another.
 *
 * `keepUntil` is epoch seconds: from then on a row counts as unknown, and a sweep may delete it. `counts` is kept by the
 * triggers, so that no limit has to be checked by counting rows.
 */
export const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE counts (
    what TEXT NOT NULL,
    name TEXT NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (what, name)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE shares (
    senderDomain TEXT NOT NULL,
    shareId TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('live', 'revoked')),
    instance TEXT,
    created REAL,
    expiresAt REAL,
    data TEXT,
    revokedAt REAL,
    appliedCreated REAL NOT NULL,
    appliedSignatures TEXT NOT NULL,
    keepUntil REAL NOT NULL,
    PRIMARY KEY (senderDomain, shareId)
  ) STRICT;
  CREATE INDEX sharesByKeepUntil ON shares (keepUntil);

  CREATE TRIGGER shareAdded AFTER INSERT ON shares BEGIN
    INSERT INTO counts VALUES ('shares.' || new.state, new.senderDomain, 1) ON CONFLICT DO UPDATE SET n = n + 1;
  END;
  CREATE TRIGGER shareTurned AFTER UPDATE OF state ON shares WHEN old.state <> new.state BEGIN
    UPDATE counts SET n = n - 1 WHERE what = 'shares.' || old.state AND name = old.senderDomain;
    INSERT INTO counts VALUES ('shares.' || new.state, new.senderDomain, 1) ON CONFLICT DO UPDATE SET n = n + 1;
  END;
  CREATE TRIGGER shareForgotten AFTER DELETE ON shares BEGIN
    UPDATE counts SET n = n - 1 WHERE what = 'shares.' || old.state AND name = old.senderDomain;
  END;

  CREATE TABLE sessions (
    idHash TEXT NOT NULL PRIMARY KEY,
    webapp TEXT NOT NULL,
    senderDomain TEXT NOT NULL,
    shareId TEXT NOT NULL,
    deadline REAL NOT NULL,
    data TEXT NOT NULL
  ) STRICT;
  CREATE INDEX sessionsByShare ON sessions (senderDomain, shareId);
  CREATE INDEX sessionsByDeadline ON sessions (deadline);

  CREATE TRIGGER sessionOpened AFTER INSERT ON sessions BEGIN
    INSERT INTO counts VALUES ('sessions.domain', new.senderDomain, 1) ON CONFLICT DO UPDATE SET n = n + 1;
    INSERT INTO counts VALUES ('sessions.webapp', new.webapp, 1) ON CONFLICT DO UPDATE SET n = n + 1;
  END;
  CREATE TRIGGER sessionMoved AFTER UPDATE OF senderDomain, webapp ON sessions
  WHEN old.senderDomain <> new.senderDomain OR old.webapp <> new.webapp BEGIN
    UPDATE counts SET n = n - 1 WHERE what = 'sessions.domain' AND name = old.senderDomain;
    UPDATE counts SET n = n - 1 WHERE what = 'sessions.webapp' AND name = old.webapp;
    INSERT INTO counts VALUES ('sessions.domain', new.senderDomain, 1) ON CONFLICT DO UPDATE SET n = n + 1;
    INSERT INTO counts VALUES ('sessions.webapp', new.webapp, 1) ON CONFLICT DO UPDATE SET n = n + 1;
  END;
  CREATE TRIGGER sessionEnded AFTER DELETE ON sessions BEGIN
    UPDATE counts SET n = n - 1 WHERE what = 'sessions.domain' AND name = old.senderDomain;
    UPDATE counts SET n = n - 1 WHERE what = 'sessions.webapp' AND name = old.webapp;
  END;

  CREATE TABLE endedSessions (
    idHash TEXT NOT NULL PRIMARY KEY,
    webapp TEXT NOT NULL,
    reason TEXT NOT NULL,
    endedAt REAL NOT NULL,
    data TEXT NOT NULL,
    keepUntil REAL NOT NULL
  ) STRICT;
  CREATE INDEX endedSessionsByKeepUntil ON endedSessions (keepUntil);

  CREATE TABLE workloads (
    webapp TEXT NOT NULL,
    name TEXT NOT NULL,
    senderDomain TEXT NOT NULL,
    shareId TEXT NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (webapp, name)
  ) STRICT;
  `,
  `
  CREATE TABLE notes (
    space TEXT NOT NULL,
    id TEXT NOT NULL,
    data TEXT NOT NULL,
    expiresAt REAL,
    PRIMARY KEY (space, id)
  ) STRICT;
  CREATE INDEX notesByExpiry ON notes (expiresAt) WHERE expiresAt IS NOT NULL;
  `,
]

CREATE TABLE routilux_schema (version INTEGER NOT NULL);

-- Who may write: a row for each driver, whose fence is never used again.
CREATE TABLE routilux_leases (
    fence INTEGER PRIMARY KEY AUTOINCREMENT,
    driver TEXT NOT NULL UNIQUE,
    process TEXT NOT NULL,
    expires_at REAL NOT NULL
);

-- `driver` is the fence of a lease. A run whose lease is gone is driven by nobody.
CREATE TABLE routilux_runs (
    number INTEGER PRIMARY KEY,
    job_id TEXT NOT NULL UNIQUE,
    flow_id TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    fingerprint TEXT NOT NULL,
    driver INTEGER
);

CREATE INDEX routilux_runs_by_age ON routilux_runs (created_at, number);

-- The id is the run's number * 2^32 + the row's: one tree, in the order in which it is read, and nothing beside it.
CREATE TABLE routilux_journal (
    id INTEGER PRIMARY KEY,
    body TEXT NOT NULL
);

CREATE TABLE routilux_snapshots (
    run INTEGER PRIMARY KEY,
    number INTEGER NOT NULL,
    body TEXT NOT NULL
);

CREATE TABLE routilux_inputs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    run INTEGER NOT NULL,
    name TEXT NOT NULL,
    data TEXT NOT NULL
);

CREATE INDEX routilux_inputs_by_run ON routilux_inputs (run, number);

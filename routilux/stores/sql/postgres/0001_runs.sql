CREATE TABLE routilux_schema (version INTEGER NOT NULL);

-- Who may write: a row for each driver, whose fence is never used again.
CREATE TABLE routilux_leases (
    fence BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    driver TEXT NOT NULL UNIQUE,
    process TEXT NOT NULL,
    expires_at DOUBLE PRECISION NOT NULL
);

-- `driver` is the fence of a lease. A run whose lease is gone is driven by nobody.
CREATE TABLE routilux_runs (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id TEXT NOT NULL UNIQUE,
    flow_id TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    updated_at DOUBLE PRECISION NOT NULL,
    fingerprint TEXT NOT NULL,
    driver BIGINT
);

CREATE INDEX routilux_runs_by_age ON routilux_runs (created_at, number);

-- TEXT, never jsonb: a journal is read back as it was written, to the letter.
-- Without a foreign key, which would be looked up for each row: who writes here has locked the run.
CREATE TABLE routilux_journal (
    run BIGINT NOT NULL,
    number BIGINT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (run, number)
);

CREATE TABLE routilux_snapshots (
    run BIGINT PRIMARY KEY,
    number BIGINT NOT NULL,
    body TEXT NOT NULL
);

CREATE TABLE routilux_inputs (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run BIGINT NOT NULL,
    name TEXT NOT NULL,
    data TEXT NOT NULL
);

CREATE INDEX routilux_inputs_by_run ON routilux_inputs (run, number);

-- The clock of all who share the database: extract(epoch FROM clock_timestamp())::float8, in seconds since the epoch.
-- Not `now()`, which stands still in a transaction, also while that one waits for a lock.

-- name: add_lease
INSERT INTO routilux_leases (driver, process, expires_at)
VALUES (%(driver)s, %(process)s, extract(epoch FROM clock_timestamp())::float8 + %(seconds)s::float8)
ON CONFLICT (driver) DO UPDATE SET expires_at = excluded.expires_at;

-- name: fence_of
SELECT fence FROM routilux_leases WHERE driver = %(driver)s;

-- name: lease_left
SELECT expires_at - extract(epoch FROM clock_timestamp())::float8
FROM routilux_leases WHERE fence = %(fence)s FOR UPDATE;

-- name: renew_lease
UPDATE routilux_leases
SET expires_at = extract(epoch FROM clock_timestamp())::float8 + %(seconds)s::float8
WHERE fence = %(fence)s;

-- name: end_lease
DELETE FROM routilux_leases WHERE fence = %(fence)s;

-- name: end_expired_lease
DELETE FROM routilux_leases WHERE fence = %(fence)s AND expires_at <= extract(epoch FROM clock_timestamp())::float8;

-- name: leases
SELECT fence, process, expires_at + 604800.0 <= extract(epoch FROM clock_timestamp())::float8 FROM routilux_leases;

-- name: add_run
INSERT INTO routilux_runs (job_id, flow_id, status, created_at, updated_at, fingerprint, driver)
VALUES (%(job_id)s, %(flow_id)s, %(status)s, %(created_at)s, %(updated_at)s, %(fingerprint)s, %(fence)s)
ON CONFLICT (job_id) DO NOTHING;

-- name: run
SELECT number, flow_id, created_at, driver FROM routilux_runs WHERE job_id = %(job_id)s;

-- name: touch_run
UPDATE routilux_runs SET
    status = coalesce(%(status)s::text, status),
    fingerprint = coalesce(%(fingerprint)s::text, fingerprint),
    updated_at = extract(epoch FROM clock_timestamp())::float8,
    driver = CASE WHEN %(release)s::boolean THEN NULL ELSE driver END
WHERE number = %(number)s AND job_id = %(job_id)s AND driver = %(fence)s;

-- name: put_snapshot
INSERT INTO routilux_snapshots (run, number, body) VALUES (%(run)s, %(number)s, %(body)s)
ON CONFLICT (run) DO UPDATE SET number = excluded.number, body = excluded.body;

-- name: claimable
SELECT r.job_id, r.flow_id, r.status, r.created_at, r.updated_at, r.fingerprint, r.number, r.driver,
    l.fence, l.driver, l.process, l.expires_at <= extract(epoch FROM clock_timestamp())::float8
FROM routilux_runs r LEFT JOIN routilux_leases l ON l.fence = r.driver
WHERE r.flow_id = %(flow_id)s AND r.status IN ('pending', 'running')
ORDER BY r.created_at, r.number;

-- name: ownership
SELECT r.job_id, r.flow_id, r.status, r.created_at, r.updated_at, r.fingerprint, r.number, r.driver,
    l.fence, l.driver, l.process, l.expires_at <= extract(epoch FROM clock_timestamp())::float8
FROM routilux_runs r LEFT JOIN routilux_leases l ON l.fence = r.driver
WHERE r.job_id = %(job_id)s;

-- name: take_run
UPDATE routilux_runs SET driver = %(fence)s
WHERE number = %(number)s AND driver IS NOT DISTINCT FROM %(before)s::bigint;

-- name: find
SELECT r.job_id, r.flow_id, r.status, r.created_at, r.updated_at, r.fingerprint, l.driver
FROM routilux_runs r LEFT JOIN routilux_leases l ON l.fence = r.driver
WHERE r.job_id = %(job_id)s;

-- name: list_runs
SELECT r.job_id, r.flow_id, r.status, r.created_at, r.updated_at, r.fingerprint, l.driver
FROM routilux_runs r LEFT JOIN routilux_leases l ON l.fence = r.driver
WHERE (%(status)s::text IS NULL OR r.status = %(status)s)
    AND (%(flow_id)s::text IS NULL OR r.flow_id = %(flow_id)s)
    AND r.created_at >= %(since)s::float8
ORDER BY r.created_at DESC, r.number DESC
LIMIT %(limit)s;

-- name: rows
SELECT number, body FROM routilux_journal
WHERE run = (SELECT number FROM routilux_runs WHERE job_id = %(job_id)s) AND number > %(after)s
ORDER BY number
LIMIT %(limit)s;

-- name: last_row
SELECT number, body FROM routilux_journal
WHERE run = (SELECT number FROM routilux_runs WHERE job_id = %(job_id)s)
ORDER BY number DESC
LIMIT 1;

-- name: snapshot
SELECT number, body FROM routilux_snapshots WHERE run = (SELECT number FROM routilux_runs WHERE job_id = %(job_id)s);

-- The run is locked before its input gets a number: those of a run arrive in the order of their numbers.
-- name: lock_run
SELECT number FROM routilux_runs WHERE job_id = %(job_id)s FOR NO KEY UPDATE;

-- name: add_input
INSERT INTO routilux_inputs (run, name, data) VALUES (%(run)s, %(name)s, %(data)s);

-- name: last_input
SELECT max(number) FROM routilux_inputs WHERE run = %(run)s;

-- name: inputs
SELECT number, name, data FROM routilux_inputs
WHERE run = (SELECT number FROM routilux_runs WHERE job_id = %(job_id)s) AND number > %(after)s
ORDER BY number;

-- name: finished
SELECT job_id, updated_at FROM routilux_runs
WHERE status IN ('completed', 'failed', 'cancelled')
    AND (%(flow_id)s::text IS NULL OR flow_id = %(flow_id)s)
ORDER BY created_at DESC, number DESC;

-- name: forget_run
DELETE FROM routilux_runs WHERE number = %(run)s;

-- name: forget_rows
DELETE FROM routilux_journal WHERE run = %(run)s;

-- name: forget_snapshot
DELETE FROM routilux_snapshots WHERE run = %(run)s;

-- name: forget_inputs
DELETE FROM routilux_inputs WHERE run = %(run)s;

-- name: set_version
UPDATE routilux_schema SET version = %(version)s;

-- As binary arrays (b): as texts they take three times as long, of both sides.
-- name: append
INSERT INTO routilux_journal (run, number, body)
SELECT * FROM unnest(%(runs)b::bigint[], %(numbers)b::bigint[], %(bodies)b::text[])
ON CONFLICT (run, number) DO NOTHING;

-- Until the end of the transaction; the schema's name is in the key because each schema may hold a store.
-- name: be_alone
SELECT pg_advisory_xact_lock(hashtextextended('routilux/' || current_schema(), 0));

-- name: settings
SELECT
    set_config(
        'synchronous_commit',
        CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END,
        false
    ),
    set_config('lock_timeout', %(busy_ms)s, false),
    set_config('idle_in_transaction_session_timeout', %(busy_ms)s, false),
    set_config('statement_timeout', %(statement_ms)s, false);

-- Not `to_regclass`, which does not see what another connection has made since the transaction began.
-- name: has_schema
SELECT EXISTS (
    SELECT 1 FROM pg_catalog.pg_tables
    WHERE tablename = 'routilux_schema' AND schemaname = ANY (current_schemas(false))
);

-- name: version
SELECT version FROM routilux_schema;

-- name: first_version
INSERT INTO routilux_schema (version) VALUES (0);

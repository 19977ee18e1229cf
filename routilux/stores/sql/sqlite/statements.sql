-- The clock of all who share the file: (julianday('now') - 2440587.5) * 86400.0, in seconds since the epoch.
-- `strftime('%s')` knows only whole seconds, and `unixepoch('subsec')` is younger than many a SQLite.

-- name: add_lease
INSERT INTO routilux_leases (driver, process, expires_at)
VALUES (:driver, :process, (julianday('now') - 2440587.5) * 86400.0 + :seconds)
ON CONFLICT (driver) DO UPDATE SET expires_at = excluded.expires_at;

-- name: fence_of
SELECT fence FROM routilux_leases WHERE driver = :driver;

-- name: lease_left
SELECT expires_at - (julianday('now') - 2440587.5) * 86400.0 FROM routilux_leases WHERE fence = :fence;

-- name: renew_lease
UPDATE routilux_leases SET expires_at = (julianday('now') - 2440587.5) * 86400.0 + :seconds WHERE fence = :fence;

-- name: end_lease
DELETE FROM routilux_leases WHERE fence = :fence;

-- name: end_expired_lease
DELETE FROM routilux_leases WHERE fence = :fence AND expires_at <= (julianday('now') - 2440587.5) * 86400.0;

-- name: leases
SELECT fence, process, expires_at + 604800.0 <= (julianday('now') - 2440587.5) * 86400.0 FROM routilux_leases;

-- name: add_run
INSERT INTO routilux_runs (job_id, flow_id, status, created_at, updated_at, fingerprint, driver)
VALUES (:job_id, :flow_id, :status, :created_at, :updated_at, :fingerprint, :fence)
ON CONFLICT (job_id) DO NOTHING;

-- name: run
SELECT number, flow_id, created_at, driver FROM routilux_runs WHERE job_id = :job_id;

-- name: touch_run
UPDATE routilux_runs SET
    status = coalesce(:status, status),
    fingerprint = coalesce(:fingerprint, fingerprint),
    updated_at = (julianday('now') - 2440587.5) * 86400.0,
    driver = CASE WHEN :release THEN NULL ELSE driver END
WHERE number = :number AND job_id = :job_id AND driver = :fence;

-- name: put_snapshot
INSERT INTO routilux_snapshots (run, number, body) VALUES (:run, :number, :body)
ON CONFLICT (run) DO UPDATE SET number = excluded.number, body = excluded.body;

-- name: claimable
SELECT r.job_id, r.flow_id, r.status, r.created_at, r.updated_at, r.fingerprint, r.number, r.driver,
    l.fence, l.driver, l.process, l.expires_at <= (julianday('now') - 2440587.5) * 86400.0
FROM routilux_runs r LEFT JOIN routilux_leases l ON l.fence = r.driver
WHERE r.flow_id = :flow_id AND r.status IN ('pending', 'running')
ORDER BY r.created_at, r.number;

-- name: ownership
SELECT r.job_id, r.flow_id, r.status, r.created_at, r.updated_at, r.fingerprint, r.number, r.driver,
    l.fence, l.driver, l.process, l.expires_at <= (julianday('now') - 2440587.5) * 86400.0
FROM routilux_runs r LEFT JOIN routilux_leases l ON l.fence = r.driver
WHERE r.job_id = :job_id;

-- name: take_run
UPDATE routilux_runs SET driver = :fence WHERE number = :number AND driver IS :before;

-- name: find
SELECT r.job_id, r.flow_id, r.status, r.created_at, r.updated_at, r.fingerprint, l.driver
FROM routilux_runs r LEFT JOIN routilux_leases l ON l.fence = r.driver
WHERE r.job_id = :job_id;

-- name: list_runs
SELECT r.job_id, r.flow_id, r.status, r.created_at, r.updated_at, r.fingerprint, l.driver
FROM routilux_runs r LEFT JOIN routilux_leases l ON l.fence = r.driver
WHERE (:status IS NULL OR r.status = :status)
    AND (:flow_id IS NULL OR r.flow_id = :flow_id)
    AND r.created_at >= :since
ORDER BY r.created_at DESC, r.number DESC
LIMIT :limit;

-- name: rows
SELECT id & 4294967295, body FROM routilux_journal
WHERE id > (SELECT number FROM routilux_runs WHERE job_id = :job_id) * 4294967296 + :after
    AND id <= (SELECT number FROM routilux_runs WHERE job_id = :job_id) * 4294967296 + 4294967295
ORDER BY id
LIMIT :limit;

-- name: last_row
SELECT id & 4294967295, body FROM routilux_journal
WHERE id > (SELECT number FROM routilux_runs WHERE job_id = :job_id) * 4294967296
    AND id <= (SELECT number FROM routilux_runs WHERE job_id = :job_id) * 4294967296 + 4294967295
ORDER BY id DESC
LIMIT 1;

-- name: snapshot
SELECT number, body FROM routilux_snapshots WHERE run = (SELECT number FROM routilux_runs WHERE job_id = :job_id);

-- name: lock_run
SELECT number FROM routilux_runs WHERE job_id = :job_id;

-- name: add_input
INSERT INTO routilux_inputs (run, name, data) VALUES (:run, :name, :data);

-- name: last_input
SELECT max(number) FROM routilux_inputs WHERE run = :run;

-- name: inputs
SELECT number, name, data FROM routilux_inputs
WHERE run = (SELECT number FROM routilux_runs WHERE job_id = :job_id) AND number > :after
ORDER BY number;

-- name: finished
SELECT job_id, updated_at FROM routilux_runs
WHERE status IN ('completed', 'failed', 'cancelled')
    AND (:flow_id IS NULL OR flow_id = :flow_id)
ORDER BY created_at DESC, number DESC;

-- name: forget_run
DELETE FROM routilux_runs WHERE number = :run;

-- name: forget_rows
DELETE FROM routilux_journal WHERE id > :run * 4294967296 AND id <= :run * 4294967296 + 4294967295;

-- name: forget_snapshot
DELETE FROM routilux_snapshots WHERE run = :run;

-- name: forget_inputs
DELETE FROM routilux_inputs WHERE run = :run;

-- name: set_version
UPDATE routilux_schema SET version = :version;

-- name: has_schema
SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'routilux_schema');

-- name: version
SELECT version FROM routilux_schema;

-- name: first_version
INSERT INTO routilux_schema (version) VALUES (0);

-- Experiments that are planned, started, ramped and stopped while the service runs. A name belongs to one model for ever.
CREATE TABLE panthera.experiment (
    experiment text PRIMARY KEY,
    format_version int NOT NULL,
    model text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON panthera.experiment
    FOR EACH STATEMENT EXECUTE FUNCTION panthera.refuse_rewriting();

-- Each change of an experiment: who, when, why, from what to what. The newest row of an experiment holds, so that a change is
-- one row: it is there or it is not. The ids of phases are those of the table experiment_phase, so that a log row has one.
CREATE TABLE panthera.experiment_change (
    change_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    experiment text NOT NULL REFERENCES panthera.experiment,
    action text NOT NULL CHECK (action IN ('plan', 'start', 'ramp', 'stop', 'rollback', 'promote')),
    status text NOT NULL CHECK (status IN ('planned', 'running', 'stopped')),
    phase_id int NOT NULL,
    before jsonb,
    after jsonb NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON panthera.experiment_change (experiment, change_id DESC);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON panthera.experiment_change
    FOR EACH STATEMENT EXECUTE FUNCTION panthera.refuse_rewriting();

-- Experiments as they are now.
CREATE VIEW panthera.experiment_now AS
SELECT DISTINCT ON (experiment) experiment, model, format_version, change_id, action, status, phase_id, after AS terms, actor,
    reason, changed_at
FROM panthera.experiment_change JOIN panthera.experiment USING (experiment)
ORDER BY experiment, change_id DESC;

-- What the workers of the service measured of the models of running experiments: calls that succeeded and failed, and calls by
-- duration. A row is what one worker counted since its last row.
CREATE TABLE panthera.release_measure (
    measured_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    worker text NOT NULL,
    release_id text NOT NULL REFERENCES panthera.release,
    scored bigint NOT NULL,
    failed bigint NOT NULL,
    calls bigint[] NOT NULL
);
CREATE INDEX ON panthera.release_measure (measured_at);

-- The service stops an experiment that breaks its limits, and writes what it measured. A user who may not grant this has been told
-- so by the roles themselves.
DO $$
BEGIN
    GRANT INSERT ON panthera.experiment_change TO panthera_service;
    GRANT INSERT, DELETE ON panthera.release_measure TO panthera_service;
EXCEPTION WHEN insufficient_privilege OR undefined_object THEN NULL;
END
$$;

-- What each round of monitoring saw and decided, and whether it was carried out.
CREATE TABLE panthera.monitor_round (
    round_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    format_version int NOT NULL,
    model text NOT NULL,
    champion text NOT NULL REFERENCES panthera.release,
    challenger text REFERENCES panthera.release,
    began_at timestamptz NOT NULL,
    as_of timestamptz NOT NULL,
    decision text NOT NULL CHECK (decision IN ('hold', 'retrain', 'promote', 'roll_back', 'block')),
    reasons jsonb NOT NULL,
    findings jsonb NOT NULL,
    has_drift boolean NOT NULL,
    target text REFERENCES panthera.release,
    acted boolean NOT NULL,
    actor text NOT NULL,
    decided_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON panthera.monitor_round (model, round_id);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON panthera.monitor_round
    FOR EACH STATEMENT EXECUTE FUNCTION panthera.refuse_rewriting();

-- When a retraining began and how it ended. One whose last event is `began` is under way, or was interrupted.
CREATE TABLE panthera.retraining_event (
    event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    format_version int NOT NULL,
    model text NOT NULL,
    event text NOT NULL CHECK (event IN ('began', 'challenger', 'no_role', 'unchanged', 'failed', 'interrupted')),
    release_id text REFERENCES panthera.release,
    reason text NOT NULL,
    actor text NOT NULL,
    happened_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON panthera.retraining_event (model, event_id);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON panthera.retraining_event
    FOR EACH STATEMENT EXECUTE FUNCTION panthera.refuse_rewriting();

-- Who entered a release, and the sha256 of the packages that it was made with.
ALTER TABLE panthera.release
    ADD COLUMN registered_by text NOT NULL DEFAULT 'unknown',
    ADD COLUMN lock text NOT NULL DEFAULT '';

-- Every change of a role: what brought it about, who, and who had the role before. No release means that nobody has it.
ALTER TABLE panthera.release_role
    ALTER COLUMN release_id DROP NOT NULL,
    ADD COLUMN replaced text REFERENCES panthera.release,
    ADD COLUMN cause text NOT NULL DEFAULT 'register'
        CHECK (cause IN ('register', 'promote', 'rollback', 'retire')),
    ADD COLUMN actor text NOT NULL DEFAULT 'unknown';
UPDATE panthera.release_role AS change SET replaced = before.release_id
FROM (
    SELECT change_id, lag(release_id) OVER (PARTITION BY model, role ORDER BY change_id) AS release_id
    FROM panthera.release_role
) AS before
WHERE before.change_id = change.change_id;
ALTER TABLE panthera.release_role ALTER COLUMN cause DROP DEFAULT, ALTER COLUMN actor DROP DEFAULT;

-- What the gate found when a release was compared with the champion of then, or why it could not be.
CREATE TABLE panthera.verdict (
    verdict_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    format_version int NOT NULL,
    model text NOT NULL,
    release_id text NOT NULL REFERENCES panthera.release,
    against text REFERENCES panthera.release,
    outcome text NOT NULL CHECK (outcome IN ('first', 'won', 'undecided', 'lost', 'not_comparable')),
    reason text NOT NULL,
    checks jsonb NOT NULL,
    actor text NOT NULL,
    decided_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON panthera.verdict (release_id);

-- History is added to, and never rewritten.
CREATE FUNCTION panthera.refuse_rewriting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'panthera.% is a history: rows are added to it, never changed or deleted', TG_TABLE_NAME;
END
$$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON panthera.release
    FOR EACH STATEMENT EXECUTE FUNCTION panthera.refuse_rewriting();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON panthera.release_role
    FOR EACH STATEMENT EXECUTE FUNCTION panthera.refuse_rewriting();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON panthera.verdict
    FOR EACH STATEMENT EXECUTE FUNCTION panthera.refuse_rewriting();

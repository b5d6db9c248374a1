-- Days of the prediction log that have moved to Parquet files in the state folder: rows that are listed here are no longer in
-- panthera.prediction, and each is in one file.
CREATE TABLE panthera.sealed_log (
    seal_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    format_version int NOT NULL,
    model text NOT NULL,
    day date NOT NULL,
    file text NOT NULL,
    rows bigint NOT NULL,
    digest text NOT NULL,
    actor text NOT NULL,
    sealed_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (model, file)
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON panthera.sealed_log
    FOR EACH STATEMENT EXECUTE FUNCTION panthera.refuse_rewriting();

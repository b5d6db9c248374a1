-- What another release says about logged predictions: one row for each, whatever happens to the process that scores.
CREATE TABLE panthera.shadow_score (
    release_id text NOT NULL REFERENCES panthera.release,
    prediction_id uuid NOT NULL,
    score double precision,
    fault text,
    scored_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (release_id, prediction_id),
    CHECK ((score IS NULL) <> (fault IS NULL))
);

-- Counts of a release's logged predictions by hour and bin, so that a vector is read once. `hour` is the end of the hour, which
-- belongs to it. An entry holds for exactly the predictions whose number and fingerprint it has.
CREATE TABLE panthera.served_count (
    release_id text NOT NULL REFERENCES panthera.release,
    bins text NOT NULL,
    hour timestamptz NOT NULL,
    format_version int NOT NULL,
    predictions bigint NOT NULL,
    fingerprint bigint NOT NULL,
    counts bigint[] NOT NULL,
    counted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (release_id, bins, hour)
);

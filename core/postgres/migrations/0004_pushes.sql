-- Rows that were pushed: the same id with the same payload is stored once, with another payload it is refused.
CREATE TABLE panthera.pushed_row (
    online_table text NOT NULL,
    event_id text NOT NULL,
    digest bytea NOT NULL,
    pushed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (online_table, event_id)
);
CREATE INDEX ON panthera.pushed_row (pushed_at);

-- A range run brought the rows of a span of event times alone, so it says nothing about what was knowable at its end.
ALTER TABLE panthera.materialization
    DROP CONSTRAINT materialization_kind_check,
    ADD CONSTRAINT materialization_kind_check CHECK (kind IN ('full', 'increment', 'range'));

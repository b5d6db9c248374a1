-- What the values of every online table depend on, so that it can be filled after the plan's view has moved on. The text keeps
-- the order of features, which a feature over other ones needs.
CREATE TABLE panthera.view_definition (
    online_table text PRIMARY KEY,
    format_version int NOT NULL,
    view text NOT NULL,
    fingerprint text NOT NULL,
    definition text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now()
);

-- Which online tables a release reads.
CREATE TABLE panthera.release_table (
    release_id text NOT NULL REFERENCES panthera.release,
    view text NOT NULL,
    online_table text NOT NULL,
    PRIMARY KEY (release_id, view)
);

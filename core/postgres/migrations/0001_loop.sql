CREATE SCHEMA IF NOT EXISTS online;
CREATE SCHEMA IF NOT EXISTS feast;
CREATE SCHEMA IF NOT EXISTS mlflow;

-- One row for each release: a bundle, its feature service, and the revisions of data and code that made it.
CREATE TABLE panthera.release (
    release_id text PRIMARY KEY,
    format_version int NOT NULL,
    model text NOT NULL,
    candidate text NOT NULL,
    bundle_digest text NOT NULL,
    feature_service text NOT NULL,
    data_revision text NOT NULL,
    code_revision text NOT NULL,
    registry_version text NOT NULL,
    metrics jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- The history of who was what: the newest row of a (model, role) holds.
CREATE TABLE panthera.release_role (
    change_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model text NOT NULL,
    role text NOT NULL CHECK (role IN ('champion', 'challenger')),
    release_id text NOT NULL REFERENCES panthera.release,
    reason text NOT NULL,
    since timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON panthera.release_role (model, role, change_id DESC);

-- What was answered, from which release, and the vector it was computed from.
CREATE TABLE panthera.prediction (
    prediction_id uuid PRIMARY KEY,
    entity text NOT NULL,
    as_of timestamptz NOT NULL,
    release_id text NOT NULL REFERENCES panthera.release,
    experiment text NOT NULL,
    arm text NOT NULL,
    score double precision NOT NULL,
    decision text NOT NULL,
    features jsonb NOT NULL,
    event_times jsonb NOT NULL,
    statuses jsonb NOT NULL,
    logged_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON panthera.prediction (as_of);
CREATE INDEX ON panthera.prediction (logged_at);

-- The first time an entity met its arm.
CREATE TABLE panthera.exposure (
    experiment text NOT NULL,
    entity text NOT NULL,
    arm text NOT NULL,
    bucket int NOT NULL,
    release_id text NOT NULL REFERENCES panthera.release,
    prediction_id uuid NOT NULL,
    exposed_at timestamptz NOT NULL,
    logged_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (experiment, entity)
);

-- What later happened to an entity.
CREATE TABLE panthera.outcome (
    outcome_id text PRIMARY KEY,
    entity text NOT NULL,
    observed_at timestamptz NOT NULL,
    value double precision NOT NULL,
    logged_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON panthera.outcome (entity, observed_at);

-- Every run that brought a view online.
CREATE TABLE panthera.materialization (
    run_id uuid PRIMARY KEY,
    view text NOT NULL,
    online_table text NOT NULL,
    as_of timestamptz NOT NULL,
    rows_written bigint NOT NULL,
    finished_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON panthera.materialization (online_table, finished_at DESC);

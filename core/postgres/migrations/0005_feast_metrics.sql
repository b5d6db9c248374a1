-- What Feast's own monitoring keeps: statistics of features, views and services by day, and the jobs that computed them.
CREATE TABLE panthera.feast_metric (
    kind text NOT NULL CHECK (kind IN ('feature', 'feature_view', 'feature_service', 'job')),
    identity jsonb NOT NULL,
    record jsonb NOT NULL,
    PRIMARY KEY (kind, identity)
);

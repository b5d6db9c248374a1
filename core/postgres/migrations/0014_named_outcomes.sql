-- An outcome may have a name: what a guardrail metric counts. The one without a name is the label's.
ALTER TABLE panthera.outcome ADD COLUMN name text NOT NULL DEFAULT '';
-- With the order in which the first outcome of a unit is found, and its value, so that a comparison reads the index alone.
CREATE INDEX outcome_by_unit ON panthera.outcome (entity, name, observed_at, outcome_id COLLATE "C") INCLUDE (value);
DROP INDEX panthera.outcome_entity_observed_at_idx;

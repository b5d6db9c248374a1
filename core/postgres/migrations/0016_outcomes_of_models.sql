-- An outcome belongs to a model, since two plans in one database may have equal outcome ids, entities and names. The earlier ones
-- have no model, and count for every model as before.
ALTER TABLE panthera.outcome ADD COLUMN model text NOT NULL DEFAULT '';
ALTER TABLE panthera.outcome DROP CONSTRAINT outcome_pkey, ADD PRIMARY KEY (outcome_id, model);
-- With the order in which the first outcome of a unit is found, and its value, so that a comparison reads the index alone.
DROP INDEX panthera.outcome_entity_observed_at_idx;
CREATE INDEX outcome_by_unit ON panthera.outcome (entity, name, observed_at, outcome_id COLLATE "C") INCLUDE (value, model);

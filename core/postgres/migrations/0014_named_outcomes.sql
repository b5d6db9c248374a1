-- An outcome may have a name: what a guardrail metric counts. The one without a name is the label's.
ALTER TABLE panthera.outcome ADD COLUMN name text NOT NULL DEFAULT '';

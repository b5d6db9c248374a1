-- The phases of an experiment: the units of one were dealt to the arms by one salt and the same weights, and met the same
-- releases. The weights are in lowest terms; without a challenger its weight is 0.
CREATE TABLE panthera.experiment_phase (
    phase_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    experiment text NOT NULL,
    salt text NOT NULL,
    champion_weight int NOT NULL,
    challenger_weight int NOT NULL,
    champion text NOT NULL REFERENCES panthera.release,
    challenger text REFERENCES panthera.release,
    since timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX ON panthera.experiment_phase
    (experiment, salt, champion_weight, challenger_weight, champion, coalesce(challenger, ''));
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON panthera.experiment_phase
    FOR EACH STATEMENT EXECUTE FUNCTION panthera.refuse_rewriting();

-- Who counted replayed predictions as exposures, and why.
CREATE TABLE panthera.exposure_import (
    import_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    experiment text NOT NULL,
    after timestamptz,
    until timestamptz,
    actor text NOT NULL,
    reason text NOT NULL,
    imported_at timestamptz NOT NULL DEFAULT now()
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON panthera.exposure_import
    FOR EACH STATEMENT EXECUTE FUNCTION panthera.refuse_rewriting();

-- A replay was asked as of an instant that had passed: it exposes nobody by itself.
ALTER TABLE panthera.prediction ADD COLUMN phase_id int, ADD COLUMN replay boolean NOT NULL DEFAULT false;

-- An exposure without a phase is from before phases were recorded; one with an import is dated by its prediction's as_of.
ALTER TABLE panthera.exposure
    ADD COLUMN phase_id int,
    ADD COLUMN import_id int REFERENCES panthera.exposure_import;

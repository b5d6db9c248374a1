-- A round may also decide that the challenger's role is taken from a release that lost its comparison.
ALTER TABLE panthera.monitor_round DROP CONSTRAINT monitor_round_decision_check,
    ADD CONSTRAINT monitor_round_decision_check
        CHECK (decision IN ('hold', 'retrain', 'retire', 'promote', 'roll_back', 'block'));

"""Retrain by one verb: the plan with newer instants, the stages, the record."""

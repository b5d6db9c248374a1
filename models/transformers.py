"""Transformers under the name that skops files of earlier versions give."""

from models.scoring.transformers import LevelRanks, NearestRowsImputer, SignedLog, Winsoriser

__all__ = ["LevelRanks", "NearestRowsImputer", "SignedLog", "Winsoriser"]

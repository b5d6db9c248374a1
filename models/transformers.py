"""Transformers under the module name that skops files of earlier versions contain."""

from models.scoring.transformers import LevelRanks, NearestRowsImputer, SignedLog, Winsoriser

__all__ = ["LevelRanks", "NearestRowsImputer", "SignedLog", "Winsoriser"]

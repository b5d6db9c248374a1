"""The plan's preparation steps as unfitted scikit-learn transformers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch
from typing import TYPE_CHECKING, Any

import numpy as np

from core.errors import PlanError
from core.plan.steps import (
    Impute,
    ImputeConstant,
    ImputeIterative,
    ImputeKnn,
    Log,
    OneHot,
    Ordinal,
    Pca,
    Polynomial,
    PowerTransform,
    Scale,
    TargetEncode,
    Tfidf,
    TruncatedSvd,
    Winsorise,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from core.contracts import ContractFeature
    from core.plan.steps import Step
    from models.data.rows import Task


@dataclass(frozen=True)
class Fitting:
    """What a step may need besides its parameters: the features of its columns, the task and the seed."""

    features: tuple[ContractFeature, ...]
    task: Task
    seed: int


@singledispatch
def scikit_step(step: Step, fitting: Fitting) -> Any:
    """Return the unfitted transformer of a step."""
    raise NotImplementedError(type(step), fitting)


@scikit_step.register(Impute)
def _(step: Impute, fitting: Fitting) -> Any:  # noqa: ARG001
    from sklearn.impute import SimpleImputer

    strategies = {"impute_mean": "mean", "impute_median": "median", "impute_mode": "most_frequent"}
    return SimpleImputer(strategy=strategies[step.step], add_indicator=step.indicator, keep_empty_features=True)


@scikit_step.register(ImputeConstant)
def _(step: ImputeConstant, fitting: Fitting) -> Any:  # noqa: ARG001
    from sklearn.impute import SimpleImputer

    return SimpleImputer(
        strategy="constant", fill_value=step.value, add_indicator=step.indicator, keep_empty_features=True
    )


@scikit_step.register(ImputeKnn)
def _(step: ImputeKnn, fitting: Fitting) -> Any:  # noqa: ARG001
    from models.scoring.transformers import NearestRowsImputer

    return NearestRowsImputer(step.reference_rows, n_neighbors=step.neighbours, add_indicator=step.indicator)


@scikit_step.register(ImputeIterative)
def _(step: ImputeIterative, fitting: Fitting) -> Any:
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - its import makes the next one possible
    from sklearn.impute import IterativeImputer

    return IterativeImputer(
        max_iter=step.rounds, random_state=fitting.seed, add_indicator=step.indicator, keep_empty_features=True
    )


@scikit_step.register(Winsorise)
def _(step: Winsorise, fitting: Fitting) -> Any:  # noqa: ARG001
    from models.scoring.transformers import Winsoriser

    return Winsoriser(step.lower, step.upper)


@scikit_step.register(Log)
def _(step: Log, fitting: Fitting) -> Any:  # noqa: ARG001
    from models.scoring.transformers import SignedLog

    return SignedLog()


@scikit_step.register(PowerTransform)
def _(step: PowerTransform, fitting: Fitting) -> Any:  # noqa: ARG001
    from sklearn.preprocessing import PowerTransformer

    return PowerTransformer(method=step.method.replace("_", "-"))


@scikit_step.register(Scale)
def _(step: Scale, fitting: Fitting) -> Any:  # noqa: ARG001
    from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

    scalers = {
        "standard_scale": StandardScaler,
        "min_max_scale": lambda: MinMaxScaler(clip=True),
        "robust_scale": RobustScaler,
    }
    return scalers[step.step]()


@scikit_step.register(Polynomial)
def _(step: Polynomial, fitting: Fitting) -> Any:  # noqa: ARG001
    from sklearn.preprocessing import PolynomialFeatures

    return PolynomialFeatures(step.degree, interaction_only=step.interactions_only, include_bias=False)


@scikit_step.register(Pca)
def _(step: Pca, fitting: Fitting) -> Any:
    from sklearn.decomposition import PCA

    return PCA(step.components, random_state=fitting.seed)


@scikit_step.register(OneHot)
def _(step: OneHot, fitting: Fitting) -> Any:  # noqa: ARG001
    from sklearn.preprocessing import OneHotEncoder

    return OneHotEncoder(
        handle_unknown="infrequent_if_exist",
        min_frequency=step.min_count,
        max_categories=step.max_levels,
        sparse_output=False,
    )


@scikit_step.register(Ordinal)
def _(step: Ordinal, fitting: Fitting) -> Any:
    from models.scoring.transformers import LevelRanks

    return LevelRanks([_ranks(feature, step) for feature in fitting.features])


def _ranks(feature: ContractFeature, step: Ordinal) -> NDArray[np.float64]:
    """Return the rank of each level's code in the stated order.

    Raises
    ------
    PlanError
        If the order lacks a level of the training rows.

    """
    name = f"{feature.view}.{feature.name}"
    stated = step.order[name]
    left_out = sorted(set(feature.levels) - set(stated))
    if left_out:
        raise PlanError(
            f"ordinal.order.{name}: the level {left_out[0]!r} of the training rows is missing; add it to the order"
        )
    return np.array([stated.index(level) for level in feature.levels], dtype=np.float64)


@scikit_step.register(TargetEncode)
def _(step: TargetEncode, fitting: Fitting) -> Any:
    from sklearn.model_selection import KFold, StratifiedKFold
    from sklearn.preprocessing import TargetEncoder

    folds = KFold if fitting.task.problem == "regression" else StratifiedKFold
    return TargetEncoder(
        target_type={"regression": "continuous"}.get(fitting.task.problem, fitting.task.problem),
        smooth="auto" if step.smooth is None else step.smooth,
        cv=folds(step.folds, shuffle=True, random_state=fitting.seed),
    )


@scikit_step.register(Tfidf)
def _(step: Tfidf, fitting: Fitting) -> Any:  # noqa: ARG001
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(max_features=step.max_terms, min_df=step.min_count, ngram_range=(1, step.words))


@scikit_step.register(TruncatedSvd)
def _(step: TruncatedSvd, fitting: Fitting) -> Any:
    from sklearn.decomposition import TruncatedSVD

    return TruncatedSVD(step.components, random_state=fitting.seed)

"""The preprocessing steps of a candidate, by kind of column; all are fitted on training rows only.

A step is a mapping with its parameters, or only its name for the defaults: `impute_median` is `{step: impute_median}`.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, model_validator

from core.plan.section import Section, Share

Count = Annotated[int, Field(ge=1)]


def _from_name(key: str) -> BeforeValidator:
    """Return a validator that accepts the name of a step for the step with its defaults."""
    return BeforeValidator(lambda value: {key: value} if isinstance(value, str) else value)


class LeaveOut(Section):
    """Drop all columns of this kind."""

    step: Literal["leave_out"]


class Impute(Section):
    """Replace missing values by the mean, median or mode of the training rows; by 0 if a column has no value there.

    `indicator` adds a 0/1 column for each column with missing values in training.
    """

    step: Literal["impute_mean", "impute_median", "impute_mode"]
    indicator: bool = False
    """Add a 0/1 column for each column that had missing values in training."""


class ImputeConstant(Section):
    """Replace missing values by a constant."""

    step: Literal["impute_constant"]
    value: float = 0.0
    """Value that replaces a missing one."""
    indicator: bool = False
    """Add a 0/1 column for each column that had missing values in training."""


class ImputeKnn(Section):
    """Replace missing values by the mean of the nearest training rows.

    The neighbours are searched among `reference_rows` evenly spaced training rows, which the model stores; the time for
    one imputation grows with their number.
    """

    step: Literal["impute_knn"]
    neighbours: Count = 5
    """Number of nearest rows whose mean is taken."""
    reference_rows: Count = 5000
    """Number of training rows that are kept to search in."""
    indicator: bool = False
    """Add a 0/1 column for each column that had missing values in training."""


class ImputeIterative(Section):
    """Predict a missing value from the other columns, by Bayesian ridge regression, in rounds."""

    step: Literal["impute_iterative"]
    rounds: Count = 10
    """Number of rounds over all columns."""
    indicator: bool = False
    """Add a 0/1 column for each column that had missing values in training."""


class Winsorise(Section):
    """Clip values to two quantiles of the training rows."""

    step: Literal["winsorise"]
    lower: Share = 0.01
    """Quantile below which values are raised to it."""
    upper: Share = 0.99
    """Quantile above which values are lowered to it."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if not self.lower < self.upper:
            raise ValueError(f"lower {self.lower} is not below upper {self.upper}; set a smaller lower quantile")
        return self


class Log(Section):
    """Compute sign(x) log(1 + |x|), a logarithm that is defined for every number."""

    step: Literal["log"]


class PowerTransform(Section):
    """Transform columns to be closer to normally distributed, and standardise them; Box-Cox needs positive values."""

    step: Literal["power_transform"]
    method: Literal["yeo_johnson", "box_cox"] = "yeo_johnson"
    """Family of the transformation."""


class Scale(Section):
    """Scale by mean and standard deviation, by minimum and maximum (clipped to [0, 1]), or by median and quartiles."""

    step: Literal["standard_scale", "min_max_scale", "robust_scale"]


class Polynomial(Section):
    """Add the products of up to `degree` columns; `interactions_only` excludes powers of a column."""

    step: Literal["polynomial"]
    degree: Annotated[int, Field(ge=2, le=4)] = 2
    """Largest number of factors of a product."""
    interactions_only: bool = False
    """Leave out powers of one column."""


class Pca(Section):
    """Replace the columns by their principal components."""

    step: Literal["pca"]
    components: Count
    """Number of components."""


class OneHot(Section):
    """Encode a column as one 0/1 column per level; missing is a level, and rare levels share a column.

    An unseen level counts as rare; if no level was rare in training, it is 0 in every column.
    """

    step: Literal["one_hot"]
    min_count: Count = 1
    """Training rows that a level needs for a column of its own."""
    max_levels: Annotated[int, Field(ge=2)] = 50
    """Largest number of columns for one feature."""


class Ordinal(Section):
    """Encode a level as its index in the stated order, by `view.feature`; missing and unseen levels are missing."""

    step: Literal["ordinal"]
    order: Annotated[dict[str, Annotated[tuple[str, ...], Field(strict=False)]], Field(min_length=1)]
    """Levels from lowest to highest, by `view.feature`."""


class TargetEncode(Section):
    """Encode a level as its mean label, shrunk towards the overall mean; training rows are encoded by cross-fitting.

    A larger `smooth` shrinks more; without it, the amount is estimated. An unseen level gets the overall mean.
    """

    step: Literal["target_encode"]
    smooth: Annotated[float, Field(ge=0)] | None = None
    """Strength of the shrinkage to the overall mean, in rows; without it: estimated."""
    folds: Annotated[int, Field(ge=2)] = 5
    """Number of folds for the encoding of training rows."""


class Tfidf(Section):
    """Compute TF-IDF weights of the most frequent terms; `words` is the largest n of the n-grams."""

    step: Literal["tfidf"]
    max_terms: Count = 1000
    """Number of most frequent terms."""
    min_count: Count = 2
    """Training rows that a term must occur in."""
    words: Annotated[int, Field(ge=1, le=3)] = 1
    """Longest term, in words."""


class TruncatedSvd(Section):
    """Reduce the TF-IDF weights to a few components (latent semantic analysis)."""

    step: Literal["truncated_svd"]
    components: Count = 20
    """Number of components."""


_Imputation = Impute | ImputeConstant | ImputeKnn | ImputeIterative
_Transform = Winsorise | Log | PowerTransform | Scale | Polynomial | Pca
_STEP = "step"

NumericStep = Annotated[LeaveOut | _Imputation | _Transform, Discriminator(_STEP), _from_name(_STEP)]
CategoricalStep = Annotated[
    LeaveOut | Impute | OneHot | Ordinal | TargetEncode | Scale, Discriminator(_STEP), _from_name(_STEP)
]
TextStep = Annotated[Tfidf | TruncatedSvd, Discriminator(_STEP), _from_name(_STEP)]
JoinedStep = Annotated[_Imputation | _Transform, Discriminator(_STEP), _from_name(_STEP)]
Step = NumericStep | CategoricalStep | TextStep | JoinedStep


class ByCorrelation(Section):
    """Drop a column whose absolute correlation with an earlier column exceeds `above`."""

    by: Literal["correlation"]
    above: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Absolute correlation above which a column is dropped."""


class ByScore(Section):
    """Keep the columns with the highest univariate score: chi-squared, ANOVA's F, or mutual information."""

    by: Literal["chi_squared", "anova", "mutual_information"]
    keep: Count
    """Number of columns that are kept."""


class ByL1(Section):
    """Keep the columns with a nonzero weight in a linear model with an L1 penalty; a smaller number keeps fewer."""

    by: Literal["l1"]
    penalty_inverse: Annotated[float, Field(gt=0)] = 0.1
    """Inverse strength of the penalty."""


class ByTreeImportance(Section):
    """Keep the columns with the highest importance in a random forest."""

    by: Literal["tree_importance"]
    keep: Count
    """Number of columns that are kept."""
    trees: Count = 50
    """Number of trees of the forest."""


class ByElimination(Section):
    """Recursive feature elimination: repeatedly drop the column with the smallest weight in a linear model."""

    by: Literal["elimination"]
    keep: Count
    """Number of columns that are kept."""


Selector = Annotated[
    ByCorrelation | ByScore | ByL1 | ByTreeImportance | ByElimination, Discriminator("by"), _from_name("by")
]

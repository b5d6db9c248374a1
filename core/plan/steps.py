"""The steps between encoded features and an estimator, by kind of column; all are fitted on training rows only.

A step is a mapping with its parameters, or its name alone where the defaults will do: `impute_median` is
`{step: impute_median}`.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, model_validator

from core.plan.section import Section, Share

Count = Annotated[int, Field(ge=1)]


def _from_name(key: str) -> BeforeValidator:
    """Let the name of a step stand for the step with its defaults."""
    return BeforeValidator(lambda value: {key: value} if isinstance(value, str) else value)


class LeaveOut(Section):
    """Take none of the columns of this kind."""

    step: Literal["leave_out"]


class Impute(Section):
    """Put the training rows' mean, median or most frequent value in place of a missing one; 0 where they have none.

    `indicator` adds, for each column with gaps in training, a column that says where they were.
    """

    step: Literal["impute_mean", "impute_median", "impute_mode"]
    indicator: bool = False
    """Add a 0/1 column for each column that had missing values in training."""


class ImputeConstant(Section):
    """Put one number in place of a missing value."""

    step: Literal["impute_constant"]
    value: float = 0.0
    """Value that replaces a missing one."""
    indicator: bool = False
    """Add a 0/1 column for each column that had missing values in training."""


class ImputeKnn(Section):
    """Put the mean of the nearest training rows in place of a missing value.

    They are looked for among `reference_rows` training rows, spread evenly, which the model keeps: what one imputation
    takes grows with them.
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
    """Draw values beyond two quantiles of the training rows in to them."""

    step: Literal["winsorise"]
    lower: Share = 0.01
    """Quantile below which values are raised to it."""
    upper: Share = 0.99
    """Quantile above which values are lowered to it."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if not self.lower < self.upper:
            raise ValueError(f"lower {self.lower} is not below upper {self.upper}")
        return self


class Log(Section):
    """Take sign(x) log(1 + |x|), which is a logarithm for amounts and counts, and defined for every number."""

    step: Literal["log"]


class PowerTransform(Section):
    """Bring columns nearer to a normal distribution and scale them; Box-Cox takes positive values only."""

    step: Literal["power_transform"]
    method: Literal["yeo_johnson", "box_cox"] = "yeo_johnson"
    """Family of the transformation."""


class Scale(Section):
    """Scale by mean and deviation, by minimum and maximum (beyond them to 0 or 1), or by median and quartiles."""

    step: Literal["standard_scale", "min_max_scale", "robust_scale"]


class Polynomial(Section):
    """Add the products of up to `degree` columns; with `interactions_only` no column is multiplied with itself."""

    step: Literal["polynomial"]
    degree: Annotated[int, Field(ge=2, le=4)] = 2
    """Largest number of factors of a product."""
    interactions_only: bool = False
    """Leave out powers of one column."""


class Pca(Section):
    """Turn to the principal components."""

    step: Literal["pca"]
    components: Count
    """Number of components."""


class OneHot(Section):
    """A column for each level, missing among them; rare levels share one, and an unseen level counts as rare.

    Without rare levels an unseen one has 0 in every column.
    """

    step: Literal["one_hot"]
    min_count: Count = 1
    """Training rows that a level needs for a column of its own."""
    max_levels: Annotated[int, Field(ge=2)] = 50
    """Largest number of columns for one feature."""


class Ordinal(Section):
    """The place of the level in the stated order, by `view.feature`; missing and unseen are missing."""

    step: Literal["ordinal"]
    order: Annotated[dict[str, Annotated[tuple[str, ...], Field(strict=False)]], Field(min_length=1)]
    """Levels from lowest to highest, by `view.feature`."""


class TargetEncode(Section):
    """The mean label of a level, drawn towards the overall mean; training rows get it from the other folds.

    A larger `smooth` draws more; without it the strength is estimated. An unseen level has the overall mean.
    """

    step: Literal["target_encode"]
    smooth: Annotated[float, Field(ge=0)] | None = None
    """Strength of the shrinkage to the overall mean, in rows; without it: estimated."""
    folds: Annotated[int, Field(ge=2)] = 5
    """Number of folds for the encoding of training rows."""


class Tfidf(Section):
    """A weight for each of the most frequent terms: their frequency in the text, and their rarity in the training rows."""

    step: Literal["tfidf"]
    max_terms: Count = 1000
    """Number of most frequent terms."""
    min_count: Count = 2
    """Training rows that a term must occur in."""
    words: Annotated[int, Field(ge=1, le=3)] = 1
    """Longest term, in words."""


class TruncatedSvd(Section):
    """Condense the terms' weights to a few directions (latent semantic analysis)."""

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
    """Leave out a column that is correlated above the limit, in size, with one before it."""

    by: Literal["correlation"]
    above: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Absolute correlation above which a column is dropped."""


class ByScore(Section):
    """Keep the columns that tell most of the label, each alone: by chi-squared, by ANOVA's F, or by mutual information."""

    by: Literal["chi_squared", "anova", "mutual_information"]
    keep: Count
    """Number of columns that are kept."""


class ByL1(Section):
    """Keep the columns to which a linear model with an L1 penalty gives a weight; a smaller number keeps fewer."""

    by: Literal["l1"]
    penalty_inverse: Annotated[float, Field(gt=0)] = 0.1
    """Inverse strength of the penalty."""


class ByTreeImportance(Section):
    """Keep the columns that a forest of random trees finds most important."""

    by: Literal["tree_importance"]
    keep: Count
    """Number of columns that are kept."""
    trees: Count = 50
    """Number of trees of the forest."""


class ByElimination(Section):
    """Leave out the column with the smallest weight of a linear model, again and again (recursive feature elimination)."""

    by: Literal["elimination"]
    keep: Count
    """Number of columns that are kept."""


Selector = Annotated[
    ByCorrelation | ByScore | ByL1 | ByTreeImportance | ByElimination, Discriminator("by"), _from_name("by")
]

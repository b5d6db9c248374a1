"""The section `train`: candidates, each made of preprocessing steps and an estimator, fitted on training rows only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from core.plan.section import Name, Section, Share
from core.plan.steps import (
    CategoricalStep,
    Count,
    Impute,
    JoinedStep,
    NumericStep,
    OneHot,
    Scale,
    Selector,
    TextStep,
)
from core.plan.tuning import Tune  # noqa: TC001 - pydantic reads the annotations

if TYPE_CHECKING:
    from collections.abc import Mapping

Positive = Annotated[float, Field(gt=0)]
Steps = Field(default=(), strict=False)
#: The weight of each class in fitting; `balanced` gives all classes the same total weight.
ClassWeight = Literal["balanced"] | dict[str, Positive]


class MajorityCandidate(Section):
    """A constant prediction: the share of each class in the training rows, or the mean label for a regression."""

    estimator: Literal["majority"]


class FeatureValueCandidate(Section):
    """The value of a feature as the prediction of a regression, such as a lag: the last value, or that of a season ago.

    A missing value is the median of the training rows.
    """

    estimator: Literal["feature_value"]
    feature: str
    """`view.feature` of the service, a number."""


class SingleFeatureCandidate(Section):
    """A logistic or linear regression on one feature; it ranks the rows as that feature does."""

    estimator: Literal["single_feature"]
    feature: str
    """`view.feature` of the service, a number."""


class _Prepared(Section):
    """A candidate with steps by kind of column; `joined` and `select` are applied to the columns of all kinds together.

    Free text without a step is dropped.
    """

    estimator: str
    text: tuple[TextStep, ...] = Steps
    """Steps for features of the dtype text."""
    joined: tuple[JoinedStep, ...] = Steps
    """Steps over the columns of all kinds together."""
    select: tuple[Selector, ...] = Steps
    """Selection of columns, after all steps."""
    tune: Tune | None = None
    """Search for better values of other keys."""


class _OfNumbers(_Prepared):
    """An estimator that needs numbers without missing values; by default: impute, scale, and one-hot encode."""

    numeric: tuple[NumericStep, ...] = Field(
        default=(Impute(step="impute_median"), Scale(step="standard_scale")), strict=False
    )
    """Steps for numbers, in their order."""
    categorical: tuple[CategoricalStep, ...] = Field(default=(OneHot(step="one_hot"),), strict=False)
    """Steps for strings, in their order."""
    class_weight: ClassWeight | None = None
    """Weight of each class in fitting, or `balanced`."""


class _Native(_Prepared):
    """An estimator that accepts categories and missing values; a kind without steps is passed to it unchanged."""

    numeric: tuple[NumericStep, ...] = Steps
    """Steps for numbers, in their order."""
    categorical: tuple[CategoricalStep, ...] = Steps
    """Steps for strings, in their order."""
    class_weight: ClassWeight | None = None
    """Weight of each class in fitting, or `balanced`."""


class LogisticCandidate(_OfNumbers):
    """A logistic regression with an L2, L1 or elastic-net penalty; a larger `penalty_inverse` shrinks less."""

    estimator: Literal["logistic_regression"]
    penalty: Literal["l2", "l1", "elastic_net"] = "l2"
    """Kind of penalty on the weights."""
    penalty_inverse: Positive = 1.0
    """Inverse strength of the penalty; a larger one shrinks less."""
    l1_share: Share = 0.5
    """Share of the L1 penalty in `elastic_net`."""


class LinearRegressionCandidate(_OfNumbers):
    """A linear regression by least squares with an L2, L1 or elastic-net penalty."""

    estimator: Literal["linear_regression"]
    penalty: Literal["l2", "l1", "elastic_net"] = "l2"
    """Kind of penalty on the weights."""
    strength: Positive = 1.0
    """Strength of the penalty; a larger one shrinks more."""
    l1_share: Share = 0.5
    """Share of the L1 penalty in `elastic_net`."""


class LinearSvmCandidate(_OfNumbers):
    """A linear support vector machine; a sigmoid fitted on `folds` held-out folds maps its scores to probabilities."""

    estimator: Literal["linear_svm"]
    penalty_inverse: Positive = 1.0
    """Inverse strength of the penalty; a larger one shrinks less."""
    folds: Annotated[int, Field(ge=2)] = 5
    """Folds for the curve from scores to probabilities."""


class DecisionTreeCandidate(_OfNumbers):
    """One decision tree."""

    estimator: Literal["decision_tree"]
    max_depth: Count | None = 5
    """Largest depth; null for none."""
    min_leaf_rows: Count = 20
    """Smallest number of training rows in a leaf."""


class RandomForestCandidate(_OfNumbers):
    """A random forest: trees on samples of the rows and of the columns."""

    estimator: Literal["random_forest"]
    trees: Annotated[int, Field(ge=1, le=10_000)] = 200
    """Number of trees."""
    max_depth: Count | None = None
    """Largest depth; null for none."""
    min_leaf_rows: Count = 5
    """Smallest number of training rows in a leaf."""
    column_share: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of the columns tried at a split; without it: the square root of their number."""


class MlpCandidate(_OfNumbers):
    """A neural network of fully connected layers; `early_stopping` holds out a tenth of the training rows."""

    estimator: Literal["mlp"]
    hidden: Annotated[tuple[Count, ...], Field(strict=False, min_length=1)] = (32,)
    """Units of each hidden layer."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    """Strength of the L2 penalty."""
    learning_rate: Positive = 1e-3
    """Initial learning rate of Adam."""
    rounds: Count = 200
    """Largest number of passes over the training rows."""
    early_stopping: bool = True
    """Hold out a tenth of the training rows, and stop when they no longer improve."""


Parameters = dict[str, int | float | str | bool]
Loss = Literal["squared", "absolute", "poisson", "tweedie", "quantile"]
Rounds = Annotated[int, Field(ge=1, le=100_000)]


class _Boosted(_Native):
    """Gradient-boosted trees: at most `rounds`; stops after `early_stopping` rounds without a lower validation loss.

    A regression predicts the mean with the losses `squared`, `poisson` (counts) and `tweedie` (amounts with many zeros), the
    median with `absolute`, and with `quantile` what that share of the labels does not exceed.
    """

    rounds: Rounds = 500
    """Largest number of trees."""
    early_stopping: Count = 50
    """Rounds without a lower validation loss after which fitting stops."""
    params: Parameters = Field(default_factory=dict)
    """Parameters of the library, by its own names; those that the platform sets are refused."""
    loss: Loss = "squared"
    """What the trees of a regression minimise."""
    quantile: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Level of the loss `quantile`."""
    tweedie_power: Annotated[float, Field(gt=1, lt=2)] = 1.5
    """Power of the mean that the variance has in the loss `tweedie`: nearer to 1 for counts, nearer to 2 for amounts."""


class LightGbmCandidate(_Boosted):
    """Gradient-boosted trees by LightGBM."""

    estimator: Literal["lightgbm"]


class XgboostCandidate(_Boosted):
    """Gradient-boosted trees by XGBoost; needs the extra `xgboost`."""

    estimator: Literal["xgboost"]


class CatBoostCandidate(_Boosted):
    """Gradient-boosted symmetric trees by CatBoost; needs the extra `catboost`."""

    estimator: Literal["catboost"]


class BlendCandidate(Section):
    """The weighted mean of other candidates' predictions; without `weights` the plain mean."""

    estimator: Literal["blend"]
    of: Annotated[tuple[Name, ...], Field(strict=False, min_length=2)]
    """Names of the candidates that are blended."""
    weights: Annotated[tuple[Positive, ...], Field(strict=False)] | None = None
    """Weight of each; without them: equal ones."""


class StackingCandidate(Section):
    """Stacking: a linear model on the out-of-fold predictions of other candidates."""

    estimator: Literal["stacking"]
    of: Annotated[tuple[Name, ...], Field(strict=False, min_length=2)]
    """Names of the candidates that are stacked."""
    folds: Annotated[int, Field(ge=2)] = 5
    """Folds of the training rows for their out-of-fold predictions."""
    penalty_inverse: Positive = 1.0
    """Inverse strength of the penalty of the linear model."""


OfNumbersCandidate = (
    LogisticCandidate
    | LinearRegressionCandidate
    | LinearSvmCandidate
    | DecisionTreeCandidate
    | RandomForestCandidate
    | MlpCandidate
)
BoostedCandidate = LightGbmCandidate | XgboostCandidate | CatBoostCandidate
PreparedCandidate = OfNumbersCandidate | BoostedCandidate
Ensemble = BlendCandidate | StackingCandidate
Candidate = Annotated[
    MajorityCandidate
    | FeatureValueCandidate
    | SingleFeatureCandidate
    | LogisticCandidate
    | LinearRegressionCandidate
    | LinearSvmCandidate
    | DecisionTreeCandidate
    | RandomForestCandidate
    | MlpCandidate
    | LightGbmCandidate
    | XgboostCandidate
    | CatBoostCandidate
    | BlendCandidate
    | StackingCandidate,
    Field(discriminator="estimator"),
]


class Train(Section):
    """The candidates, and the seed of all random numbers in fitting them."""

    seed: int
    """Seed of all random numbers."""
    candidates: Annotated[dict[Name, Candidate], Field(min_length=2)]
    """Candidates by name."""


def replaced(candidate: PreparedCandidate, values: Mapping[str, Any]) -> PreparedCandidate:
    """Return the candidate with new values at dotted paths, such as `params.num_leaves` or `numeric.0.lower`.

    Raises
    ------
    ValueError
        If there is no such path, or a value is not allowed there.

    """
    content = candidate.model_dump(mode="json")
    for path, value in values.items():
        *parents, last = path.split(".")
        section: Any = content
        for key in parents:
            section = section[int(key)] if isinstance(section, list) else section[key]
        if isinstance(section, list):
            section[int(last)] = value
        else:
            section[last] = value
    return _CANDIDATE.validate_python(content)


_CANDIDATE: TypeAdapter[PreparedCandidate] = TypeAdapter(Annotated[PreparedCandidate, Field(discriminator="estimator")])

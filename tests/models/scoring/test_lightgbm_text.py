"""A model's numbers are compared with what they are places in, before LightGBM, which does not, parses them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest

from core.errors import BundleError
from models.scoring.lightgbm_text import check_lightgbm_text


def text_of(**parameters: Any) -> str:
    """Train three small trees over two numbers and a category."""
    chance = np.random.default_rng(3)
    matrix = np.column_stack([chance.normal(size=400), chance.normal(size=400), chance.integers(0, 40, 400)])
    label = (matrix[:, 0] + 3 * (matrix[:, 2] % 2) > 1.5).astype(int)
    data = lightgbm.Dataset(matrix, label, categorical_feature=[2])
    settled = {"objective": "binary", "verbosity": -1, "num_leaves": 4, "min_data_per_group": 1, "cat_smooth": 1}
    return str(lightgbm.train({**settled, **parameters}, data, 3).model_to_string())


TEXT = text_of()


@pytest.mark.parametrize(
    "parameters", [{}, {"linear_tree": True}, {"boosting": "dart"}, {"objective": "regression"}, {"max_depth": 1}]
)
def test_what_lightgbm_writes_is_sound(parameters: dict[str, Any]) -> None:
    check_lightgbm_text(text_of(**parameters).encode())


def test_a_model_of_no_split_is_sound() -> None:
    data = lightgbm.Dataset(np.zeros((50, 1)), np.arange(50) % 2)
    check_lightgbm_text(lightgbm.train({"objective": "binary", "verbosity": -1}, data, 2).model_to_string().encode())


def changed(key: str, value: str, *, place: int = 0) -> bytes:
    """Give another value to one number of the first line that begins with `key`; sizes stay true to the text."""
    line = next(line for line in TEXT.splitlines() if line.startswith(f"{key}="))
    words = line.partition("=")[2].split()
    words[place] = value
    text = TEXT.replace(line, f"{key}={' '.join(words)}", 1)
    trees = re.split(r"(?=Tree=\d+\n)", text.partition("end of trees")[0])[1:]
    return re.sub(r"(?m)^tree_sizes=.*$", f"tree_sizes={' '.join(str(len(tree)) for tree in trees)}", text).encode()


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        ("split_feature", "3", "a feature of tree 0"),
        ("split_feature", "-1", "a feature of tree 0"),
        ("left_child", "77", "a node of tree 0"),
        ("left_child", "0", "a node of tree 0"),
        ("right_child", "-99", "a leaf of tree 0"),
        ("num_leaves", "5", "the leaves of tree 0"),
        ("num_leaves", "0", "the leaves of tree 0"),
        ("cat_boundaries", "9", "the categories of tree"),
        ("num_cat", "99", "the categories of tree"),
        ("num_tree_per_iteration", "2", "num_tree_per_iteration"),
        ("max_feature_idx", "0", "a feature of tree 0"),
        ("threshold", "7", "a category of tree 0"),
    ],
)
def test_a_number_out_of_range_is_refused_before_it_is_parsed(key: str, value: str, what: str) -> None:
    assert re.search(r"^Tree=0\n(?:.*\n)*?decision_type=1 ", TEXT, re.MULTILINE), "the first node asks for no category"
    with pytest.raises(BundleError, match=f"not parsed: {what}"):
        check_lightgbm_text(changed(key, value))


@pytest.mark.parametrize("sizes", ["1 2 3", "99999999 1 1", "-1 1 1", "1"])
def test_sizes_that_do_not_lead_to_trees_are_refused(sizes: str) -> None:
    with pytest.raises(BundleError, match="out of range"):
        check_lightgbm_text(re.sub(r"(?m)^tree_sizes=.*$", f"tree_sizes={sizes}", TEXT).encode())


@pytest.mark.parametrize("content", [b"", b"tree\n", TEXT.encode()[:400], TEXT.replace("Tree=", "Twig=").encode()])
def test_what_is_no_model_is_refused(content: bytes) -> None:
    with pytest.raises(BundleError):
        check_lightgbm_text(content)


def test_the_model_of_an_old_bundle_is_sound() -> None:
    models = [
        file.read_bytes() for file in (Path(__file__).parents[1] / "bundles" / "bundles_of_format_1").glob("*/model")
    ]
    (text,) = (content for content in models if content.startswith(b"tree"))
    check_lightgbm_text(text)

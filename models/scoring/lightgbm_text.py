"""Check the text of a LightGBM model before LightGBM parses it, because its parser does not check ranges.

The parser uses the sizes of trees as offsets, and the numbers of features, children and categories as array indices, without
comparing them with the lengths of the arrays. Some of its memory faults are still open in version 4.7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from core.errors import BundleError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CATEGORICAL = 1  # the lowest bit of a node's decision_type


def check_lightgbm_text(content: bytes) -> None:
    """Refuse a model text with an index or offset that is out of range.

    Raises
    ------
    BundleError
        If there is one, or the text is not in LightGBM's format.

    """
    try:
        head, _, rest = content.partition(b"\n\n")
        header = _fields(head)
        sizes = _integers(header, b"tree_sizes")
        features = int(header[b"max_feature_idx"]) + 1
        trees_at_once = int(header[b"num_tree_per_iteration"])
        _require(trees_at_once >= 1 and len(sizes) % trees_at_once == 0, "num_tree_per_iteration")
        _require(len(rest) >= sizes.sum() and (sizes >= 0).all(), "tree_sizes")
        start = 0
        for number, size in enumerate(sizes.tolist()):
            tree = rest[start : start + size]
            _require(tree.startswith(b"Tree=%d\n" % number), f"the offset of tree {number}")
            _check_tree(_fields(tree), number, features)
            start += size
        _require(rest[start:].startswith(b"end of trees"), "the number of trees")
    except (KeyError, ValueError, OverflowError) as error:
        raise BundleError(
            f"the model is not a LightGBM text: {type(error).__name__} {error}; not parsed; train again"
        ) from None


def _check_tree(tree: dict[bytes, bytes], number: int, features: int) -> None:
    leaves, categories = int(tree[b"num_leaves"]), int(tree[b"num_cat"])
    _require(leaves >= 1 and len(tree[b"leaf_value"].split()) == leaves, f"the leaves of tree {number}")
    if leaves == 1:
        return
    names = (b"split_feature", b"left_child", b"right_child", b"decision_type")
    split, left, right, decision = (_integers(tree, name) for name in names)
    nodes = np.arange(leaves - 1)
    for values in (split, left, right, decision, tree[b"threshold"].split()):
        _require(len(values) == len(nodes), f"the nodes of tree {number}")
    _require(_within(split, features), f"a feature of tree {number}")
    for child in (left, right):
        # A node's number is larger than its parent's, so that no path is a cycle.
        inner = child >= 0
        _require((child[inner] > nodes[inner]).all() and _within(child[inner], len(nodes)), f"a node of tree {number}")
        _require(_within(~child[~inner], leaves), f"a leaf of tree {number}")
    _check_categories(tree, number, categories, (decision & _CATEGORICAL).astype(bool))
    if tree.get(b"is_linear", b"0") != b"0":
        _check_linear(tree, number, leaves, features)


def _check_categories(tree: dict[bytes, bytes], number: int, categories: int, categorical: NDArray[np.bool_]) -> None:
    if categories == 0:
        _require(not categorical.any(), f"a category of tree {number}")
        return
    bounds, words = _integers(tree, b"cat_boundaries"), tree[b"cat_threshold"].split()
    _require(len(bounds) == categories + 1 and bounds[0] == 0, f"the categories of tree {number}")
    _require((np.diff(bounds) >= 0).all() and bounds[-1] == len(words), f"the categories of tree {number}")
    thresholds = np.array(tree[b"threshold"].split(), dtype=np.float64)[categorical]
    _require(((thresholds >= 0) & (thresholds < categories)).all(), f"a category of tree {number}")


def _check_linear(tree: dict[bytes, bytes], number: int, leaves: int, features: int) -> None:
    counts, used = _integers(tree, b"num_features"), _integers(tree, b"leaf_features")
    _require(len(counts) == leaves and (counts >= 0).all(), f"the linear leaves of tree {number}")
    _require(counts.sum() == len(used) == len(tree[b"leaf_coeff"].split()), f"the linear leaves of tree {number}")
    _require(_within(used, features), f"a feature of a linear leaf of tree {number}")


def _fields(block: bytes) -> dict[bytes, bytes]:
    pairs = (line.partition(b"=") for line in block.splitlines())
    return {name: value for name, equals, value in pairs if equals}


def _integers(fields: dict[bytes, bytes], name: bytes) -> NDArray[np.int64]:
    return np.array([int(word) for word in fields[name].split()], dtype=np.int64)


def _within(indices: NDArray[np.int64], length: int) -> bool:
    return bool(((indices >= 0) & (indices < length)).all())


def _require(sound: object, what: str) -> None:
    if not sound:
        raise BundleError(f"the LightGBM model is not parsed: {what} is out of range; train again")

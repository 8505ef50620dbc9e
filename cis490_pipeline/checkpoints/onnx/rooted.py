"""Validation of decision trees in array form: every path from a root ends at a leaf."""

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain.arrays import Ints


class NoTreeError(ValueError):
    """Nodes do not form trees."""


def require_trees(sizes: Ints, splits: npt.NDArray[np.bool_], left: Ints, right: Ints) -> Ints:
    """Raise unless nodes form binary trees, each with its root first.

    Parameters
    ----------
    sizes : (n_trees,) number of nodes of each tree; trees are concatenated.
    splits : (n_nodes,) whether a node has children.
    left, right : (n_nodes,) children as positions in their tree; only used where ``splits``.

    Returns
    -------
    (n_nodes,) parent of each node as a global position; a root is its own parent.

    Raises
    ------
    NoTreeError
        If a child is outside its tree, has two parents or none, or nodes form a cycle.
    """
    starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
    places = np.arange(starts.size)
    parent_of = np.concatenate([places[splits], places[splits]])
    children = np.concatenate([left[splits], right[splits]])
    if ((children < 1) | (children >= np.repeat(sizes, sizes)[parent_of])).any():
        raise NoTreeError("a child is outside its tree")
    children = children + starts[parent_of]
    if not np.array_equal(np.sort(children), places[places != starts]):
        raise NoTreeError("a node is the child of two nodes, or of none")
    parents = places.copy()
    parents[children] = parent_of
    # Pointer doubling: after log2(n) steps even the longest path must have reached its root.
    above = parents
    for _ in range(int(parents.size).bit_length()):
        above = above[above]
    if not np.array_equal(above, starts):
        raise NoTreeError("some nodes are children of each other")
    return parents

"""Whether arrays of nodes are trees: every walk from a root ends at a leaf."""

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


class NoTreeError(ValueError):
    """Nodes are not those of trees."""


def require_trees(sizes: Ints, splits: npt.NDArray[np.bool_], left: Ints, right: Ints) -> Ints:
    """Refuse nodes that are not those of binary trees, each with its root first.

    Parameters
    ----------
    sizes : (n_trees,) nodes of each tree; the trees follow each other.
    splits : (n_nodes,) whether a node has children.
    left, right : (n_nodes,) children as positions within the tree; read where ``splits`` holds.

    Returns
    -------
    (n_nodes,) the parent of each node as a position among all; of a root, itself.

    Raises
    ------
    NoTreeError
        If a child is outside its tree, has two parents or none, or nodes go round in a circle.
    """
    starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
    places = np.arange(starts.size)
    fathers = np.concatenate([places[splits], places[splits]])
    children = np.concatenate([left[splits], right[splits]])
    if ((children < 1) | (children >= np.repeat(sizes, sizes)[fathers])).any():
        raise NoTreeError("a child is outside its tree")
    children = children + starts[fathers]
    if not np.array_equal(np.sort(children), places[places != starts]):
        raise NoTreeError("a node is the child of two nodes, or of none")
    parents = places.copy()
    parents[children] = fathers
    # Each step doubles the way towards the root: after these the longest must have ended there.
    above = parents
    for _ in range(int(parents.size).bit_length()):
        above = above[above]
    if not np.array_equal(above, starts):
        raise NoTreeError("some nodes are children of each other")
    return parents

"""Attacks by sources that name their datasets."""

from __future__ import annotations

import os

from pydantic import TypeAdapter

from arena import Arena, Mutation, attack
from dataflare.pipeline.dataset_names import with_names
from dataflare.pipeline.models import Node
from dataflare.pipeline.nodes import WriteNode
from dataflare.runtime.datasets import DatasetName


@attack("outputs")
def dataset_that_names_a_folder_outside(arena: Arena) -> None:
    """Give a dataset a name, or a namespace, that climbs out of the folder in which each dataset has its file."""
    node = TypeAdapter(Node).validate_python({"connector": "csv", "write": "out/{namespace}/{dataset}", "input": "in"})
    folder = arena.folder / "out"
    for name in ("..", ".", "../../x", "/etc/passwd", "a/../../../x", ".ssh"):
        made = with_names(node, DatasetName(name, name))
        assert isinstance(made, WriteNode)
        path = os.path.normpath(arena.folder / made.write)
        assert os.path.dirname(os.path.dirname(path)) == str(folder), path
        assert not os.path.basename(path).startswith(".")


MUTATIONS = [
    Mutation("dataflare.pipeline.dataset_names:_escaped", lambda text: text, ("dataset_that_names_a_folder_outside",)),
]

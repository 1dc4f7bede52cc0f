"""Which parts of a pipeline a run has finished that did not come to the end of all: the next run leaves them out.

`PipelineState.commit` records a part together with its positions.
"""

from __future__ import annotations

from dataflare.pipeline.pipeline_state import DONE, PipelineState

__all__ = ["finished_parts", "forget_finished_parts"]


def finished_parts(state: PipelineState) -> set[str]:
    """The names of the parts (`several_datasets.Slice`) that were finished since all were.

    Raises:
        StateError: The file cannot be read.
    """
    query = "SELECT path FROM intent WHERE mark = ?"
    return state.read(lambda connection: {str(row[0]) for row in connection.execute(query, (DONE,))})


def forget_finished_parts(state: PipelineState) -> None:
    """Take note that all parts are finished: the next run begins with the first again.

    Raises:
        StateError: The file cannot be written.
    """
    state.write(lambda connection: connection.execute("DELETE FROM intent WHERE mark = ?", (DONE,)))

"""``python -m tests.triton.sweep``: rows for the table in ``backends/triton/tiles.py``, timed on the GPU that is there.

Candidates are compiled first, on all cores; what does not fit or spills in its loop is left out, and the model of
``predict`` keeps the most promising. These are timed in turns with what ships, and must agree with it. A row is
proposed where one is faster. Predicted and measured shares of the tensor cores' peak stand side by side, which says how
far to trust the model. With ``--predicted sm_90`` it ends before the timing and needs none.
"""

"""The kernels: norms, forward, merge, backward, combine. None of them knows a loss."""

"""Losses across processes: agreement, collectives with gradients, statistics merged over ranks.

The contract for gradients is that of DDP and FSDP2: the mean over the ranks of what each rank's backward leaves in a
replicated parameter is the gradient of one process with the whole batch. So what a rank owns alone, its embeddings,
gets ``size`` times that gradient, and shards of proxies, which nobody averages, get it as it is.
"""

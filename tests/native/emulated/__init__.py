"""The CUDA engine without a GPU: its sources compiled for the CPU, the threads of a block as fibers (``cuda/``)."""

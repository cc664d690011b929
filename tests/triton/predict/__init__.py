"""What the machine code of the kernels allows on a GPU that is not there: a prediction, never a measurement.

From the SASS of a kernel: the path through its loop over tiles, instructions counted by the unit that runs them, the
cycles that each unit needs, and a small simulation of one scheduler. Assumptions, all of them optimistic unless they
say otherwise:

- Four schedulers a multiprocessor, each of one instruction a cycle. Lanes a cycle, of all four: float32 128, integer
  multiplication, logic, comparison and selection 64, exponentials and conversions 16, shuffles and shared memory 32.
- Tensor cores at their peak, or at the rate that shared memory feeds them (16 cycles for A, unless it comes from
  registers, and N / 4 for B); ``mma`` at 0.62 of that on Hopper.
- Loads of 16 bytes a thread come from L2 at 32 bytes a cycle and multiprocessor, 280 cycles late; narrower ones cost
  that latency and no bandwidth. Device memory is not modelled.
- A tile takes the shortest path that has all of its products: a plain tile, which holds no positive and no border. Of a
  sparse statistic, forward, one without a gradient. The longest path is reported beside it.
- Prologue, epilogue, the last wave, launches and the power limit are left out.

The rates are those of the CUDA C++ Programming Guide's table of arithmetic throughput for 8.0 and 9.0. A matrix product
of known speed comes out right: 619 TFLOP/s for a 128 x 256 Triton kernel on an H100.
"""

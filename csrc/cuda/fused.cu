#include "cuda/fused.cuh"

#include "cuda/run.cuh"

template struct dml::cuda::Run<dml::cuda::Fused>;

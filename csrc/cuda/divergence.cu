#include "statistics/divergence.hpp"

#include "cuda/run.cuh"

template struct dml::cuda::Run<dml::cuda::Divergence>;

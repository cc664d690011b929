#include "statistics/moments.hpp"

#include "cuda/run.cuh"

template struct dml::cuda::Run<dml::cuda::Moments>;

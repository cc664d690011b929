#include "statistics/square.hpp"

#include "cuda/run.cuh"

template struct dml::cuda::Run<dml::cuda::Square>;

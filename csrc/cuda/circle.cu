#include "statistics/circle.hpp"

#include "cuda/run.cuh"

template struct dml::cuda::Run<dml::cuda::Circle>;

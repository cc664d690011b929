#include "statistics/soft_triple.hpp"

#include "cuda/run.cuh"

template struct dml::cuda::Run<dml::cuda::SoftTriple>;

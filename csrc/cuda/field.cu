#include "statistics/field.hpp"

#include "cuda/run.cuh"

template struct dml::cuda::Run<dml::cuda::Field>;

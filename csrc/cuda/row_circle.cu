#include "statistics/row_circle.hpp"

#include "cuda/run.cuh"

template struct dml::cuda::Run<dml::cuda::RowCircle>;

#include "statistics/sub_center.hpp"

#include "cuda/run.cuh"

template struct dml::cuda::Run<dml::cuda::RowSubCenter>;

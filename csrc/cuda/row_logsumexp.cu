#include "statistics/row_logsumexp.hpp"

#include "cuda/run.cuh"

template struct dml::cuda::Run<dml::cuda::RowLogSumExp>;

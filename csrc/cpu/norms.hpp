#pragma once

#include <cstdint>

namespace dml::cpu {

// out[i] = 1 / max(||x_i||, 1e-12) for rows x_i = x + i * row_stride of `dim` adjacent numbers; NaN where the norm is not
// finite. Squares are added up in double and in an order that does not depend on `threads`.
void reciprocal_norms(const float* x, float* out, std::int64_t rows, std::int64_t dim, std::int64_t row_stride,
                      int threads);
void reciprocal_norms(const double* x, double* out, std::int64_t rows, std::int64_t dim, std::int64_t row_stride,
                      int threads);

}  // namespace dml::cpu

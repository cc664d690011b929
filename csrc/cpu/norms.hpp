// Row-wise L2 normalisation and its gradient, for float and double.
#pragma once

#include <cstdint>

namespace dml::cpu {

// unit_i = inverse_i * x_i with inverse_i = 1 / max(||x_i||, 1e-12), or NaN if the norm is not finite. Row x_i is the
// `dim` contiguous values at x + i * row_stride; `unit` is contiguous. Squares are summed in double, in an order that
// does not depend on `threads`.
template <class Real>
void normalise(const Real* x, Real* unit, Real* inverse, std::int64_t rows, std::int64_t dim, std::int64_t row_stride,
               int threads);

// Replaces the gradient of the unit rows by that of the raw rows; zero for rows at the norm floor.
template <class Real>
void normalisation_backward(const Real* unit, const Real* inverse, Real* gradient, std::int64_t rows, std::int64_t dim,
                            int threads);

}  // namespace dml::cpu

// Row-wise L2 normalisation, and the way back through it; for float and double.
#pragma once

#include <cstdint>

namespace dml::cpu {

// unit_i = inverse_i x_i with inverse_i = 1 / max(||x_i||, 1e-12), NaN where the norm is not finite, for rows
// x_i = x + i * row_stride of `dim` adjacent values; rows of `unit` are adjacent. Squares are added up in double and in
// an order that does not depend on `threads`.
template <class Real>
void normalise(const Real* x, Real* unit, Real* inverse, std::int64_t rows, std::int64_t dim, std::int64_t row_stride,
               int threads);

// Turns the gradient of unit rows into that of raw ones, in place; zero for rows at the norm floor.
template <class Real>
void normalisation_backward(const Real* unit, const Real* inverse, Real* gradient, std::int64_t rows, std::int64_t dim,
                            int threads);

}  // namespace dml::cpu

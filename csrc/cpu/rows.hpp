// Normalisation of a few rows by one thread: inlined into functions that are compiled for several instruction sets.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "cpu/isa.hpp"
#include "cpu/multiversion.hpp"

namespace dml::cpu {

constexpr double min_norm = 1e-12;
constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
constexpr int lanes = 8;  // doubles of an AVX-512 register

// Sum of a_k * b_k in double, in an order that depends on `dim` only. Two arrays of one register each, with constant
// indices, let the compiler keep the sums in registers.
template <class Real>
DML_INLINE double dot(const Real* a, const Real* b, std::int64_t dim) {
    double first[lanes] = {}, second[lanes] = {}, rest = 0;
    std::int64_t k = 0;
    for (; k + 2 * lanes <= dim; k += 2 * lanes) {
        for (int lane = 0; lane < lanes; ++lane) {
            first[lane] += static_cast<double>(a[k + lane]) * static_cast<double>(b[k + lane]);
        }
        for (int lane = 0; lane < lanes; ++lane) {
            second[lane] += static_cast<double>(a[k + lanes + lane]) * static_cast<double>(b[k + lanes + lane]);
        }
    }
    for (; k < dim; ++k) rest += static_cast<double>(a[k]) * static_cast<double>(b[k]);
    for (int lane = 0; lane < lanes; ++lane) first[lane] += second[lane];
    return ((first[0] + first[1]) + (first[2] + first[3])) + ((first[4] + first[5]) + (first[6] + first[7])) + rest;
}

// A row with a norm above `large` is multiplied by `shrink`, a power of two, and its squares are summed again: squares
// of doubles may overflow, and the reciprocal norm of a float row may underflow. The norm stays above min_norm.
template <class Real>
inline constexpr double large = sizeof(Real) == 4 ? 0x1p40 : 0x1p500;
template <class Real>
inline constexpr Real shrink = static_cast<Real>(sizeof(Real) == 4 ? 0x1p-74 : 0x1p-530);

template <class Real>
DML_INLINE void normalise_rows(const Real* x, Real* unit, Real* inverse, std::int64_t rows, std::int64_t dim,
                               std::int64_t row_stride) {
    for (std::int64_t i = 0; i < rows; ++i) {
        const Real* const row = x + i * row_stride;
        Real* const out = unit + i * dim;
        double norm = std::sqrt(dot(row, row, dim));
        const bool shrinks = norm > large<Real>;
        if (shrinks) {
            for (std::int64_t k = 0; k < dim; ++k) out[k] = row[k] * shrink<Real>;
            norm = std::sqrt(dot(out, out, dim));
        }
        const Real scale = static_cast<Real>(norm < infinity ? 1.0 / std::max(norm, min_norm) : not_a_number);
        inverse[i] = shrinks ? scale * shrink<Real> : scale;
        const Real* const from = shrinks ? out : row;
        for (std::int64_t k = 0; k < dim; ++k) out[k] = from[k] * scale;
    }
}

template <class Real>
DML_INLINE void project_rows(const Real* unit, const Real* inverse, Real* gradient, std::int64_t rows,
                             std::int64_t dim) {
    for (std::int64_t i = 0; i < rows; ++i) {
        const Real* const row = unit + i * dim;
        Real* const out = gradient + i * dim;
        const Real scale = inverse[i] >= static_cast<Real>(1.0 / min_norm) ? Real(0) : inverse[i];
        const Real radial = static_cast<Real>(dot(out, row, dim));
        for (std::int64_t k = 0; k < dim; ++k) out[k] = (out[k] - row[k] * radial) * scale;
    }
}

}  // namespace dml::cpu

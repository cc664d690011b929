#include "cpu/norms.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/multiversion.hpp"
#include "cpu/parallel.hpp"

namespace dml::cpu {
namespace {

constexpr double min_norm = 1e-12;
constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
constexpr int lanes = 32;  // independent sums: enough for two AVX-512 chains per port
constexpr std::int64_t numbers_per_thread = 1 << 16;  // below this a thread costs more than it saves

// Sum of a_k b_k in double, in an order that depends on `dim` alone.
template <class Real>
DML_INLINE double dot(const Real* a, const Real* b, std::int64_t dim) {
    double sums[lanes] = {};
    std::int64_t k = 0;
    for (; k + lanes <= dim; k += lanes) {
        for (int lane = 0; lane < lanes; ++lane) {
            sums[lane] += static_cast<double>(a[k + lane]) * static_cast<double>(b[k + lane]);
        }
    }
    for (int lane = 0; k < dim; ++k, ++lane) sums[lane] += static_cast<double>(a[k]) * static_cast<double>(b[k]);
    for (int width = lanes / 2; width > 0; width /= 2) {
        for (int lane = 0; lane < width; ++lane) sums[lane] += sums[lane + width];
    }
    return sums[0];
}

template <class Real>
DML_INLINE void normalise_rows(const Real* x, Real* unit, Real* inverse, std::int64_t rows, std::int64_t dim,
                               std::int64_t row_stride) {
    for (std::int64_t i = 0; i < rows; ++i) {
        const Real* const row = x + i * row_stride;
        const double norm = std::sqrt(dot(row, row, dim));
        const Real scale = static_cast<Real>(norm < infinity ? 1.0 / std::max(norm, min_norm) : not_a_number);
        inverse[i] = scale;
        for (std::int64_t k = 0; k < dim; ++k) unit[i * dim + k] = row[k] * scale;
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

DML_MULTIVERSION void normalise_part(const float* x, float* unit, float* inverse, std::int64_t rows, std::int64_t dim,
                                     std::int64_t stride) {
    normalise_rows(x, unit, inverse, rows, dim, stride);
}

DML_MULTIVERSION void normalise_part(const double* x, double* unit, double* inverse, std::int64_t rows,
                                     std::int64_t dim, std::int64_t stride) {
    normalise_rows(x, unit, inverse, rows, dim, stride);
}

DML_MULTIVERSION void project_part(const float* unit, const float* inverse, float* gradient, std::int64_t rows,
                                   std::int64_t dim) {
    project_rows(unit, inverse, gradient, rows, dim);
}

DML_MULTIVERSION void project_part(const double* unit, const double* inverse, double* gradient, std::int64_t rows,
                                   std::int64_t dim) {
    project_rows(unit, inverse, gradient, rows, dim);
}

std::int64_t grain(std::int64_t dim) { return numbers_per_thread / std::max<std::int64_t>(dim, 1); }

}  // namespace

template <class Real>
void normalise(const Real* x, Real* unit, Real* inverse, std::int64_t rows, std::int64_t dim, std::int64_t row_stride,
               int threads) {
    parallel_rows(rows, grain(dim), threads, [=](std::int64_t begin, std::int64_t end) {
        normalise_part(x + begin * row_stride, unit + begin * dim, inverse + begin, end - begin, dim, row_stride);
    });
}

template <class Real>
void normalisation_backward(const Real* unit, const Real* inverse, Real* gradient, std::int64_t rows, std::int64_t dim,
                            int threads) {
    parallel_rows(rows, grain(dim), threads, [=](std::int64_t begin, std::int64_t end) {
        project_part(unit + begin * dim, inverse + begin, gradient + begin * dim, end - begin, dim);
    });
}

template void normalise(const float*, float*, float*, std::int64_t, std::int64_t, std::int64_t, int);
template void normalise(const double*, double*, double*, std::int64_t, std::int64_t, std::int64_t, int);
template void normalisation_backward(const float*, const float*, float*, std::int64_t, std::int64_t, int);
template void normalisation_backward(const double*, const double*, double*, std::int64_t, std::int64_t, int);

}  // namespace dml::cpu

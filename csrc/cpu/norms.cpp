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

template <class Real>
DML_INLINE double squared_norm(const Real* row, std::int64_t dim) {
    double sums[lanes] = {};
    std::int64_t k = 0;
    for (; k + lanes <= dim; k += lanes) {
        for (int lane = 0; lane < lanes; ++lane) {
            const double value = row[k + lane];
            sums[lane] += value * value;
        }
    }
    for (int lane = 0; k < dim; ++k, ++lane) {
        const double value = row[k];
        sums[lane] += value * value;
    }
    for (int width = lanes / 2; width > 0; width /= 2) {
        for (int lane = 0; lane < width; ++lane) sums[lane] += sums[lane + width];
    }
    return sums[0];
}

template <class Real>
DML_INLINE void rows_of(const Real* x, Real* out, std::int64_t rows, std::int64_t dim, std::int64_t row_stride) {
    for (std::int64_t i = 0; i < rows; ++i) {
        const double norm = std::sqrt(squared_norm(x + i * row_stride, dim));
        out[i] = static_cast<Real>(norm < infinity ? 1.0 / std::max(norm, min_norm) : not_a_number);
    }
}

DML_MULTIVERSION void float_rows(const float* x, float* out, std::int64_t rows, std::int64_t dim, std::int64_t stride) {
    rows_of(x, out, rows, dim, stride);
}

DML_MULTIVERSION void double_rows(const double* x, double* out, std::int64_t rows, std::int64_t dim,
                                  std::int64_t stride) {
    rows_of(x, out, rows, dim, stride);
}

std::int64_t grain(std::int64_t dim) { return numbers_per_thread / std::max<std::int64_t>(dim, 1); }

}  // namespace

void reciprocal_norms(const float* x, float* out, std::int64_t rows, std::int64_t dim, std::int64_t row_stride,
                      int threads) {
    parallel_rows(rows, grain(dim), threads, [=](std::int64_t begin, std::int64_t end) {
        float_rows(x + begin * row_stride, out + begin, end - begin, dim, row_stride);
    });
}

void reciprocal_norms(const double* x, double* out, std::int64_t rows, std::int64_t dim, std::int64_t row_stride,
                      int threads) {
    parallel_rows(rows, grain(dim), threads, [=](std::int64_t begin, std::int64_t end) {
        double_rows(x + begin * row_stride, out + begin, end - begin, dim, row_stride);
    });
}

}  // namespace dml::cpu

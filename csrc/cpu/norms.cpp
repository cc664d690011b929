#include "cpu/norms.hpp"

#include <algorithm>

#include "cpu/parallel.hpp"
#include "cpu/rows.hpp"

namespace dml::cpu {
namespace {

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

std::int64_t grain(std::int64_t dim) { return values_per_thread / std::max<std::int64_t>(dim, 1); }

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

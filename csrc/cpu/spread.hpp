// Distances sqrt(2 + slack - 2 cos) between the centres of each class, as in dmlkernels/backends/blocked/spread.py.
#pragma once

#include <cmath>
#include <limits>

#include "cpu/pack.hpp"
#include "cpu/rows.hpp"
#include "cpu/tile.hpp"

namespace dml::DML_ISA {

// One class at a time.
template <class Real>
class Spread {
  public:
    Spread(const cpu::Centers& centers, Real* memory)
        : centers_(centers), group_(centers.group), dim_(centers.dim), stride_(whole_packs(centers.dim)), unit_(memory),
          inverse_(unit_ + group_ * stride_), distances_(inverse_ + group_) {
        for (std::int64_t k = 0; k < group_ * stride_; ++k) unit_[k] = 0;
    }

    // Values of memory that a Spread needs.
    static std::int64_t room(const cpu::Centers& centers) {
        return whole_packs(centers.group * (whole_packs(centers.dim) + 1 + centers.group));
    }

    double sum(std::int64_t of_class) {
        measure(of_class);
        double total = 0;
        for (std::int64_t i = 0; i < group_; ++i) {
            for (std::int64_t k = i + 1; k < group_; ++k) total += distances_[i * group_ + k];
        }
        return total;
    }

    void backward(std::int64_t of_class) {
        measure(of_class);
        const Real gradient = *reinterpret_cast<const Real*>(centers_.gradient);
        Real* to = reinterpret_cast<Real*>(centers_.of_values) + of_class * group_ * dim_;
        for (std::int64_t i = 0; i < group_; ++i, to += dim_) {
            for (std::int64_t k = 0; k < group_; ++k) distances_[i * group_ + k] = -gradient / distances_[i * group_ + k];
            distances_[i * group_ + i] = 0;
            for (std::int64_t begin = 0; begin < dim_; begin += lanes<Real>) {
                Pack<Real> sum{};
                for (std::int64_t k = 0; k < group_; ++k) {
                    sum += broadcast(distances_[i * group_ + k]) * load(unit_ + k * stride_ + begin);
                }
                const std::int64_t left = dim_ - begin;
                std::memcpy(to + begin, &sum, (left < lanes<Real> ? left : lanes<Real>) * sizeof(Real));
            }
            cpu::project_rows(unit_ + i * stride_, inverse_ + i, to, 1, dim_);
        }
    }

  private:
    static std::int64_t whole_packs(std::int64_t count) { return (count + lanes<Real> - 1) / lanes<Real> * lanes<Real>; }

    void measure(std::int64_t of_class) {
        const Real* const from = reinterpret_cast<const Real*>(centers_.values) + of_class * group_ * centers_.stride;
        for (std::int64_t i = 0; i < group_; ++i) {
            cpu::normalise_rows(from + i * centers_.stride, unit_ + i * stride_, inverse_ + i, 1, dim_, dim_);
            distances_[i * group_ + i] = 1;  // never used
            for (std::int64_t k = 0; k < i; ++k) {
                distances_[i * group_ + k] = distances_[k * group_ + i] = distance(unit_ + i * stride_, unit_ + k * stride_);
            }
        }
    }

    Real distance(const Real* a, const Real* b) const {
        Pack<Real> cosine{};
        for (std::int64_t begin = 0; begin < stride_; begin += lanes<Real>) cosine += load(a + begin) * load(b + begin);
        const double square = 2 + centers_.slack - 2 * static_cast<double>(sum_lanes<Real>(cosine));
        constexpr double least = std::numeric_limits<Real>::min();
        return static_cast<Real>(std::sqrt(square < least ? least : square));  // NaN stays NaN
    }

    const cpu::Centers& centers_;
    const std::int64_t group_, dim_, stride_;  // stride: from vector to vector, whole packs
    Real *const unit_, *const inverse_, *const distances_;
};

}  // namespace dml::DML_ISA

// dmlkernels/statistics/logsumexp.py
#pragma once

#include "cpu/row.hpp"
#include "cpu/tile.hpp"

namespace dml::DML_ISA {

template <class Real>
class LogSumExp {
  public:
    static constexpr int column_numbers = 0;

    explicit LogSumExp(const cpu::Term& term) : LogSumExp(term.parameters[0], term.parameters[1]) {}
    LogSumExp(double own_scale, double other_scale)
        : own_scale_(broadcast(static_cast<Real>(own_scale))), other_scale_(broadcast(static_cast<Real>(other_scale))) {}

    DML_INLINE bool fold(const Row<Real>& row, const Folded<Real>& to) const {
        const Pack<Real> lowest = broadcast(-std::numeric_limits<Real>::infinity());
        Pack<Real> own_highest = lowest, other_highest = lowest;
        for (std::int64_t j = 0; j < row.count; j += lanes<Real>) {
            const auto [own, other] = kinds(row, j);
            const Pack<Real> logit = load(row.scores + j) * where(own, own_scale_, other_scale_);
            own_highest = larger(where(own, logit, lowest), own_highest);
            other_highest = larger(where(other, logit, lowest), other_highest);
        }
        const Real own_shift = finite(largest_lane<Real>(own_highest));
        const Real other_shift = finite(largest_lane<Real>(other_highest));
        const Pack<Real> own_shifts = broadcast(own_shift), other_shifts = broadcast(other_shift);
        Sum<Real> own_sum, other_sum;
        for (std::int64_t j = 0; j < row.count; j += lanes<Real>) {
            const auto [own, other] = kinds(row, j);
            const Pack<Real> logit = load(row.scores + j) * where(own, own_scale_, other_scale_);
            const Pack<Real> weight = exp<Real>(logit - where(own, own_shifts, other_shifts));
            own_sum.add(own, weight);
            other_sum.add(other, weight);
        }
        merge(own_sum.total(), own_shift, to.state[0]);
        merge(other_sum.total(), other_shift, to.state[1]);
        return true;
    }

    DML_INLINE Range slope(const Row<Real>& row, const Sloped<Real>& of) const {
        const Pack<Real> own_lse = broadcast(finite(of.statistics[0])), other_lse = broadcast(finite(of.statistics[1]));
        const Pack<Real> own_rate = own_scale_ * of.gradient[0], other_rate = other_scale_ * of.gradient[1];
        for (std::int64_t j = 0; j < row.count; j += lanes<Real>) {
            const auto [own, other] = kinds(row, j);
            const Pack<Real> logit = load(row.scores + j) * where(own, own_scale_, other_scale_);
            const Pack<Real> weight = exp<Real>(logit - where(own, own_lse, other_lse));
            const Pack<Real> slope = weight * where(own, own_rate, other_rate);
            store(of.slopes + j, load(of.slopes + j) + where(own | other, slope, Pack<Real>{}));
        }
        return {0, row.count};
    }

  private:
    // An empty set's -inf made safe to subtract.
    DML_INLINE static Real finite(Real maximum) {
        return maximum == -std::numeric_limits<Real>::infinity() ? Real(0) : maximum;
    }

    DML_INLINE static void merge(double sum, double shift, double& state) {
        if (sum != 0) state = add_logs(state, std::log(sum) + shift);
    }

    Pack<Real> own_scale_, other_scale_;
};

}  // namespace dml::DML_ISA

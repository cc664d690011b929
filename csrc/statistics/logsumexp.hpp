// dmlkernels/statistics/logsumexp.py
#pragma once

#include "statistics/vocabulary.hpp"

namespace dml::DML_ISA {

template <class Real>
class LogSumExp {
  public:
    static constexpr int column_numbers = 0, width = 2, views = 1;

    explicit LogSumExp(const Term& term) : LogSumExp(term.parameters[0], term.parameters[1]) {}
    LogSumExp(double own_scale, double other_scale)
        : own_scale_(broadcast(static_cast<Real>(own_scale))), other_scale_(broadcast(static_cast<Real>(other_scale))) {}

    DML_HD bool fold(const Row<Real>& row, const Folded<Real>& to) const {
        const Pack<Real> lowest = broadcast(-std::numeric_limits<Real>::infinity());
        Pack<Real> own_highest = lowest, other_highest = lowest;
        for (Index j = 0; j < row.count; j += lanes<Real>) {
            const auto [own, other] = kinds(row, j);
            const Pack<Real> logit = score_at(row, j) * where(own, own_scale_, other_scale_);
            own_highest = larger(where(own, logit, lowest), own_highest);
            other_highest = larger(where(other, logit, lowest), other_highest);
        }
        const Real own_shift = shift_for(largest_lane<Real>(own_highest), to.state[0]);
        const Real other_shift = shift_for(largest_lane<Real>(other_highest), to.state[1]);
        const Pack<Real> own_shifts = broadcast(own_shift), other_shifts = broadcast(other_shift);
        Sum<Real> own_sum, other_sum;
        for (Index j = 0; j < row.count; j += lanes<Real>) {
            const auto [own, other] = kinds(row, j);
            const Pack<Real> logit = score_at(row, j) * where(own, own_scale_, other_scale_);
            const Pack<Real> weight = exp<Real>(logit - where(own, own_shifts, other_shifts));
            own_sum.add(own, weight);
            other_sum.add(other, weight);
        }
        add(own_sum.total(), own_shift, to.state[0]);
        add(other_sum.total(), other_shift, to.state[1]);
        return true;
    }

    DML_HD Range slope(const Row<Real>& row, const Sloped<Real>& of) const {
        const Rates rates = this->rates(of);
        for (Index j = 0; j < row.count; j += lanes<Real>) {
            const auto [own, other] = kinds(row, j);
            add_slope(row, of, j, slope(rates, own, other, score_at(row, j)));
        }
        return {0, row.count};
    }

    // What a row's slopes are made of.
    struct Rates {
        Pack<Real> own_lse, other_lse, own_rate, other_rate;
    };

    DML_HD Rates rates(const Sloped<Real>& of) const {
        return {broadcast(finite(of.statistics[0])), broadcast(finite(of.statistics[1])), own_scale_ * of.gradient[0],
                other_scale_ * of.gradient[1]};
    }

    DML_HD Pack<Real> slope(const Rates& rates, Bits<Real> own, Bits<Real> other, Pack<Real> score) const {
        const Pack<Real> logit = score * where(own, own_scale_, other_scale_);
        const Pack<Real> weight = exp<Real>(logit - where(own, rates.own_lse, rates.other_lse));
        const Pack<Real> slope = weight * where(own, rates.own_rate, rates.other_rate);
        return where(own | other, slope, Pack<Real>{});
    }

    DML_HD static void empty(State<Real>* state) {
        state[0] = state[1] = -std::numeric_limits<State<Real>>::infinity();
    }

    DML_HD static void merge_states(const State<Real>* from, State<Real>* state) {
        for (int kind = 0; kind < 2; ++kind) state[kind] = add_logs(state[kind], from[kind]);
    }

  private:
    // An empty set's -inf made safe to subtract.
    DML_HD static Real finite(Real maximum) {
        return maximum == -std::numeric_limits<Real>::infinity() ? Real(0) : maximum;
    }

    // What no logit, new or folded before, exceeds.
    DML_HD static Real shift_for(Real highest, State<Real> state) {
        return finite(larger(static_cast<Real>(state), highest));
    }

    // state = log(e^state + sum e^shift)
    DML_HD static void add(State<Real> sum, State<Real> shift, State<Real>& state) {
        if (sum != 0) state = shift + std::log(std::exp(state - shift) + sum);
    }

    Pack<Real> own_scale_, other_scale_;
};

}  // namespace dml::DML_ISA

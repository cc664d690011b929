// dmlkernels/statistics/logsumexp.py
#pragma once

#include "statistics/log_sums.hpp"

namespace dml::DML_ISA {

template <class Real>
class LogSumExp {
  public:
    static constexpr int column_values = 0, width = 2, views = 1;
    static constexpr bool pools = false;

    explicit LogSumExp(const Term& term) : LogSumExp(term.parameters[0], term.parameters[1]) {}
    LogSumExp(double positive_scale, double negative_scale)
        : positive_scale_(broadcast(static_cast<Real>(positive_scale))), negative_scale_(broadcast(static_cast<Real>(negative_scale))) {}

    DML_HD bool fold(const Row<Real>& row, const Folded<Real>& to) const {
        const Shifts<Real> shifts = shifts_of(row, to, [&](Index j, Bits<Real> positive, Bits<Real>) {
            return score_at(row, j) * where(positive, positive_scale_, negative_scale_);
        });
        Sum<Real> positive_sum, negative_sum;
        for (Index j = 0; j < row.count; j += lanes<Real>) {
            const auto [positive, negative] = pair_kinds(row, j);
            const Pack<Real> logit = score_at(row, j) * where(positive, positive_scale_, negative_scale_);
            const Pack<Real> weight = exp<Real>(logit - shifts.of(positive));
            positive_sum.add(positive, weight);
            negative_sum.add(negative, weight);
        }
        add_sum<Real>(positive_sum.total(), shifts.positive, to.state[0]);
        add_sum<Real>(negative_sum.total(), shifts.negative, to.state[1]);
        return true;
    }

    DML_HD Range slope(const Row<Real>& row, const Sloped<Real>& of) const {
        const Rates rates = this->rates(row, of);
        for (Index j = 0; j < row.count; j += lanes<Real>) {
            const auto [positive, negative] = pair_kinds(row, j);
            add_slope(row, of, j, slope(rates, positive, negative, score_at(row, j)));
        }
        return {0, row.count};
    }

    // Factors of the slopes of a row.
    struct Rates {
        Pack<Real> positive_lse, negative_lse, positive_rate, negative_rate;
    };

    DML_HD Rates rates(const Row<Real>&, const Sloped<Real>& of) const {
        return {broadcast(finite_shift(of.statistics[0])), broadcast(finite_shift(of.statistics[1])), positive_scale_ * of.gradient[0],
                negative_scale_ * of.gradient[1]};
    }

    DML_HD Pack<Real> slope(const Rates& rates, Bits<Real> positive, Bits<Real> negative, Pack<Real> score) const {
        const Pack<Real> logit = score * where(positive, positive_scale_, negative_scale_);
        const Pack<Real> weight = exp<Real>(logit - where(positive, rates.positive_lse, rates.negative_lse));
        const Pack<Real> slope = weight * where(positive, rates.positive_rate, rates.negative_rate);
        return where(positive | negative, slope, Pack<Real>{});
    }

    DML_HD static void empty(State<Real>* state) {
        state[0] = state[1] = -std::numeric_limits<State<Real>>::infinity();
    }

    DML_HD static void merge_states(const State<Real>* from, State<Real>* state) {
        for (int kind = 0; kind < 2; ++kind) state[kind] = add_logs(state[kind], from[kind]);
    }

  private:
    Pack<Real> positive_scale_, negative_scale_;
};

}  // namespace dml::DML_ISA

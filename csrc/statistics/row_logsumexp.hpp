// dmlkernels/statistics/row_logsumexp.py
#pragma once

#include "statistics/log_sums.hpp"

namespace dml::DML_ISA {

template <class Real>
class RowLogSumExp {
  public:
    static constexpr int column_values = 0, width = 4, views = 1;

    explicit RowLogSumExp(const Term&) {}

    DML_HD bool fold(const Row<Real>& row, const Folded<Real>& to) const {
        const Values values(row);
        const Pack<Real> lowest = broadcast(-std::numeric_limits<Real>::infinity());
        Pack<Real> highest[2] = {lowest, lowest};
        for (Index j = 0; j < row.count; j += lanes<Real>) {
            const auto [positive, negative] = pair_kinds(row, j);
            const Pack<Real> logit = values.counted(negative, score_at(row, j)) * values.scale;
            highest[0] = larger(where(positive, logit, lowest), highest[0]);
            highest[1] = larger(where(negative, logit, lowest), highest[1]);
        }
        const Real shift[2] = {shift_for(largest_lane<Real>(highest[0]), to.state[0]),
                               shift_for(largest_lane<Real>(highest[1]), to.state[1])};
        const Pack<Real> shifts[2] = {broadcast(shift[0]), broadcast(shift[1])};
        Sum<Real> sum[2], weighted[2];
        for (Index j = 0; j < row.count; j += lanes<Real>) {
            const auto [positive, negative] = pair_kinds(row, j);
            const Pack<Real> score = values.counted(negative, score_at(row, j));
            const Pack<Real> weight = exp<Real>(score * values.scale - where(positive, shifts[0], shifts[1]));
            sum[0].add(positive, weight);
            sum[1].add(negative, weight);
            weighted[0].add(positive, weight * score);
            weighted[1].add(negative, weight * score);
        }
        for (int kind = 0; kind < 2; ++kind) {
            const State<Real> total = sum[kind].total();
            if (total == 0) continue;
            const State<Real> before = std::exp(to.state[kind] - shift[kind]), both = before + total;
            to.state[2 + kind] = (before * to.state[2 + kind] + weighted[kind].total()) / both;
            to.state[kind] = shift[kind] + std::log(both);
        }
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

    // row_values of the row.
    struct Values {
        Pack<Real> scale, threshold, hardness;

        DML_HD explicit Values(const Row<Real>& row)
            : scale(broadcast(row.values[0])), threshold(broadcast(row.values[1])), hardness(broadcast(row.values[2])) {}

        // The score, or s * (hardness + s) for a negative s above the threshold.
        DML_HD Pack<Real> counted(Bits<Real> negative, Pack<Real> score) const {
            return where(negative & (score > threshold), score * (hardness + score), score);
        }
    };

    // What a row's slopes are made of.
    struct Rates {
        Values values;
        Pack<Real> positive_lse, negative_lse, positive_rate, negative_rate;
    };

    DML_HD Rates rates(const Row<Real>& row, const Sloped<Real>& of) const {
        const Values values(row);
        return {values, broadcast(finite_shift(of.statistics[0])), broadcast(finite_shift(of.statistics[1])),
                values.scale * of.gradient[0], values.scale * of.gradient[1]};
    }

    DML_HD Pack<Real> slope(const Rates& rates, Bits<Real> positive, Bits<Real> negative, Pack<Real> score) const {
        const Values& values = rates.values;
        const Pack<Real> one = broadcast(Real(1)), logit = values.counted(negative, score) * values.scale;
        const Pack<Real> weight = exp<Real>(logit - where(positive, rates.positive_lse, rates.negative_lse));
        const Pack<Real> rate = where(negative & (score > values.threshold), values.hardness + 2 * score, one);
        const Pack<Real> slope = weight * rate * where(positive, rates.positive_rate, rates.negative_rate);
        return where(positive | negative, slope, Pack<Real>{});
    }

    DML_HD static void empty(State<Real>* state) {
        state[0] = state[1] = -std::numeric_limits<State<Real>>::infinity();
        state[2] = state[3] = 0;
    }

    DML_HD static void merge_states(const State<Real>* from, State<Real>* state) {
        for (int kind = 0; kind < 2; ++kind) {
            const State<Real> total = add_logs(state[kind], from[kind]), shift = finite_shift(total);
            state[2 + kind] =
                std::exp(state[kind] - shift) * state[2 + kind] + std::exp(from[kind] - shift) * from[2 + kind];
            state[kind] = total;
        }
    }
};

}  // namespace dml::DML_ISA

// dmlkernels/statistics/row_logsumexp.py
#pragma once

#include "statistics/log_sums.hpp"

namespace dml::DML_ISA {

template <class Real>
class RowLogSumExp {
  public:
    static constexpr int column_values = 0, width = 4, views = 1;
    static constexpr bool pools = false;

    explicit RowLogSumExp(const Term&) {}

    DML_HD bool fold(const Row<Real>& row, const Folded<Real>& to) const {
        const Values values(row);
        const Shifts<Real> shifts = shifts_of(row, to, [&](Index j, Bits<Real>, Bits<Real> negative) {
            return values.counted(negative, score_at(row, j)) * values.scale;
        });
        Sum<Real> sum[2], weighted[2];
        for (Index j = 0; j < row.count; j += lanes<Real>) {
            const auto [positive, negative] = pair_kinds(row, j);
            const Pack<Real> score = values.counted(negative, score_at(row, j));
            const Pack<Real> weight = exp<Real>(score * values.scale - shifts.of(positive));
            sum[0].add(positive, weight);
            sum[1].add(negative, weight);
            weighted[0].add(positive, weight * score);
            weighted[1].add(negative, weight * score);
        }
        add_means<Real>(sum[0].total(), shifts.positive, {weighted[0].total()}, to.state);
        add_means<Real>(sum[1].total(), shifts.negative, {weighted[1].total()}, to.state + 1);
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

    DML_HD static void merge_states(const State<Real>* from, State<Real>* state) { merge_means<Real, 1>(from, state); }
};

}  // namespace dml::DML_ISA

// dmlkernels/statistics/row_circle.py
#pragma once

#include "statistics/paced.hpp"

namespace dml::DML_ISA {

template <class Real>
class RowCircle {
  public:
    static constexpr int column_values = 0, width = 6, views = 1;

    explicit RowCircle(const Term& term) : detach_(term.parameters[0] != 0) {}

    DML_HD bool fold(const Row<Real>& row, const Folded<Real>& to) const {
        const Paced<Real> paced = paced_of(row);
        const Pack<Real> lowest = broadcast(-std::numeric_limits<Real>::infinity());
        Pack<Real> highest[2] = {lowest, lowest};
        for (Index j = 0; j < row.count; j += lanes<Real>) {
            const auto [positive, negative] = pair_kinds(row, j);
            const Pack<Real> logit = paced.logit_of(paced.counted(positive, score_at(row, j)));
            highest[0] = larger(where(positive, logit, lowest), highest[0]);
            highest[1] = larger(where(negative, logit, lowest), highest[1]);
        }
        const Real shift[2] = {shift_for(largest_lane<Real>(highest[0]), to.state[0]),
                               shift_for(largest_lane<Real>(highest[1]), to.state[1])};
        const Pack<Real> shifts[2] = {broadcast(shift[0]), broadcast(shift[1])};
        Sum<Real> sum[2], of_scale[2], of_margin[2];
        for (Index j = 0; j < row.count; j += lanes<Real>) {
            const auto [positive, negative] = pair_kinds(row, j);
            const Pack<Real> score = paced.counted(positive, score_at(row, j));
            const Pack<Real> weight = exp<Real>(paced.logit_of(score) - where(positive, shifts[0], shifts[1]));
            const Pack<Real> scale_rate = weight * paced.weight_of(score) * (score - paced.margin);
            const Pack<Real> margin_rate = weight * paced.margin_rate_of(score);
            sum[0].add(positive, weight);
            sum[1].add(negative, weight);
            of_scale[0].add(positive, scale_rate);
            of_scale[1].add(negative, scale_rate);
            of_margin[0].add(positive, margin_rate);
            of_margin[1].add(negative, margin_rate);
        }
        for (int kind = 0; kind < 2; ++kind) {
            const State<Real> total = sum[kind].total();
            if (total == 0) continue;
            const State<Real> before = std::exp(to.state[kind] - shift[kind]), both = before + total;
            to.state[2 + kind] = (before * to.state[2 + kind] + of_scale[kind].total()) / both;
            to.state[4 + kind] = (before * to.state[4 + kind] + of_margin[kind].total()) / both;
            to.state[kind] = shift[kind] + std::log(both);
        }
        return true;
    }

    DML_HD Range slope(const Row<Real>& row, const Sloped<Real>& of) const {
        const Paced<Real> paced = paced_of(row);
        const Pack<Real> positive_lse = broadcast(finite_shift(of.statistics[0]));
        const Pack<Real> negative_lse = broadcast(finite_shift(of.statistics[1]));
        const Pack<Real> positive_rate = broadcast(-of.gradient[0]), negative_rate = broadcast(of.gradient[1]);
        for (Index j = 0; j < row.count; j += lanes<Real>) {
            const auto [positive, negative] = pair_kinds(row, j);
            const Pack<Real> score = paced.counted(positive, score_at(row, j));
            const Pack<Real> weight = exp<Real>(paced.logit_of(score) - where(positive, positive_lse, negative_lse));
            const Pack<Real> slope = weight * paced.rate_of(score) * where(positive, positive_rate, negative_rate);
            add_slope(row, of, j, where(positive | negative, slope, Pack<Real>{}));
        }
        return {0, row.count};
    }

    DML_HD static void empty(State<Real>* state) {
        state[0] = state[1] = -std::numeric_limits<State<Real>>::infinity();
        for (int k = 2; k < width; ++k) state[k] = 0;
    }

    DML_HD static void merge_states(const State<Real>* from, State<Real>* state) {
        for (int kind = 0; kind < 2; ++kind) {
            const State<Real> total = add_logs(state[kind], from[kind]), shift = finite_shift(total);
            const State<Real> own = std::exp(state[kind] - shift), other = std::exp(from[kind] - shift);
            for (int k = 2 + kind; k < width; k += 2) state[k] = own * state[k] + other * from[k];
            state[kind] = total;
        }
    }

  private:
    // With scale and margin of the row.
    DML_HD Paced<Real> paced_of(const Row<Real>& row) const {
        return {broadcast(row.values[0]), broadcast(row.values[1]), detach_};
    }

    bool detach_;
};

}  // namespace dml::DML_ISA

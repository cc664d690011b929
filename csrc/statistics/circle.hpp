// dmlkernels/statistics/circle.py
#pragma once

#include "statistics/paced.hpp"

namespace dml::DML_ISA {

template <class Real>
class Circle {
  public:
    static constexpr int column_values = 0, width = 2, views = 1;

    explicit Circle(const Term& term)
        : paced_{broadcast(static_cast<Real>(term.parameters[0])), broadcast(static_cast<Real>(term.parameters[1])),
                 term.parameters[2] != 0} {}

    DML_HD bool fold(const Row<Real>& row, const Folded<Real>& to) const {
        const Pack<Real> lowest = broadcast(-std::numeric_limits<Real>::infinity());
        Pack<Real> highest[2] = {lowest, lowest};
        for (Index j = 0; j < row.count; j += lanes<Real>) {
            const auto [positive, negative] = pair_kinds(row, j);
            const Pack<Real> logit = paced_.logit_of(paced_.counted(positive, score_at(row, j)));
            highest[0] = larger(where(positive, logit, lowest), highest[0]);
            highest[1] = larger(where(negative, logit, lowest), highest[1]);
        }
        const Real shift[2] = {shift_for(largest_lane<Real>(highest[0]), to.state[0]),
                               shift_for(largest_lane<Real>(highest[1]), to.state[1])};
        const Pack<Real> shifts[2] = {broadcast(shift[0]), broadcast(shift[1])};
        Sum<Real> sum[2];
        for (Index j = 0; j < row.count; j += lanes<Real>) {
            const auto [positive, negative] = pair_kinds(row, j);
            const Pack<Real> logit = paced_.logit_of(paced_.counted(positive, score_at(row, j)));
            const Pack<Real> weight = exp<Real>(logit - where(positive, shifts[0], shifts[1]));
            sum[0].add(positive, weight);
            sum[1].add(negative, weight);
        }
        for (int kind = 0; kind < 2; ++kind) add_sum<Real>(sum[kind].total(), shift[kind], to.state[kind]);
        return true;
    }

    DML_HD Range slope(const Row<Real>& row, const Sloped<Real>& of) const {
        const Pack<Real> positive_lse = broadcast(finite_shift(of.statistics[0]));
        const Pack<Real> negative_lse = broadcast(finite_shift(of.statistics[1]));
        const Pack<Real> positive_rate = broadcast(-of.gradient[0]), negative_rate = broadcast(of.gradient[1]);
        for (Index j = 0; j < row.count; j += lanes<Real>) {
            const auto [positive, negative] = pair_kinds(row, j);
            const Pack<Real> score = paced_.counted(positive, score_at(row, j));
            const Pack<Real> weight = exp<Real>(paced_.logit_of(score) - where(positive, positive_lse, negative_lse));
            const Pack<Real> slope = weight * paced_.rate_of(score) * where(positive, positive_rate, negative_rate);
            add_slope(row, of, j, where(positive | negative, slope, Pack<Real>{}));
        }
        return {0, row.count};
    }

    DML_HD static void empty(State<Real>* state) {
        state[0] = state[1] = -std::numeric_limits<State<Real>>::infinity();
    }

    DML_HD static void merge_states(const State<Real>* from, State<Real>* state) {
        for (int kind = 0; kind < 2; ++kind) state[kind] = add_logs(state[kind], from[kind]);
    }

  private:
    Paced<Real> paced_;
};

}  // namespace dml::DML_ISA

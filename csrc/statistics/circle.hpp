// dmlkernels/statistics/circle.py
#pragma once

#include "statistics/paced.hpp"

namespace dml::DML_ISA {

template <class Real>
class Circle {
  public:
    static constexpr int column_values = 0, width = 2, views = 1;
    static constexpr bool pools = false;

    explicit Circle(const Term& term)
        : paced_{broadcast(static_cast<Real>(term.parameters[0])), broadcast(static_cast<Real>(term.parameters[1])),
                 term.parameters[2] != 0} {}

    DML_HD bool fold(const Row<Real>& row, const Folded<Real>& to) const {
        const Shifts<Real> shifts = paced_.shifts(row, to);
        Sum<Real> sum[2];
        for (Index j = 0; j < row.count; j += lanes<Real>) {
            const auto [positive, negative] = pair_kinds(row, j);
            const Pack<Real> logit = paced_.logit_of(paced_.counted(positive, score_at(row, j)));
            const Pack<Real> weight = exp<Real>(logit - shifts.of(positive));
            sum[0].add(positive, weight);
            sum[1].add(negative, weight);
        }
        add_sum<Real>(sum[0].total(), shifts.positive, to.state[0]);
        add_sum<Real>(sum[1].total(), shifts.negative, to.state[1]);
        return true;
    }

    DML_HD Range slope(const Row<Real>& row, const Sloped<Real>& of) const { return paced_.slope(row, of); }

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

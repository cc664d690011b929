// dmlkernels/statistics/row_circle.py
#pragma once

#include "statistics/paced.hpp"

namespace dml::DML_ISA {

template <class Real>
class RowCircle {
  public:
    static constexpr int column_values = 0, width = 6, views = 1;
    static constexpr bool pools = false;

    explicit RowCircle(const Term& term) : detach_(term.parameters[0] != 0) {}

    DML_HD bool fold(const Row<Real>& row, const Folded<Real>& to) const {
        const Paced<Real> paced = paced_of(row);
        const Shifts<Real> shifts = paced.shifts(row, to);
        Sum<Real> sum[2], of_scale[2], of_margin[2];
        for (Index j = 0; j < row.count; j += lanes<Real>) {
            const auto [positive, negative] = pair_kinds(row, j);
            const Pack<Real> score = paced.counted(positive, score_at(row, j));
            const Pack<Real> weight = exp<Real>(paced.logit_of(score) - shifts.of(positive));
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
            const State<Real> weighted[2] = {of_scale[kind].total(), of_margin[kind].total()};
            const Real shift = kind == 0 ? shifts.positive : shifts.negative;
            add_means<Real>(sum[kind].total(), shift, weighted, to.state + kind);
        }
        return true;
    }

    DML_HD Range slope(const Row<Real>& row, const Sloped<Real>& of) const { return paced_of(row).slope(row, of); }

    DML_HD static void empty(State<Real>* state) {
        state[0] = state[1] = -std::numeric_limits<State<Real>>::infinity();
        for (int k = 2; k < width; ++k) state[k] = 0;
    }

    DML_HD static void merge_states(const State<Real>* from, State<Real>* state) { merge_means<Real, 2>(from, state); }

  private:
    // With scale and margin of the row.
    DML_HD Paced<Real> paced_of(const Row<Real>& row) const {
        return {broadcast(row.values[0]), broadcast(row.values[1]), detach_};
    }

    bool detach_;
};

}  // namespace dml::DML_ISA

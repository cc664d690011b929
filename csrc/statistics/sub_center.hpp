// dmlkernels/statistics/sub_center.py
#pragma once

#include "statistics/logsumexp.hpp"

namespace dml::DML_ISA {

template <class Real>
class SubCenter {
  public:
    static constexpr int column_values = 0, width = 2, views = 1;

    explicit SubCenter(const Term& term)
        : over_classes_(term.parameters[0], term.parameters[0]), group_(static_cast<Index>(term.parameters[1])) {}

    DML_HD bool fold(const Row<Real>& row, const Folded<Real>& to) const {
        for (Index j = 0; j < row.count; j += lanes<Real>) put_score(row, to, j, nearest(row, j));
        return over_classes_.fold(scratch_row(row, to), to);
    }

    // From the last pack to the first, as in SoftTriple.
    DML_HD Range slope(const Row<Real>& row, const Sloped<Real>& of) const {
        const auto rates = over_classes_.rates(of);
        for (Index j = (row.count - 1) / lanes<Real> * lanes<Real>; j >= 0; j -= lanes<Real>) {
            const Pack<Real> highest = nearest(row, j);
            const auto [positive, negative] = pair_kinds(row, j);
            Pack<Real> left = over_classes_.slope(rates, positive, negative, highest);
            for (Index k = 0; k < group_; ++k) {
                const Pack<Real> score = score_at(row, j, k);
                const Bits<Real> others = score < highest;  // false for NaN
                put_slope(row, of, j, where(others, Pack<Real>{}, left), k);
                left = where(others, left, Pack<Real>{});
            }
        }
        return {0, group_ * row.count};
    }

    DML_HD static void empty(State<Real>* state) { LogSumExp<Real>::empty(state); }
    DML_HD static void merge_states(const State<Real>* from, State<Real>* state) {
        LogSumExp<Real>::merge_states(from, state);
    }

  private:
    // The highest score of the centres of a class; NaN if any is NaN.
    DML_HD Pack<Real> nearest(const Row<Real>& row, Index j) const {
        Pack<Real> highest = score_at(row, j, 0);
        for (Index k = 1; k < group_; ++k) {
            const Pack<Real> score = score_at(row, j, k);
            highest = where((score > highest) | (score != score), score, highest);
        }
        return highest;
    }

    LogSumExp<Real> over_classes_;
    Index group_;
};

}  // namespace dml::DML_ISA

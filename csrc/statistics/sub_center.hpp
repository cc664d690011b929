// dmlkernels/statistics/sub_center.py
#pragma once

#include "statistics/logsumexp.hpp"
#include "statistics/row_logsumexp.hpp"

namespace dml::DML_ISA {

// Another statistic of the best score of each group of columns.
template <class Real, class OverClasses>
class OfNearest {
  public:
    static constexpr int column_values = 0, width = OverClasses::width, views = 1;
    static constexpr bool pools = true;

    OfNearest(const OverClasses& over_classes, double group) : over_classes_(over_classes), group_(static_cast<Index>(group)) {}

    DML_HD bool fold(const Row<Real>& row, const Folded<Real>& to) const {
        for (Index j = 0; j < row.count; j += lanes<Real>) put_score(row, to, j, nearest(row, j));
        return over_classes_.fold(scratch_row(row, to), to);
    }

    // From the last pack to the first, as in SoftTriple.
    DML_HD Range slope(const Row<Real>& row, const Sloped<Real>& of) const {
        const auto rates = over_classes_.rates(row, of);
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

    DML_HD static void empty(State<Real>* state) { OverClasses::empty(state); }
    DML_HD static void merge_states(const State<Real>* from, State<Real>* state) {
        OverClasses::merge_states(from, state);
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

    OverClasses over_classes_;
    Index group_;
};

template <class Real>
class SubCenter : public OfNearest<Real, LogSumExp<Real>> {
  public:
    explicit SubCenter(const Term& term)
        : OfNearest<Real, LogSumExp<Real>>({term.parameters[0], term.parameters[0]}, term.parameters[1]) {}
};

template <class Real>
class RowSubCenter : public OfNearest<Real, RowLogSumExp<Real>> {
  public:
    explicit RowSubCenter(const Term& term) : OfNearest<Real, RowLogSumExp<Real>>(RowLogSumExp<Real>(term), term.parameters[0]) {}
};

}  // namespace dml::DML_ISA

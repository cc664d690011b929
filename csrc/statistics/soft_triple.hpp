// dmlkernels/statistics/soft_triple.py
#pragma once

#include "statistics/logsumexp.hpp"

namespace dml::DML_ISA {

template <class Real>
class SoftTriple {
  public:
    static constexpr int column_values = 0, width = 2, views = 1;
    static constexpr bool pools = true;

    explicit SoftTriple(const Term& term)
        : over_classes_(term.parameters[0], term.parameters[0]),
          sharpness_(static_cast<Real>(1 / term.parameters[1])),
          group_(static_cast<Index>(term.parameters[2])) {}

    DML_HD bool fold(const Row<Real>& row, const Folded<Real>& to) const {
        for (Index j = 0; j < row.count; j += lanes<Real>) {
            put_score(row, to, j, relax(row, j, [](Index, Pack<Real>) {}).similarity);
        }
        return over_classes_.fold(scratch_row(row, to), to);
    }

    // From the last pack to the first: on the CPU the last pack may extend into the slopes of the next centre, which
    // are written later.
    DML_HD Range slope(const Row<Real>& row, const Sloped<Real>& of) const {
        const auto rates = over_classes_.rates(row, of);
        for (Index j = (row.count - 1) / lanes<Real> * lanes<Real>; j >= 0; j -= lanes<Real>) {
            const Relaxed relaxed = relax(row, j, [&](Index k, Pack<Real> weight) { keep(row, of, j, weight, k); });
            const auto [positive, negative] = pair_kinds(row, j);
            const Pack<Real> of_weight = over_classes_.slope(rates, positive, negative, relaxed.similarity) / relaxed.total;
            for (Index k = 0; k < group_; ++k) {
                const Pack<Real> score = score_at(row, j, k);
                const Pack<Real> spread = (score - relaxed.similarity) * sharpness_ + 1;
                put_slope(row, of, j, spread * kept(row, of, j, k) * of_weight, k);
            }
        }
        return {0, group_ * row.count};
    }

    DML_HD static void empty(State<Real>* state) { LogSumExp<Real>::empty(state); }
    DML_HD static void merge_states(const State<Real>* from, State<Real>* state) {
        LogSumExp<Real>::merge_states(from, state);
    }

  private:
    // The similarity to a class, and the sum of the weights of its centres.
    struct Relaxed {
        Pack<Real> similarity, total;
    };

    // Calls see(k, weight) for every centre k.
    template <class See>
    DML_HD Relaxed relax(const Row<Real>& row, Index j, const See& see) const {
        Pack<Real> highest = score_at(row, j, 0);
        for (Index k = 1; k < group_; ++k) highest = larger(score_at(row, j, k), highest);
        Pack<Real> total{}, weighted{};
        for (Index k = 0; k < group_; ++k) {
            const Pack<Real> score = score_at(row, j, k);
            const Pack<Real> weight = exp<Real>((score - highest) * sharpness_);
            total += weight;
            weighted += weight * score;
            see(k, weight);
        }
        return {weighted / total, total};
    }

    LogSumExp<Real> over_classes_;
    Real sharpness_;
    Index group_;
};

}  // namespace dml::DML_ISA

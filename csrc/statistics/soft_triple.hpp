// dmlkernels/statistics/soft_triple.py
#pragma once

#include "statistics/logsumexp.hpp"

namespace dml::DML_ISA {

template <class Real>
class SoftTriple {
  public:
    static constexpr int column_numbers = 0;
    static constexpr int scratch_numbers = 4;  // per label

    explicit SoftTriple(const cpu::Term& term)
        : over_classes_(term.parameters[0], term.parameters[0]),
          gamma_(static_cast<Real>(term.parameters[1])),
          group_(static_cast<std::int64_t>(term.parameters[2])) {}

    DML_INLINE bool fold(const Row<Real>& row, const Folded<Real>& to) const {
        return over_classes_.fold(relax(row, to.scratch), to);
    }

    DML_INLINE Range slope(const Row<Real>& row, const Sloped<Real>& of) const {
        const Row<Real> relaxed = relax(row, of.scratch);
        const std::int64_t room = padded_count(row);
        const Real *const highest = of.scratch + room, *const total = of.scratch + 2 * room;
        Real* const class_slope = of.scratch + 3 * room;
        for (std::int64_t j = 0; j < room; ++j) class_slope[j] = 0;
        over_classes_.slope(relaxed, {of.statistics, of.gradient, nullptr, 0, class_slope, 0, nullptr});
        // Centre by centre: the end of the last pack reaches into the next centre's slopes, which come later.
        for (std::int64_t k = 0; k < group_; ++k) {
            for (std::int64_t j = 0; j < row.count; j += lanes<Real>) {
                const Pack<Real> score = load(row.scores + k * row.stride + j);
                const Pack<Real> share = exp<Real>((score - load(highest + j)) / gamma_) / load(total + j);
                const Pack<Real> spread = (score - load(relaxed.scores + j)) / gamma_ + 1;
                store(of.slopes + k * row.stride + j, spread * share * load(class_slope + j));
            }
        }
        return {0, group_ * row.count};
    }

  private:
    DML_INLINE static std::int64_t padded_count(const Row<Real>& row) {
        return (row.count + lanes<Real> - 1) / lanes<Real> * lanes<Real>;
    }

    // The row of class similarities; scratch memory then holds them, the highest scores and the sums of weights.
    DML_INLINE Row<Real> relax(const Row<Real>& row, Real* scratch_memory) const {
        const std::int64_t room = padded_count(row);
        for (std::int64_t j = 0; j < row.count; j += lanes<Real>) {
            Pack<Real> highest = load(row.scores + j);
            for (std::int64_t k = 1; k < group_; ++k) highest = larger(load(row.scores + k * row.stride + j), highest);
            Pack<Real> total{}, weighted{};
            for (std::int64_t k = 0; k < group_; ++k) {
                const Pack<Real> score = load(row.scores + k * row.stride + j);
                const Pack<Real> weight = exp<Real>((score - highest) / gamma_);
                total += weight;
                weighted += weight * score;
            }
            store(scratch_memory + j, weighted / total);
            store(scratch_memory + room + j, highest);
            store(scratch_memory + 2 * room + j, total);
        }
        Row<Real> relaxed = row;
        relaxed.scores = scratch_memory;
        return relaxed;
    }

    LogSumExp<Real> over_classes_;
    Real gamma_;
    std::int64_t group_;
};

}  // namespace dml::DML_ISA

// Forward: folds a tile into the states of its rows and of its columns. Included by cpu/kernels.cpp only.
#pragma once

#include "cpu/tile_scores.hpp"

namespace dml::DML_ISA {

template <class Real>
class TileFold : TileScores<Real> {
  public:
    TileFold(const Tile& tile, Workspace& workspace) : Scores(tile, workspace) {}

    bool fold() {
        const std::int64_t size = column_side_ * stride_;
        const std::int64_t runs_of_part = divided(divided(row_slivers_, parts_), run_slivers), runs = parts_ * runs_of_part;
        Real* const sums = static_cast<Real*>(workspace_.room(Workspace::column_side, runs * size * sizeof(Real)));
        for (std::int64_t k = 0; k < runs * size; ++k) sums[k] = 0;
        parallel(row_slivers_, parts_, threads_, [&](std::int64_t part, std::int64_t begin, std::int64_t end) {
            Part memory = this->part(part);
            for (std::int64_t sliver = begin; sliver < end; ++sliver) {
                Real* const columns = sums + (part * runs_of_part + (sliver - begin) / run_slivers) * size;
                score(sliver, memory);
                *memory.has_grad |= fold_sliver(sliver, memory, columns);
            }
        });
        merge_columns(sums, runs);
        return any_part_has_grad();
    }

  private:
    using Scores = TileScores<Real>;
    using typename Scores::Part;
    using Scores::rows_in;
    using Scores::smaller;
    using Scores::score;
    using Scores::for_stretches;
    using Scores::tile_;
    using Scores::workspace_;
    using Scores::columns_;
    using Scores::row_slivers_;
    using Scores::stride_;
    using Scores::threads_;
    using Scores::parts_;
    using Scores::column_side_;

    // Slivers of rows whose column sums are added in Real before they go to double: in longer sums of equal values,
    // such as flat energies, rounding errors all have one sign.
    static constexpr std::int64_t run_slivers = 48 / sliver_rows;

    static std::int64_t divided(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }  // rounded up

    bool fold_sliver(std::int64_t sliver, const Part& memory, Real* columns) const {
        bool has_grad = false;
        auto* const states = reinterpret_cast<double*>(tile_.rows.states) + sliver * sliver_rows * tile_.width;
        for (int k = 0; k < tile_.term_count; ++k) {
            const Term& term = tile_.terms[k];
            has_grad |= with_statistic<Real>(term, [&](const auto& statistic) {
                bool any = false;
                for (std::int64_t i = 0; i < rows_in(sliver); ++i) {
                    for_stretches(sliver, i, memory, [&](const Row<Real>& row, std::int64_t j) {
                        double* const state = term.from_rows ? states + i * tile_.width + term.first : nullptr;
                        Real* const sums = term.from_columns ? columns + j : nullptr;
                        any |= statistic.fold(row, {state, sums, stride_, memory.scratch});
                    });
                }
                return any;
            });
            if (term.from_columns) columns += column_values(term) * stride_;
        }
        return has_grad;
    }

    template <class Statistic>
    static void merge_column(const Statistic&, const Real* sums, std::int64_t stride, double* state) {
        if constexpr (Statistic::column_values > 0) Statistic::merge_columns(sums, stride, state);
    }

    void merge_columns(const Real* sums, std::int64_t runs) const {
        auto* const states = reinterpret_cast<double*>(tile_.columns.states);
        for (std::int64_t run = 0; run < runs && column_side_ > 0; ++run) {
            for (int k = 0; k < tile_.term_count; ++k) {
                const Term& term = tile_.terms[k];
                if (!term.from_columns) continue;
                with_statistic<Real>(term, [&](const auto& statistic) {
                    for (std::int64_t j = 0; j < columns_; ++j) {
                        merge_column(statistic, sums + j, stride_, states + j * tile_.width + term.first);
                    }
                    return true;
                });
                sums += column_values(term) * stride_;
            }
        }
    }

    bool any_part_has_grad() const {
        bool has_grad = false;
        for (std::int64_t k = 0; k < parts_; ++k) has_grad |= *this->part(k).has_grad != 0;
        return has_grad;
    }
};

}  // namespace dml::DML_ISA

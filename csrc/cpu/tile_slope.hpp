// Backward: the slopes of a tile and their products with the unit vectors of both sides. Included by cpu/kernels.cpp
// only.
#pragma once

#include "cpu/tile_scores.hpp"

namespace dml::DML_ISA {

template <class Real>
class TileSlope : TileScores<Real> {
  public:
    TileSlope(const Tile& tile, Workspace& workspace) : Scores(tile, workspace) {}

    void slope() {
        prepare_columns();
        ranges_ = static_cast<Range*>(workspace_.room(Workspace::ranges, row_slivers_ * sizeof(Range)));
        Real* const slopes =
            static_cast<Real*>(workspace_.room(Workspace::scores, (tile_.views * padded_rows_ * stride_ + sliver_rows) * sizeof(Real)));
        const Real* columns_by_row = nullptr;
        if (tile_.rows.of_units != 0) {
            columns_by_row = pack_adjacent_of(tile_.columns.units, columns_, Workspace::columns_by_row);
        }
        parallel(row_slivers_, parts_, threads_, [&](std::int64_t part, std::int64_t begin, std::int64_t end) {
            Part memory = this->part(part);
            for (std::int64_t sliver = begin; sliver < end; ++sliver) {
                score(sliver, memory);
                ranges_[sliver] = slope_sliver(sliver, memory, slopes);
                if (!ranges_[sliver].empty() && columns_by_row != nullptr) {
                    add_to_rows(sliver, slopes, columns_by_row);
                }
            }
        });
        if (tile_.columns.of_units != 0) add_to_columns(slopes);
    }

  private:
    using Scores = TileScores<Real>;
    using typename Scores::Part;
    using Scores::smaller;
    using Scores::rows_in;
    using Scores::score;
    using Scores::for_stretches;
    using Scores::pack_adjacent_of;
    using Scores::tile_;
    using Scores::workspace_;
    using Scores::rows_;
    using Scores::columns_;
    using Scores::row_slivers_;
    using Scores::padded_rows_;
    using Scores::stride_;
    using Scores::threads_;
    using Scores::parts_;
    using Scores::column_side_;

    Range slope_sliver(std::int64_t sliver, const Part& memory, Real* slopes) const {
        const std::int64_t first = sliver * sliver_rows;
        for (int view = 0; view < tile_.views; ++view) {
            Real* const to = slopes + (view * padded_rows_ + first) * stride_;
            for (std::int64_t k = 0; k < sliver_rows * stride_; ++k) to[k] = 0;
        }
        Range has_grad;
        const Real* columns = column_slopes_;
        for (int k = 0; k < tile_.term_count; ++k) {
            const Term& term = tile_.terms[k];
            with_statistic<Real>(term, [&](const auto& statistic) {
                for (std::int64_t i = 0; i < rows_in(sliver); ++i) {
                    const std::int64_t place = (first + i) * tile_.width + term.first;
                    for_stretches(sliver, i, memory, [&](const Row<Real>& row, std::int64_t j) {
                        const Range range = statistic.slope(row, {address<Real>(tile_.rows.statistics) + place,
                                                     term.from_rows ? address<Real>(tile_.rows.gradient) + place : nullptr,
                                                     term.from_columns ? columns + j : nullptr, stride_,
                                                     slopes + (first + i) * stride_ + j, padded_rows_ * stride_, memory.scratch});
                        if (!range.empty()) has_grad.join(j + range.begin, j + range.end);
                    });
                }
                return true;
            });
            if (term.from_columns) columns += column_values(term) * stride_;
        }
        return has_grad;
    }

    template <class Statistic>
    static void prepare_column(const Statistic&, const Real* statistics, const Real* gradient, Real* out,
                               std::int64_t stride) {
        if constexpr (Statistic::column_values > 0) Statistic::columns_slope(statistics, gradient, out, stride);
    }

    void prepare_columns() {
        Real* columns = static_cast<Real*>(
            workspace_.room(Workspace::column_side, column_side_ * stride_ * sizeof(Real)));
        column_slopes_ = columns;
        for (std::int64_t k = 0; k < column_side_ * stride_; ++k) columns[k] = 0;
        for (int k = 0; k < tile_.term_count; ++k) {
            const Term& term = tile_.terms[k];
            if (!term.from_columns) continue;
            with_statistic<Real>(term, [&](const auto& statistic) {
                for (std::int64_t j = 0; j < columns_; ++j) {
                    const std::int64_t place = j * tile_.width + term.first;
                    prepare_column(statistic, address<Real>(tile_.columns.statistics) + place,
                                   address<Real>(tile_.columns.gradient) + place, columns + j, stride_);
                }
                return true;
            });
            columns += column_values(term) * stride_;
        }
    }

    // of_rows += slopes @ columns, for the rows of a sliver.
    void add_to_rows(std::int64_t sliver, const Real* slopes, const Real* columns_by_row) const {
        constexpr int width = sliver_columns<Real>;
        const std::int64_t first = sliver * sliver_rows, dim = tile_.dim;
        const Range range = ranges_[sliver];
        for (int view = 0; view < tile_.views; ++view) {
            Real* const out =
                reinterpret_cast<Real*>(tile_.rows.of_units) + view * tile_.rows.view_stride + first * dim;
            const Rows<Real> left(slopes + (view * padded_rows_ + first) * stride_ + range.begin, stride_);
            for (std::int64_t k = 0; k < dim; k += width) {
                add_product<Real>(left, columns_by_row + k * columns_ + range.begin * width, range.size(), out + k, dim,
                                  rows_in(sliver), dim - k);
            }
        }
    }

    Range rows_with_slopes(std::int64_t first, std::int64_t last) const {
        Range rows;
        for (std::int64_t sliver = 0; sliver < row_slivers_; ++sliver) {
            if (ranges_[sliver].meets(first, last)) {
                rows.join(sliver * sliver_rows, smaller((sliver + 1) * sliver_rows, rows_));
            }
        }
        return rows;
    }

    // of_columns += slopes' @ rows.
    void add_to_columns(const Real* slopes) {
        constexpr int width = sliver_columns<Real>;
        const std::int64_t dim = tile_.dim, all = slivers(columns_, sliver_rows);
        if (rows_with_slopes(0, columns_).empty()) return;
        for (int view = 0; view < tile_.views; ++view) {
            const std::uintptr_t units = tile_.rows.units + view * tile_.rows.view_stride * sizeof(Real);
            const bool kept = workspace_.packed_rows == units;
            const Real* const rows_by_row = pack_adjacent_of(units, rows_, Workspace::rows_by_row, kept);
            workspace_.packed_rows = units;
            parallel(all, smaller(all, parts_), threads_, [&](std::int64_t, std::int64_t begin, std::int64_t end) {
                for (std::int64_t sliver = begin; sliver < end; ++sliver) {
                    const std::int64_t j = sliver * sliver_rows;
                    const Range range = rows_with_slopes(j, j + sliver_rows);
                    if (range.empty()) continue;
                    Real* const out = reinterpret_cast<Real*>(tile_.columns.of_units) + j * dim;
                    const Adjacent<Real> left{slopes + (view * padded_rows_ + range.begin) * stride_ + j, stride_};
                    for (std::int64_t d = 0; d < dim; d += width) {
                        add_product<Real>(left, rows_by_row + d * rows_ + range.begin * width, range.size(), out + d,
                                          dim, columns_ - j, dim - d);
                    }
                }
            });
        }
    }

    const Real* column_slopes_ = nullptr;
    Range* ranges_ = nullptr;  // of the slopes of each sliver of rows
};

}  // namespace dml::DML_ISA

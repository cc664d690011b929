// Every step of a tile, in parallel. Part of cpu/kernels.cpp, whose rules hold here.
#pragma once

#include <cstdint>

#include "cpu/parallel.hpp"
#include "cpu/product.hpp"
#include "cpu/tile.hpp"
#include "statistics/divergence.hpp"
#include "statistics/field.hpp"
#include "statistics/logsumexp.hpp"
#include "statistics/moments.hpp"
#include "statistics/soft_triple.hpp"
#include "statistics/square.hpp"

namespace dml::DML_ISA {

using cpu::Kind;
using cpu::Side;
using cpu::Term;
using cpu::Tile;
using cpu::Workspace;

constexpr std::int64_t parts_per_thread = 4;          // evens out threads that are slow or late
constexpr std::int64_t serial_products = 1 << 18;     // below so many multiplications threads cost more than they save
constexpr std::int64_t stretch = 512;                 // of a row, folded at once: sums of more lose digits

template <class T>
const T* address(std::uintptr_t where) {
    return reinterpret_cast<const T*>(where);
}

// Calls body(begin, end) on `parts` ranges that cover [0, size).
template <class Body>
void parallel(std::int64_t size, std::int64_t parts, int threads, const Body& body) {
    struct Work {
        std::int64_t size, parts;
        const Body& body;
        static void run(void* self, std::int64_t part) {
            const Work& work = *static_cast<Work*>(self);
            work.body(part, work.size * part / work.parts, work.size * (part + 1) / work.parts);
        }
    } work{size, parts, body};
    cpu::run_parts(parts, threads, &Work::run, &work);
}

// Calls body(statistic) with the statistic of a term.
template <class Real, class Body>
DML_INLINE bool with_statistic(const Term& term, const Body& body) {
    switch (term.kind) {
        case Kind::divergence: return body(Divergence<Real>(term));
        case Kind::field: return body(Field<Real>(term));
        case Kind::logsumexp: return body(LogSumExp<Real>(term));
        case Kind::moments: return body(Moments<Real>(term));
        case Kind::soft_triple: return body(SoftTriple<Real>(term));
        case Kind::square: return body(Square<Real>(term));
    }
    return true;
}

inline int column_values(Kind kind) {
    return kind == Kind::moments ? Moments<float>::column_values : kind == Kind::field ? Field<float>::column_values : 0;
}

template <class Real>
class TileWork {
  public:
    TileWork(const Tile& tile, Workspace& workspace)
        : tile_(tile),
          workspace_(workspace),
          rows_(tile.rows.size),
          columns_(tile.columns.size),
          labels_count_(tile.columns.size / tile.group),
          row_slivers_(slivers(tile.rows.size, sliver_rows)),
          padded_rows_(row_slivers_ * sliver_rows),
          soft_(tile.terms[0].kind == Kind::soft_triple),
          stride_(padded(tile.columns.size, sliver_columns<Real>) + (soft_ ? sliver_columns<Real> : 0)),
          threads_(rows_ * columns_ * tile.dim * tile.views < serial_products ? 1 : tile.threads),
          parts_(smaller(row_slivers_, threads_ == 1 ? 1 : parts_per_thread * threads_)) {
        for (int k = 0; k < tile.term_count; ++k) {
            if (tile.terms[k].from_columns) column_side_ += column_values(tile.terms[k].kind);
        }
        label_columns();
        allot_parts();
        columns_by_dim_ = pack_vectors_of(tile.columns.units, columns_, Workspace::columns_by_dim);
    }

    bool fold() {
        Real* const sums = static_cast<Real*>(
            workspace_.room(Workspace::column_side, parts_ * column_side_ * stride_ * sizeof(Real)));
        parallel(row_slivers_, parts_, threads_, [&](std::int64_t part, std::int64_t begin, std::int64_t end) {
            Part own = this->part(part);
            Real* const columns = sums + part * column_side_ * stride_;
            for (std::int64_t k = 0; k < column_side_ * stride_; ++k) columns[k] = 0;
            for (std::int64_t sliver = begin; sliver < end; ++sliver) {
                score(sliver, own);
                *own.has_grad |= fold_sliver(sliver, own, columns);
            }
        });
        merge_columns(sums);
        return any_part_has_grad();
    }

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
            Part own = this->part(part);
            for (std::int64_t sliver = begin; sliver < end; ++sliver) {
                score(sliver, own);
                ranges_[sliver] = slope_sliver(sliver, own, slopes);
                if (!ranges_[sliver].empty() && columns_by_row != nullptr) {
                    add_to_rows(sliver, slopes, columns_by_row);
                }
            }
        });
        if (tile_.columns.of_units != 0) add_to_columns(slopes);
    }

  private:
    // Memory of one part of the work.
    struct Part {
        Real* scores;   // (views, sliver_rows, stride)
        Real* left;     // packed rows of a sliver
        Real* scratch;  // of the statistic
        Label<Real>* labels;
        Label<Real>* has_grad;  // of a fold: whether any slope may be non-zero
    };

    static std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
    static std::int64_t larger(std::int64_t a, std::int64_t b) { return a > b ? a : b; }

    // On a diagonal whose pairs are seen once: those above it.
    bool triangle() const { return tile_.diagonal && column_side_ > 0; }
    std::int64_t first_column(std::int64_t sliver) const {
        return triangle() ? sliver * sliver_rows / sliver_columns<Real> * sliver_columns<Real> : 0;
    }

    std::int64_t rows_in(std::int64_t sliver) const { return smaller(rows_ - sliver * sliver_rows, sliver_rows); }

    // A label that no row can have stands for all that do not fit.
    static Label<Real> narrow(std::int64_t label) {
        const auto narrowed = static_cast<Label<Real>>(label);
        return narrowed == label && narrowed != no_label<Real> ? narrowed : no_label<Real> + 1;
    }

    // Labels and weights up to whole packs, in this engine's types.
    void label_columns() {
        const std::int64_t room = stride_;
        labels_ = static_cast<Label<Real>*>(
            workspace_.room(Workspace::labels, room * (sizeof(Label<Real>) + sizeof(Real))));
        weights_ = reinterpret_cast<Real*>(labels_ + room);
        const auto* labels = address<std::int64_t>(tile_.columns.labels);
        const auto* weights = address<Real>(tile_.columns.weights);
        for (std::int64_t j = 0; j < room; ++j) {
            labels_[j] = j >= labels_count_ ? no_label<Real> : labels == nullptr ? 0 : narrow(labels[j]);
            weights_[j] = j < labels_count_ && weights != nullptr ? weights[j] : 0;
        }
    }

    void allot_parts() {
        scores_size_ = tile_.views * sliver_rows * stride_;
        left_size_ = sliver_rows * tile_.dim;
        scratch_size_ = soft_ ? larger(stride_, tile_.group * lanes<Real>) : 0;
        part_size_ = padded((scores_size_ + left_size_ + scratch_size_) * sizeof(Real) +
                                (stride_ + 1) * sizeof(Label<Real>), 64);
        memory_ = static_cast<unsigned char*>(workspace_.room(Workspace::parts, parts_ * part_size_));
        for (std::int64_t k = 0; k < parts_; ++k) *part(k).has_grad = 0;
        if (!tile_.diagonal) return;
        for (std::int64_t k = 0; k < parts_; ++k) {
            for (std::int64_t j = 0; j < stride_; ++j) part(k).labels[j] = labels_[j];
        }
    }

    Part part(std::int64_t k) const {
        Real* const scores = reinterpret_cast<Real*>(memory_ + k * part_size_);
        Real* const left = scores + scores_size_;
        Real* const scratch = left + left_size_;
        auto* const labels = reinterpret_cast<Label<Real>*>(scratch + scratch_size_);
        return {scores, left, scratch, labels, labels + stride_};
    }

    bool any_part_has_grad() const {
        bool has_grad = false;
        for (std::int64_t k = 0; k < parts_; ++k) has_grad |= *part(k).has_grad != 0;
        return has_grad;
    }

    const Real* pack_vectors_of(std::uintptr_t units, std::int64_t count, Workspace::Use use) {
        constexpr int width = sliver_columns<Real>;
        const std::int64_t all = slivers(count, width), dim = tile_.dim;
        Real* const packed = static_cast<Real*>(workspace_.room(use, all * width * dim * sizeof(Real)));
        parallel(all, smaller(all, threads_), threads_, [&](std::int64_t, std::int64_t begin, std::int64_t end) {
            for (std::int64_t k = begin; k < end; ++k) {
                pack_vectors<width>(address<Real>(units) + k * width * dim, dim, count - k * width, dim,
                                    packed + k * width * dim);
            }
        });
        return packed;
    }

    const Real* pack_adjacent_of(std::uintptr_t units, std::int64_t count, Workspace::Use use, bool kept = false) {
        constexpr int width = sliver_columns<Real>;
        const std::int64_t all = slivers(tile_.dim, width), dim = tile_.dim;
        Real* const packed = static_cast<Real*>(workspace_.room(use, all * width * count * sizeof(Real)));
        if (kept) return packed;
        parallel(all, smaller(all, threads_), threads_, [&](std::int64_t, std::int64_t begin, std::int64_t end) {
            for (std::int64_t k = begin; k < end; ++k) {
                pack_adjacent<width>(address<Real>(units) + k * width, dim, dim - k * width, count,
                                     packed + k * width * count);
            }
        });
        return packed;
    }

    void score(std::int64_t sliver, const Part& own) const {
        const std::int64_t dim = tile_.dim, first = sliver * sliver_rows;
        for (int view = 0; view < tile_.views; ++view) {
            const Real* const units = address<Real>(tile_.rows.units) + view * tile_.rows.view_stride + first * dim;
            pack_vectors<sliver_rows>(units, dim, rows_ - first, dim, own.left);
            for (std::int64_t j = first_column(sliver); j < columns_; j += sliver_columns<Real>) {
                write_product<Real>(Adjacent<Real>{own.left, sliver_rows}, columns_by_dim_ + j * dim, dim,
                              own.scores + view * sliver_rows * stride_ + j, stride_);
            }
        }
    }

    // Calls body(row, j) for every stretch of row i of a sliver, j being its first column.
    template <class Body>
    DML_INLINE void for_stretches(std::int64_t sliver, std::int64_t i, const Part& own, const Body& body) const {
        const std::int64_t index = sliver * sliver_rows + i;
        const auto* labels = address<std::int64_t>(tile_.rows.labels);
        const std::int64_t length = soft_ ? labels_count_ : stretch;
        const std::int64_t first = first_column(sliver);
        if (triangle()) {
            const std::int64_t end = smaller((sliver + 1) * sliver_rows, labels_count_);
            for (std::int64_t j = first; j < end; ++j) own.labels[j] = j <= index ? no_label<Real> : labels_[j];
        } else if (tile_.diagonal) {
            own.labels[index] = no_label<Real>;
        }
        for (std::int64_t j = first; j < labels_count_; j += length) {
            body(Row<Real>{own.scores + i * stride_ + j,
                           soft_ ? labels_count_ : sliver_rows * stride_,
                           smaller(length, labels_count_ - j),
                           (tile_.diagonal ? own.labels : labels_) + j,
                           weights_ + j,
                           labels == nullptr ? Label<Real>(0) : static_cast<Label<Real>>(labels[index])},
                 j);
        }
        if (tile_.diagonal && !triangle()) own.labels[index] = labels_[index];
    }

    bool fold_sliver(std::int64_t sliver, const Part& own, Real* columns) const {
        bool has_grad = false;
        auto* const states = reinterpret_cast<double*>(tile_.rows.states) + sliver * sliver_rows * tile_.width;
        for (int k = 0; k < tile_.term_count; ++k) {
            const Term& term = tile_.terms[k];
            has_grad |= with_statistic<Real>(term, [&](const auto& statistic) {
                bool any = false;
                for (std::int64_t i = 0; i < rows_in(sliver); ++i) {
                    for_stretches(sliver, i, own, [&](const Row<Real>& row, std::int64_t j) {
                        double* const state = term.from_rows ? states + i * tile_.width + term.first : nullptr;
                        Real* const sums = term.from_columns ? columns + j : nullptr;
                        any |= statistic.fold(row, {state, sums, stride_, own.scratch});
                    });
                }
                return any;
            });
            if (term.from_columns) columns += column_values(term.kind) * stride_;
        }
        return has_grad;
    }

    Range slope_sliver(std::int64_t sliver, const Part& own, Real* slopes) const {
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
                    for_stretches(sliver, i, own, [&](const Row<Real>& row, std::int64_t j) {
                        const Range range = statistic.slope(row, {address<Real>(tile_.rows.statistics) + place,
                                                     term.from_rows ? address<Real>(tile_.rows.gradient) + place : nullptr,
                                                     term.from_columns ? columns + j : nullptr, stride_,
                                                     slopes + (first + i) * stride_ + j, padded_rows_ * stride_, own.scratch});
                        if (!range.empty()) has_grad.join(j + range.begin, j + range.end);
                    });
                }
                return true;
            });
            if (term.from_columns) columns += column_values(term.kind) * stride_;
        }
        return has_grad;
    }

    void merge_columns(const Real* sums) const {
        auto* const states = reinterpret_cast<double*>(tile_.columns.states);
        for (std::int64_t part = 0; part < parts_ && column_side_ > 0; ++part) {
            for (int k = 0; k < tile_.term_count; ++k) {
                const Term& term = tile_.terms[k];
                if (!term.from_columns) continue;
                for (std::int64_t j = 0; j < columns_; ++j) {
                    double* const state = states + j * tile_.width + term.first;
                    if (term.kind == Kind::field) Field<Real>::merge_columns(sums + j, stride_, state);
                    if (term.kind == Kind::moments) Moments<Real>::merge_columns(sums + j, stride_, state);
                }
                sums += column_values(term.kind) * stride_;
            }
        }
    }

    void prepare_columns() {
        Real* columns = static_cast<Real*>(
            workspace_.room(Workspace::column_side, column_side_ * stride_ * sizeof(Real)));
        column_slopes_ = columns;
        for (std::int64_t k = 0; k < column_side_ * stride_; ++k) columns[k] = 0;
        for (int k = 0; k < tile_.term_count; ++k) {
            const Term& term = tile_.terms[k];
            if (!term.from_columns) continue;
            for (std::int64_t j = 0; j < columns_; ++j) {
                const std::int64_t place = j * tile_.width + term.first;
                const Real* const statistics = address<Real>(tile_.columns.statistics) + place;
                const Real* const gradient = address<Real>(tile_.columns.gradient) + place;
                if (term.kind == Kind::field) Field<Real>::columns_slope(statistics, gradient, columns + j, stride_);
                if (term.kind == Kind::moments) Moments<Real>::columns_slope(statistics, gradient, columns + j, stride_);
            }
            columns += column_values(term.kind) * stride_;
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

    Range rows_acting_on(std::int64_t first, std::int64_t last) const {
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
        if (rows_acting_on(0, columns_).empty()) return;
        for (int view = 0; view < tile_.views; ++view) {
            const std::uintptr_t units = tile_.rows.units + view * tile_.rows.view_stride * sizeof(Real);
            const bool kept = workspace_.packed_rows == units;
            const Real* const rows_by_row = pack_adjacent_of(units, rows_, Workspace::rows_by_row, kept);
            workspace_.packed_rows = units;
            parallel(all, smaller(all, parts_), threads_, [&](std::int64_t, std::int64_t begin, std::int64_t end) {
                for (std::int64_t sliver = begin; sliver < end; ++sliver) {
                    const std::int64_t j = sliver * sliver_rows;
                    const Range range = rows_acting_on(j, j + sliver_rows);
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

    const Tile& tile_;
    Workspace& workspace_;
    const std::int64_t rows_, columns_, labels_count_, row_slivers_, padded_rows_;
    const bool soft_;
    const std::int64_t stride_;
    const int threads_;
    const std::int64_t parts_;
    std::int64_t column_side_ = 0;
    Label<Real>* labels_ = nullptr;
    Real* weights_ = nullptr;
    std::int64_t scores_size_ = 0, left_size_ = 0, scratch_size_ = 0, part_size_ = 0;
    unsigned char* memory_ = nullptr;
    const Real* columns_by_dim_ = nullptr;
    const Real* column_slopes_ = nullptr;
    Range* ranges_ = nullptr;  // of each row sliver's slopes
};

}  // namespace dml::DML_ISA

// The scores of a tile, and parallel loops over them for forward and backward. Included by cpu/kernels.cpp only, whose
// restrictions apply.
#pragma once

#include <cstdint>

#include "cpu/parallel.hpp"
#include "cpu/product.hpp"
#include "cpu/tile.hpp"
#include "statistics/circle.hpp"
#include "statistics/divergence.hpp"
#include "statistics/field.hpp"
#include "statistics/logsumexp.hpp"
#include "statistics/moments.hpp"
#include "statistics/row_circle.hpp"
#include "statistics/row_logsumexp.hpp"
#include "statistics/soft_triple.hpp"
#include "statistics/square.hpp"
#include "statistics/sub_center.hpp"

namespace dml::DML_ISA {

using cpu::Kind;
using cpu::Side;
using cpu::Term;
using cpu::Tile;
using cpu::Workspace;

constexpr std::int64_t parts_per_thread = 4;  // balances the load if a thread is slow or starts late
constexpr std::int64_t serial_products = 1 << 18;  // multiplications below which a tile runs on one thread
constexpr std::int64_t stretch = 512;  // scores of a row that are summed in Real; longer sums lose digits

template <class T>
const T* address(std::uintptr_t where) {
    return reinterpret_cast<const T*>(where);
}

// Calls body(part, begin, end) for `parts` ranges that cover [0, size).
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

// Returns body(statistic) for the statistic of a term.
template <class Real, class Body>
DML_INLINE auto with_statistic(const Term& term, const Body& body) -> decltype(body(Square<Real>(term))) {
#define DML_CASE(kind, Class) \
    case Kind::kind: return body(Class<Real>(term));
    switch (term.kind) { DML_STATISTICS(DML_CASE) }
#undef DML_CASE
    return {};
}

inline int column_values(const Term& term) {
    return with_statistic<double>(term, [](const auto& statistic) { return statistic.column_values; });
}

inline bool pools(const Term& term) {
    return with_statistic<double>(term, [](const auto& statistic) { return statistic.pools; });
}

// Base of TileFold and TileSlope: packed operands, labels, memory for each part of the work, and the scores.
template <class Real>
class TileScores {
  protected:
    TileScores(const Tile& tile, Workspace& workspace)
        : tile_(tile),
          workspace_(workspace),
          rows_(tile.rows.size),
          columns_(tile.columns.size),
          labels_count_(tile.columns.size / tile.group),
          row_slivers_(slivers(tile.rows.size, sliver_rows)),
          padded_rows_(row_slivers_ * sliver_rows),
          pooled_(pools(tile.terms[0])),
          stride_(padded(tile.columns.size, sliver_columns<Real>) + (pooled_ ? sliver_columns<Real> : 0)),
          threads_(rows_ * columns_ * tile.dim * tile.views < serial_products ? 1 : tile.threads),
          parts_(smaller(row_slivers_, threads_ == 1 ? 1 : parts_per_thread * threads_)) {
        for (int k = 0; k < tile.term_count; ++k) {
            if (tile.terms[k].from_columns) column_side_ += column_values(tile.terms[k]);
        }
        label_columns();
        allot_parts();
        columns_by_dim_ = pack_vectors_of(tile.columns.units, columns_, Workspace::columns_by_dim);
    }

    // Memory of one part of the work, which one thread runs.
    struct Part {
        Real* scores;   // (views, sliver_rows, stride)
        Real* left;     // packed rows of a sliver
        Real* scratch;  // of the statistic
        Label<Real>* labels;
        Label<Real>* has_grad;  // set by a fold: whether any slope may be non-zero
    };

    static std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
    static std::int64_t larger(std::int64_t a, std::int64_t b) { return a > b ? a : b; }

    // Whether the tile is on the diagonal and visits each pair once: only pairs above the diagonal count.
    bool triangle() const { return tile_.diagonal && column_side_ > 0; }
    std::int64_t first_column(std::int64_t sliver) const {
        return triangle() ? sliver * sliver_rows / sliver_columns<Real> * sliver_columns<Real> : 0;
    }

    std::int64_t rows_in(std::int64_t sliver) const { return smaller(rows_ - sliver * sliver_rows, sliver_rows); }

    Part part(std::int64_t k) const {
        Real* const scores = reinterpret_cast<Real*>(memory_ + k * part_size_);
        Real* const left = scores + scores_size_;
        Real* const scratch = left + left_size_;
        auto* const labels = reinterpret_cast<Label<Real>*>(scratch + scratch_size_);
        return {scores, left, scratch, labels, labels + stride_};
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

    void score(std::int64_t sliver, const Part& memory) const {
        const std::int64_t dim = tile_.dim, first = sliver * sliver_rows;
        for (int view = 0; view < tile_.views; ++view) {
            const Real* const units = address<Real>(tile_.rows.units) + view * tile_.rows.view_stride + first * dim;
            pack_vectors<sliver_rows>(units, dim, rows_ - first, dim, memory.left);
            for (std::int64_t j = first_column(sliver); j < columns_; j += sliver_columns<Real>) {
                write_product<Real>(Adjacent<Real>{memory.left, sliver_rows}, columns_by_dim_ + j * dim, dim,
                              memory.scores + view * sliver_rows * stride_ + j, stride_);
            }
        }
    }

    // Calls body(row, j) for every stretch of row i of a sliver; j is the first column of the stretch.
    template <class Body>
    DML_INLINE void for_stretches(std::int64_t sliver, std::int64_t i, const Part& memory, const Body& body) const {
        const std::int64_t index = sliver * sliver_rows + i;
        const auto* labels = address<std::int64_t>(tile_.rows.labels);
        const std::int64_t length = pooled_ ? labels_count_ : stretch;
        const std::int64_t first = first_column(sliver);
        if (triangle()) {
            const std::int64_t end = smaller((sliver + 1) * sliver_rows, labels_count_);
            for (std::int64_t j = first; j < end; ++j) memory.labels[j] = j <= index ? no_label<Real> : labels_[j];
        } else if (tile_.diagonal) {
            memory.labels[index] = no_label<Real>;
        }
        for (std::int64_t j = first; j < labels_count_; j += length) {
            body(Row<Real>{memory.scores + i * stride_ + j,
                           pooled_ ? labels_count_ : sliver_rows * stride_,
                           smaller(length, labels_count_ - j),
                           (tile_.diagonal ? memory.labels : labels_) + j,
                           weights_ + j,
                           labels == nullptr ? Label<Real>(0) : static_cast<Label<Real>>(labels[index]),
                           address<Real>(tile_.rows.row_values) + index * tile_.row_values},
                 j);
        }
        if (tile_.diagonal && !triangle()) memory.labels[index] = labels_[index];
    }

    const Tile& tile_;
    Workspace& workspace_;
    const std::int64_t rows_, columns_, labels_count_, row_slivers_, padded_rows_;
    const bool pooled_;  // each group of columns is reduced to one score first
    const std::int64_t stride_;
    const int threads_;
    const std::int64_t parts_;
    std::int64_t column_side_ = 0;

  private:
    // Labels that do not fit become one that no row has.
    static Label<Real> narrow(std::int64_t label) {
        const auto narrowed = static_cast<Label<Real>>(label);
        return narrowed == label && narrowed != no_label<Real> ? narrowed : no_label<Real> + 1;
    }

    // Labels and weights of the columns, padded to whole packs.
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
        scratch_size_ = pooled_ ? larger(stride_, tile_.group * lanes<Real>) : 0;
        part_size_ = padded((scores_size_ + left_size_ + scratch_size_) * sizeof(Real) +
                                (stride_ + 1) * sizeof(Label<Real>), 64);
        memory_ = static_cast<unsigned char*>(workspace_.room(Workspace::parts, parts_ * part_size_));
        for (std::int64_t k = 0; k < parts_; ++k) *this->part(k).has_grad = 0;
        if (!tile_.diagonal) return;
        for (std::int64_t k = 0; k < parts_; ++k) {
            for (std::int64_t j = 0; j < stride_; ++j) part(k).labels[j] = labels_[j];
        }
    }

    Label<Real>* labels_ = nullptr;
    Real* weights_ = nullptr;
    std::int64_t scores_size_ = 0, left_size_ = 0, scratch_size_ = 0, part_size_ = 0;
    unsigned char* memory_ = nullptr;
    const Real* columns_by_dim_ = nullptr;
};

}  // namespace dml::DML_ISA

// A stretch of the scores of one row: what a statistic folds, or takes slopes of, at once.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "cpu/math.hpp"

namespace dml::DML_ISA {

template <class Real>
inline constexpr Label<Real> no_label = std::numeric_limits<Label<Real>>::min();  // of columns that take no part

template <class Real>
struct Row {
    const Real* scores;
    std::int64_t stride;          // to the scores of the second view, or of the next column of a group
    std::int64_t count;           // of labels; scores and labels are padded to whole packs
    const Label<Real>* labels;    // no_label beyond `count`
    const Real* weights;          // zero beyond `count`, or null
    Label<Real> label;            // of the row
    const Real* values;           // row_values of the row
};

// What a stretch is folded into: the state of the row and the sums of the columns. Null means that the pairs do not
// count for that end.
template <class Real>
struct Folded {
    double* state;
    Real* columns;  // `column_values` arrays, `stride` apart
    std::int64_t stride;
    Real* scratch;
};

// Inputs of the slopes of a stretch, and `slopes`, to which they are added. A null `gradient` or `columns` means that
// the pairs do not count for that end.
template <class Real>
struct Sloped {
    const Real* statistics;
    const Real* gradient;
    const Real* columns;  // output of `columns_slope`: `column_values` arrays, `stride` apart
    std::int64_t stride;
    Real* slopes;
    std::int64_t slopes_stride;  // to the slopes of the second view
    Real* scratch;
};

// A range of columns; all slopes outside are zero.
struct Range {
    std::int64_t begin = std::numeric_limits<std::int64_t>::max(), end = 0;

    DML_INLINE bool empty() const { return begin >= end; }
    DML_INLINE std::int64_t size() const { return end - begin; }
    DML_INLINE bool meets(std::int64_t first, std::int64_t last) const { return begin < last && first < end; }
    DML_INLINE void join(std::int64_t first, std::int64_t last) {
        begin = first < begin ? first : begin;
        end = last > end ? last : end;
    }
};

template <class Real>
struct PairKinds {
    Bits<Real> positive, negative;
};

template <class Real>
DML_INLINE PairKinds<Real> pair_kinds(const Row<Real>& row, std::int64_t j) {
    const Bits<Real> labels = load_labels<Real>(row.labels + j);
    const Bits<Real> positive = labels == row.label;
    return {positive, (labels != no_label<Real>) & (labels != row.label)};
}

// A sum for each lane in Real; `total` adds them up in double.
template <class Real>
struct Sum {
    Pack<Real> pack{};
    DML_INLINE void add(Pack<Real> value) { pack += value; }
    template <class Mask>
    DML_INLINE void add(Mask mask, Pack<Real> value) {
        pack += where(mask, value, Pack<Real>{});
    }
    DML_INLINE double total() const { return sum_lanes<Real>(pack); }
};

constexpr double minus_infinity = -std::numeric_limits<double>::infinity();

// log(e^a + e^b)
DML_INLINE double add_logs(double a, double b) {
    if (a == minus_infinity) return b;
    if (b == minus_infinity) return a;
    const double high = a > b ? a : b, low = a > b ? b : a;  // NaN if either is
    return high + std::log1p(std::exp(low - high));
}

}  // namespace dml::DML_ISA

// A stretch of one row's scores, and how a statistic goes over it.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "cpu/math.hpp"

namespace dml::DML_ISA {

template <class Real>
inline constexpr Label<Real> no_label = std::numeric_limits<Label<Real>>::min();  // of a column that does not count

template <class Real>
struct Row {
    const Real* scores;
    std::int64_t stride;          // to the second view's, or to the next column of a group
    std::int64_t count;           // of labels; scores and labels may be read up to whole packs
    const Label<Real>* labels;    // no_label beyond `count`
    const Real* weights;          // zero beyond `count`, or null
    Label<Real> label;            // the row's own
    const Real* values;           // the row's own, for a statistic that has such
};

// Where a stretch is folded to: the row's own state and the columns' sums, each null where its end does not count.
template <class Real>
struct Folded {
    double* state;
    Real* columns;  // `column_values` arrays, `stride` apart
    std::int64_t stride;
    Real* scratch;
};

// What a stretch's slopes come from, and `slopes`, which they are added to. An end with a null gradient does not count.
template <class Real>
struct Sloped {
    const Real* statistics;
    const Real* gradient;
    const Real* columns;  // what `columns_slope` prepared: `column_values` arrays, `stride` apart
    std::int64_t stride;
    Real* slopes;
    std::int64_t slopes_stride;  // to the second view's
    Real* scratch;
};

// Columns outside which all slopes are zero.
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

// Sums over lanes of Real, taken to double at the end.
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
    const double high = a > b ? a : b, low = a > b ? b : a;  // NaN in either comes through
    return high + std::log1p(std::exp(low - high));
}

}  // namespace dml::DML_ISA

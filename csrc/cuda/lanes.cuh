// The functions of statistics/vocabulary.hpp on a GPU: a pack is one value, and a row is one thread's part of a row of
// a tile, every few columns of it.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#if defined(__CUDACC__)
#define DML_HD __host__ __device__ __forceinline__
#else
#define DML_HD inline  // emulated in tests
#endif
#define DML_ISA cuda

namespace dml::cuda {

using Index = int;
using std::int64_t;

struct Term {
    double parameters[5];
};

constexpr int64_t ignored = std::numeric_limits<int64_t>::min();  // label of vectors that take no part

template <class Real>
using Pack = Real;
template <class Real>
using Bits = bool;
template <class Real>
using State = Real;
template <class Real>
inline constexpr int lanes = 1;

template <class Real>
DML_HD Real load(const Real* from) {
    return *from;
}

template <class Real>
DML_HD void store(Real* to, Real value) {
    *to = value;
}

template <class Real>
DML_HD Real broadcast(Real value) {
    return value;
}

template <class V>
DML_HD V where(bool mask, V a, V b) {
    return mask ? a : b;
}

// The maximum, or `b` if `a` is NaN.
template <class V>
DML_HD V larger(V a, V b) {
    return a > b ? a : b;
}

// NaN for NaN.
template <class V>
DML_HD V clamp(V x, V low, V high) {
    x = x < low ? low : x;
    return x > high ? high : x;
}

template <class Real>
DML_HD Real largest_lane(Real value) {
    return value;
}

template <class Real>
DML_HD bool any(bool mask) {
    return mask;
}

template <class Real>
DML_HD Real exp(Real x) {
    return std::exp(x);
}

// x^exponent for x > 0; NaN for NaN.
template <class Real>
class Power {
  public:
    explicit Power(double exponent) : exponent_(static_cast<Real>(exponent)) {}
    DML_HD Real operator()(Real x) const { return std::exp2(exponent_ * std::log2(x)); }

  private:
    Real exponent_;
};

// log(e^a + e^b)
template <class Real>
DML_HD Real add_logs(Real a, Real b) {
    const Real lowest = -std::numeric_limits<Real>::infinity();
    if (a == lowest) return b;
    if (b == lowest) return a;
    const Real high = a > b ? a : b, low = a > b ? b : a;  // NaN if either is
    return high + std::log1p(std::exp(low - high));
}

template <class Real>
struct Sum {
    Real value = 0;
    DML_HD void add(Real more) { value += more; }
    DML_HD void add(bool mask, Real more) { value += mask ? more : Real(0); }
    DML_HD Real total() const { return value; }
};

// Empty if all slopes are zero.
struct Range {
    int begin = std::numeric_limits<int>::max(), end = 0;
    DML_HD bool empty() const { return begin >= end; }
    DML_HD void join(int first, int last) {
        begin = first < begin ? first : begin;
        end = last > end ? last : end;
    }
};

// The labels first, first + every, ... of a tile. The scores of the label at `place` begin at place * label_step; those
// of its other views or centres are `stride` apart.
template <class Real>
struct Row {
    Real* scores;
    int label_step, stride;
    int first, every, count;
    const int64_t* labels;
    const Real* weights;
    int64_t label;         // of the row
    const Real* values;    // row_values of the row
    int self;              // the place of the row among the columns, or -1
    int segment;           // of the row; then the places at which the second and the third segment of columns begin
    int segment_begin[2];

    DML_HD int place(int j) const { return first + j * every; }
    DML_HD int64_t label_at(int j) const { return place(j) == self ? ignored : labels[place(j)]; }

    // The part in [begin, end).
    DML_HD Row cut(int begin, int end) const {
        Row part = *this;
        if (begin > first) part.first += (begin - first + every - 1) / every * every;
        part.count = end > part.first ? (end - part.first + every - 1) / every : 0;
        const int left = count - (part.first - first) / every;
        if (part.count > left) part.count = left;
        if (part.count < 0) part.count = 0;
        return part;
    }
};

template <class Real>
struct Folded {
    Real* state;
    static constexpr Real* columns = nullptr;
    static constexpr int stride = 0;
};

template <class Real>
struct Sloped {
    const Real* statistics;
    const Real* gradient;
    Real* slopes;  // layout as of the scores
    static constexpr const Real* columns = nullptr;
    static constexpr int stride = 0;
};

template <class Real>
struct PairKinds {
    bool positive, negative;
};

template <class Real>
DML_HD PairKinds<Real> pair_kinds(const Row<Real>& row, int j) {
    const int64_t label = row.label_at(j);
    return {label == row.label, label != ignored && label != row.label};
}

template <class Real>
DML_HD Real score_at(const Row<Real>& row, int j, int k = 0) {
    return row.scores[row.place(j) * row.label_step + k * row.stride];
}

template <class Real>
DML_HD bool counted_at(const Row<Real>& row, int j) {
    return row.label_at(j) != ignored;
}

template <class Real>
DML_HD Real weight_at(const Row<Real>& row, int j) {
    return row.weights[row.place(j)];
}

template <class Real>
DML_HD void add_slope(const Row<Real>& row, const Sloped<Real>& of, int j, Real slope, int k = 0) {
    of.slopes[row.place(j) * row.label_step + k * row.stride] += slope;
}

// Overwrites the slope of a centre, which no other thread has.
template <class Real>
DML_HD void put_slope(const Row<Real>& row, const Sloped<Real>& of, int j, Real slope, int k) {
    of.slopes[row.place(j) * row.label_step + k * row.stride] = slope;
}

// Keeps a value of a centre in the memory of its slope.
template <class Real>
DML_HD void keep(const Row<Real>& row, const Sloped<Real>& of, int j, Real value, int k) {
    put_slope(row, of, j, value, k);
}

template <class Real>
DML_HD Real kept(const Row<Real>& row, const Sloped<Real>& of, int j, int k) {
    return of.slopes[row.place(j) * row.label_step + k * row.stride];
}

// Similarities overwrite the scores they are computed from.
template <class Real>
DML_HD Row<Real> scratch_row(const Row<Real>& row, const Folded<Real>&) {
    return row;
}

template <class Real>
DML_HD void put_score(const Row<Real>& row, const Folded<Real>&, int j, Real score) {
    row.scores[row.place(j) * row.label_step] = score;
}

}  // namespace dml::cuda

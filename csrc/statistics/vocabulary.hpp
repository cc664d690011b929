// Functions that statistics are written with, for CPU and GPU. On the CPU a pack is a SIMD register and a row is a
// stretch of scores in memory. On a GPU a pack is one value and a row is one thread's part of a row of a tile
// (cuda/lanes.cuh). DML_HD marks functions that are compiled for both.
#pragma once

#if defined(DML_CUDA)
#include "cuda/lanes.cuh"
#else

#include "cpu/row.hpp"
#include "cpu/tile.hpp"

#define DML_HD DML_INLINE

namespace dml::DML_ISA {

using cpu::Term;
using Index = std::int64_t;

template <class Real>
using State = double;

template <class Real>
DML_INLINE Pack<Real> score_at(const Row<Real>& row, Index j, Index k = 0) {
    return load(row.scores + k * row.stride + j);
}

template <class Real>
DML_INLINE Bits<Real> counted_at(const Row<Real>& row, Index j) {
    return load_labels<Real>(row.labels + j) != no_label<Real>;
}

template <class Real>
DML_INLINE Pack<Real> weight_at(const Row<Real>& row, Index j) {
    return load(row.weights + j);
}

// Adds to the slopes of a view.
template <class Real>
DML_INLINE void add_slope(const Row<Real>&, const Sloped<Real>& of, Index j, Pack<Real> slope, Index view = 0) {
    Real* const to = of.slopes + view * of.slopes_stride + j;
    store(to, load(to) + slope);
}

// Overwrites the slopes of the k-th column of each group.
template <class Real>
DML_INLINE void put_slope(const Row<Real>& row, const Sloped<Real>& of, Index j, Pack<Real> slope, Index k) {
    store(of.slopes + k * row.stride + j, slope);
}

// Keeps a value of the k-th column of each group until put_slope.
template <class Real>
DML_INLINE void keep(const Row<Real>&, const Sloped<Real>& of, Index, Pack<Real> value, Index k) {
    store(of.scratch + k * lanes<Real>, value);
}

template <class Real>
DML_INLINE Pack<Real> kept(const Row<Real>&, const Sloped<Real>& of, Index, Index k) {
    return load(of.scratch + k * lanes<Real>);
}

// The row with scores that put_score sets.
template <class Real>
DML_INLINE Row<Real> scratch_row(const Row<Real>& row, const Folded<Real>& to) {
    Row<Real> scratch = row;
    scratch.scores = to.scratch;
    return scratch;
}

template <class Real>
DML_INLINE void put_score(const Row<Real>&, const Folded<Real>& to, Index j, Pack<Real> score) {
    store(to.scratch + j, score);
}

}  // namespace dml::DML_ISA

#endif

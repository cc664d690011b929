// dmlkernels/statistics/fused.py
#pragma once

#include "statistics/field.hpp"
#include "statistics/moments.hpp"
#include "statistics/square.hpp"

namespace dml::cuda {

// Segments 0, 1 and 2 are samples, proxies and atoms.
template <class Real>
class Fused {
  public:
    static constexpr int width = 8, views = 1;

    explicit Fused(const Term& term) : moments_(term), field_(term), square_(term) {}

    DML_HD bool fold(const Row<Real>& row, const Folded<Real>& to) const {
        const Row<Real> points = row.cut(0, row.segment_begin[1]);
        field_.fold(points, {to.state + 6});
        if (row.segment == 0) {
            moments_.fold(points.cut(row.segment_begin[0], row.segment_begin[1]), {to.state});
            square_.fold(row.cut(row.segment_begin[1], tile_end), {to.state + 7});
        }
        return true;
    }

    DML_HD Range slope(const Row<Real>& row, const Sloped<Real>& of) const {
        const Row<Real> points = row.cut(0, row.segment_begin[1]);
        Range has_grad = field_.slope(points, {of.statistics + 6, of.gradient + 6, of.slopes});
        if (row.segment == 0) {
            const Row<Real> proxies = points.cut(row.segment_begin[0], row.segment_begin[1]);
            const Row<Real> atoms = row.cut(row.segment_begin[1], tile_end);
            if (proxies.count > 0) has_grad.join(0, moments_.slope(proxies, of).end);
            if (atoms.count > 0) has_grad.join(0, square_.slope(atoms, {of.statistics + 7, of.gradient + 7, of.slopes}).end);
        }
        return has_grad;
    }

    DML_HD static void empty(Real* state) {
        Moments<Real>::empty(state);
        Field<Real>::empty(state + 6);
        Square<Real>::empty(state + 7);
    }

    DML_HD static void merge_states(const Real* from, Real* state) {
        Moments<Real>::merge_states(from, state);
        Field<Real>::merge_states(from + 6, state + 6);
        Square<Real>::merge_states(from + 7, state + 7);
    }

  private:
    static constexpr int tile_end = std::numeric_limits<int>::max() / 2;

    Moments<Real> moments_;
    Field<Real> field_;
    Square<Real> square_;
};

}  // namespace dml::cuda

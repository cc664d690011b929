// dmlkernels/statistics/moments.py
#pragma once

#include "statistics/vocabulary.hpp"

namespace dml::DML_ISA {

template <class Real>
class Moments {
  public:
    static constexpr int column_numbers = 6, width = 6, views = 1;

    explicit Moments(const Term&) {}

    DML_HD bool fold(const Row<Real>& row, const Folded<Real>& to) const {
        if (to.state != nullptr) fold_row(row, to.state);
        if (to.columns != nullptr) {
            for (Index j = 0; j < row.count; j += lanes<Real>) {
                const auto [own, other] = kinds(row, j);
                const Pack<Real> score = score_at(row, j);
                push(own, score, to.columns + j, to.stride);
                push(other, score, to.columns + j + 3 * to.stride, to.stride);
            }
        }
        return true;
    }

    // Slopes as the row's statistics have them, unless its gradient is null, plus as the columns' have them.
    DML_HD Range slope(const Row<Real>& row, const Sloped<Real>& of) const {
        Real of_row[column_numbers] = {};
        if (of.gradient != nullptr) columns_slope(of.statistics, of.gradient, of_row, 1);
        for (Index j = 0; j < row.count; j += lanes<Real>) {
            const auto [own, other] = kinds(row, j);
            const Pack<Real> score = score_at(row, j);
            Pack<Real> slope = affine(own, score, of_row);
            if (of.columns != nullptr) {
                Pack<Real> of_column[column_numbers];
                for (int k = 0; k < column_numbers; ++k) of_column[k] = load(of.columns + k * of.stride + j);
                slope += affine(own, score, of_column);
            }
            add_slope(row, of, j, where(own | other, slope, Pack<Real>{}));
        }
        return {0, row.count};
    }

    // (shift, rate, mean) with slope = shift + rate (s - mean), of own-class and of other scores.
    DML_HD static void columns_slope(const Real* statistics, const Real* gradient, Real* out, Index stride) {
        for (int kind = 0; kind < 6; kind += 3) {
            const Real count = statistics[kind] > 1 ? statistics[kind] : Real(1);
            out[kind * stride] = gradient[kind + 1] / count;
            out[(kind + 1) * stride] = 2 * gradient[kind + 2];
            out[(kind + 2) * stride] = statistics[kind + 1];
        }
    }

    // Chan's merge of (count, mean, squared deviation) into a state.
    DML_HD static void merge(State<Real> count, State<Real> mean, State<Real> deviation, State<Real>* state) {
        const State<Real> both = state[0] + count;
        const State<Real> share = count / (both > 1 ? both : 1);
        const State<Real> step = mean - state[1];
        state[2] += deviation + step * step * (state[0] * share);
        state[1] += step * share;
        state[0] = both;
    }

    DML_HD static void merge_columns(const Real* columns, Index stride, State<Real>* state) {
        for (int kind = 0; kind < 6; kind += 3) {
            const Real* const of = columns + kind * stride;
            if (of[0] > 0) merge(of[0], of[stride], of[2 * stride], state + kind);
        }
    }

    DML_HD static void empty(State<Real>* state) {
        for (int k = 0; k < width; ++k) state[k] = 0;
    }

    DML_HD static void merge_states(const State<Real>* from, State<Real>* state) {
        for (int kind = 0; kind < width; kind += 3) {
            if (from[kind] > 0) merge(from[kind], from[kind + 1], from[kind + 2], state + kind);
        }
    }

  private:
    DML_HD static void fold_row(const Row<Real>& row, State<Real>* state) {
        Sum<Real> own_count, own_sum, other_count, other_sum;
        for (Index j = 0; j < row.count; j += lanes<Real>) {
            const auto [own, other] = kinds(row, j);
            const Pack<Real> score = score_at(row, j), one = broadcast(Real(1));
            own_count.add(own, one);
            own_sum.add(own, score);
            other_count.add(other, one);
            other_sum.add(other, score);
        }
        const State<Real> own_total = own_count.total(), other_total = other_count.total();
        // Rounded, so that the deviations are from the very mean that is kept.
        const Real own_mean = own_total > 0 ? static_cast<Real>(own_sum.total() / own_total) : Real(0);
        const Real other_mean = other_total > 0 ? static_cast<Real>(other_sum.total() / other_total) : Real(0);
        Sum<Real> own_squares, other_squares;
        for (Index j = 0; j < row.count; j += lanes<Real>) {
            const auto [own, other] = kinds(row, j);
            const Pack<Real> step = score_at(row, j) - where(own, broadcast(own_mean), broadcast(other_mean));
            own_squares.add(own, step * step);
            other_squares.add(other, step * step);
        }
        if (own_total > 0) merge(own_total, own_mean, own_squares.total(), state);
        if (other_total > 0) merge(other_total, other_mean, other_squares.total(), state + 3);
    }

    // Welford's step for every column that the mask has.
    DML_HD static void push(Bits<Real> mask, Pack<Real> score, Real* columns, Index stride) {
        const Pack<Real> zero{};
        const Pack<Real> count = load(columns) + where(mask, broadcast(Real(1)), zero);
        const Pack<Real> mean = load(columns + stride), step = where(mask, score - mean, zero);
        const Pack<Real> moved = mean + step / where(mask, count, broadcast(Real(1)));
        store(columns, count);
        store(columns + stride, moved);
        store(columns + 2 * stride, load(columns + 2 * stride) + where(mask, step * (score - moved), zero));
    }

    template <class Coefficients>
    DML_HD static Pack<Real> affine(Bits<Real> own, Pack<Real> score, const Coefficients& of) {
        const auto pick = [own = own](auto a, auto b) { return where(own, Pack<Real>{} + a, Pack<Real>{} + b); };
        return pick(of[0], of[3]) + pick(of[1], of[4]) * (score - pick(of[2], of[5]));
    }
};

}  // namespace dml::DML_ISA

// dmlkernels/statistics/moments.py
#pragma once

#include "statistics/vocabulary.hpp"

namespace dml::DML_ISA {

template <class Real>
class Moments {
  public:
    static constexpr int column_values = 6, width = 6, views = 1;
    static constexpr bool pools = false;

    explicit Moments(const Term&) {}

    DML_HD bool fold(const Row<Real>& row, const Folded<Real>& to) const {
        if (to.state != nullptr) fold_row(row, to.state);
        if (to.columns != nullptr) {
            for (Index j = 0; j < row.count; j += lanes<Real>) {
                const auto [positive, negative] = pair_kinds(row, j);
                const Pack<Real> score = score_at(row, j);
                push(positive, score, to.columns + j, to.stride);
                push(negative, score, to.columns + j + 3 * to.stride, to.stride);
            }
        }
        return true;
    }

    // Slopes from the statistics of the row, unless its gradient is null, plus those from the statistics of the
    // columns.
    DML_HD Range slope(const Row<Real>& row, const Sloped<Real>& of) const {
        Real of_row[column_values] = {};
        if (of.gradient != nullptr) columns_slope(of.statistics, of.gradient, of_row, 1);
        for (Index j = 0; j < row.count; j += lanes<Real>) {
            const auto [positive, negative] = pair_kinds(row, j);
            const Pack<Real> score = score_at(row, j);
            Pack<Real> slope = affine(positive, score, of_row);
            if (of.columns != nullptr) {
                Pack<Real> of_column[column_values];
                for (int k = 0; k < column_values; ++k) of_column[k] = load(of.columns + k * of.stride + j);
                slope += affine(positive, score, of_column);
            }
            add_slope(row, of, j, where(positive | negative, slope, Pack<Real>{}));
        }
        return {0, row.count};
    }

    // (shift, rate, mean) of slope = shift + rate * (s - mean), for positives and for negatives.
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
        const State<Real> fraction = count / (both > 1 ? both : 1);
        const State<Real> step = mean - state[1];
        state[2] += deviation + step * step * (state[0] * fraction);
        state[1] += step * fraction;
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
        Sum<Real> positive_count, positive_sum, negative_count, negative_sum;
        for (Index j = 0; j < row.count; j += lanes<Real>) {
            const auto [positive, negative] = pair_kinds(row, j);
            const Pack<Real> score = score_at(row, j), one = broadcast(Real(1));
            positive_count.add(positive, one);
            positive_sum.add(positive, score);
            negative_count.add(negative, one);
            negative_sum.add(negative, score);
        }
        const State<Real> positive_total = positive_count.total(), negative_total = negative_count.total();
        // Rounded to Real, so that the deviations are those from the mean that the state gets.
        const Real positive_mean = positive_total > 0 ? static_cast<Real>(positive_sum.total() / positive_total) : Real(0);
        const Real negative_mean = negative_total > 0 ? static_cast<Real>(negative_sum.total() / negative_total) : Real(0);
        Sum<Real> positive_squares, negative_squares;
        for (Index j = 0; j < row.count; j += lanes<Real>) {
            const auto [positive, negative] = pair_kinds(row, j);
            const Pack<Real> step = score_at(row, j) - where(positive, broadcast(positive_mean), broadcast(negative_mean));
            positive_squares.add(positive, step * step);
            negative_squares.add(negative, step * step);
        }
        if (positive_total > 0) merge(positive_total, positive_mean, positive_squares.total(), state);
        if (negative_total > 0) merge(negative_total, negative_mean, negative_squares.total(), state + 3);
    }

    // Welford's update, for the columns in the mask.
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
    DML_HD static Pack<Real> affine(Bits<Real> positive, Pack<Real> score, const Coefficients& of) {
        const auto pick = [positive = positive](auto a, auto b) { return where(positive, Pack<Real>{} + a, Pack<Real>{} + b); };
        return pick(of[0], of[3]) + pick(of[1], of[4]) * (score - pick(of[2], of[5]));
    }
};

}  // namespace dml::DML_ISA

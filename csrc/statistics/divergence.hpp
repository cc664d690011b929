// dmlkernels/statistics/divergence.py
#pragma once

#include "statistics/vocabulary.hpp"

namespace dml::DML_ISA {

template <class Real>
class Divergence {
  public:
    static constexpr int column_values = 0, width = 6, views = 2;
    static constexpr bool pools = false;

    explicit Divergence(const Term& term)
        : scale_(broadcast(static_cast<Real>(term.parameters[0]))), detach_(term.parameters[1] != 0) {}

    DML_HD bool fold(const Row<Real>& row, const Folded<Real>& to) const {
        if (row.count == 0) return false;
        const Pack<Real> lowest = broadcast(-std::numeric_limits<Real>::infinity());
        Pack<Real> highest[2] = {lowest, lowest};
        for (Index j = 0; j < row.count; j += lanes<Real>) {
            const Bits<Real> counts = counted_at(row, j);
            for (int view = 0; view < 2; ++view) {
                highest[view] = larger(where(counts, score_at(row, j, view) * scale_, lowest), highest[view]);
            }
        }
        Real shift[2];
        for (int view = 0; view < 2; ++view) {
            shift[view] = largest_lane<Real>(highest[view]);
            // All scores are NaN, and so is the result with any finite shift.
            if (shift[view] == -std::numeric_limits<Real>::infinity()) shift[view] = 0;
        }
        Sum<Real> tied[2], rest[2], weighted[2];
        for (Index j = 0; j < row.count; j += lanes<Real>) {
            const Bits<Real> counts = counted_at(row, j);
            const Pack<Real> lower[2] = {logit_at(row, j, 0) - shift[0], logit_at(row, j, 1) - shift[1]};
            const Pack<Real> difference = lower[0] - lower[1];
            for (int view = 0; view < 2; ++view) {
                const Pack<Real> weight = where(counts, exp<Real>(lower[view]), Pack<Real>{});
                tied[view].add(where(lower[view] == 0, weight, Pack<Real>{}));
                rest[view].add(where(lower[view] == 0, Pack<Real>{}, weight));
                weighted[view].add(weight * difference);
            }
        }
        State<Real> part[width];
        for (int view = 0; view < 2; ++view) {
            part[view] = shift[view];
            part[2 + view] = rest[view].total() + (tied[view].total() - 1);
        }
        part[4] = weighted[0].total() / (1 + part[2]);
        part[5] = part[4] - weighted[1].total() / (1 + part[3]);
        merge_states(part, to.state);
        return true;
    }

    DML_HD Range slope(const Row<Real>& row, const Sloped<Real>& of) const {
        const Real mean = of.statistics[4], mean2 = mean - of.statistics[5];
        const State<Real> rest = of.statistics[2], rest2 = of.statistics[3];
        const Real inverse = static_cast<Real>(1 / (1 + rest)), inverse2 = static_cast<Real>(1 / (1 + rest2));
        const Real log_ratio = static_cast<Real>(std::log1p((rest - rest2) / (1 + rest2)));
        const Pack<Real> of_mean = scale_ * of.gradient[4], of_divergence = scale_ * of.gradient[5];
        for (Index j = 0; j < row.count; j += lanes<Real>) {
            const Pack<Real> lower = logit_at(row, j, 0) - of.statistics[0];
            const Pack<Real> lower2 = logit_at(row, j, 1) - of.statistics[1];
            const Pack<Real> difference = lower - lower2;
            const Pack<Real> p = exp<Real>(lower) * inverse, p2 = exp<Real>(lower2) * inverse2;
            Pack<Real> slope = of_divergence * minus(p, p2, difference - log_ratio) + of_mean * p, slope2 = -slope;
            if (!detach_) {
                slope += (of_divergence + of_mean) * p * (difference - mean);
                slope2 -= of_divergence * p2 * (difference - mean2);
            }
            add_slope(row, of, j, slope, 0);
            add_slope(row, of, j, slope2, 1);
        }
        return {0, row.count};
    }

    DML_HD static void empty(State<Real>* state) {
        state[0] = state[1] = -std::numeric_limits<State<Real>>::infinity();
        for (int k = 2; k < width; ++k) state[k] = 0;
    }

    DML_HD static void merge_states(const State<Real>* from, State<Real>* state) {
        constexpr State<Real> lowest = -std::numeric_limits<State<Real>>::infinity();
        if (from[0] == lowest) return;
        if (state[0] == lowest) {
            for (int k = 0; k < width; ++k) state[k] = from[k];
            return;
        }
        State<Real> lower[2], from_lower[2];  // differences to the higher shift: one of the two is zero
        for (int view = 0; view < 2; ++view) {
            const State<Real> more = from[view] - state[view];
            lower[view] = more > 0 ? -more : 0;
            from_lower[view] = more > 0 ? 0 : more;
            if (more > 0) state[view] = from[view];
        }
        const State<Real> mean = state[4] + (lower[0] - lower[1]), from_mean = from[4] + (from_lower[0] - from_lower[1]);
        const State<Real> means[2] = {mean, mean - state[5]}, from_means[2] = {from_mean, from_mean - from[5]};
        State<Real> about = 0;
        for (int view = 0; view < 2; ++view) {
            State<Real>& rest = state[2 + view];
            const State<Real> weight = std::exp(lower[view]), from_weight = std::exp(from_lower[view]);
            const State<Real> sum = weight * (1 + rest) * (means[view] - about) +
                                    from_weight * (1 + from[2 + view]) * (from_means[view] - about);
            rest = weight * rest + from_weight * from[2 + view] + weight * from_weight;
            about = sum / (1 + rest);
            state[4 + view] = view == 0 ? about : -about;
        }
    }

  private:
    // Rounds the product, so that the highest logit minus itself is exactly 0: without this the compiler fuses the
    // product with the subtraction. NaN for NaN.
    DML_HD Pack<Real> logit_at(const Row<Real>& row, Index j, int view) const {
        const Pack<Real> logit = score_at(row, j, view) * scale_, lowest = broadcast(-std::numeric_limits<Real>::max());
        return where(logit < lowest, lowest, logit);
    }

    // p - p2 without cancellation, from log(p / p2).
    DML_HD static Pack<Real> minus(Pack<Real> p, Pack<Real> p2, Pack<Real> log_odds) {
        // (p + p2) * tanh(log_odds / 2), from the Taylor series where its terms suffice.
        const Pack<Real> half = log_odds * static_cast<Real>(0.5), square = half * half;
        Pack<Real> sum = broadcast(static_cast<Real>(-17.0 / 315));
        if constexpr (sizeof(Real) == sizeof(double)) {
            const Pack<Real> more = square * static_cast<Real>(21844.0 / 6081075) - static_cast<Real>(1382.0 / 155925);
            sum += square * (square * more + static_cast<Real>(62.0 / 2835));
        }
        sum = sum * square + static_cast<Real>(2.0 / 15);
        sum = sum * square - static_cast<Real>(1.0 / 3);
        return where(square < static_cast<Real>(1.0 / 64), (p + p2) * (half + half * square * sum), p - p2);
    }

    Pack<Real> scale_;
    bool detach_;
};

}  // namespace dml::DML_ISA

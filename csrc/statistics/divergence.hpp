// dmlkernels/statistics/divergence.py
#pragma once

#include "statistics/vocabulary.hpp"

namespace dml::DML_ISA {

template <class Real>
class Divergence {
  public:
    static constexpr int column_numbers = 0, width = 4, views = 2;

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
            // All NaN: any finite shift lets them through.
            if (shift[view] == -std::numeric_limits<Real>::infinity()) shift[view] = 0;
        }
        Sum<Real> total[2], weighted[2];
        for (Index j = 0; j < row.count; j += lanes<Real>) {
            const Bits<Real> counts = counted_at(row, j);
            const Pack<Real> logits[2] = {score_at(row, j, 0) * scale_, score_at(row, j, 1) * scale_};
            const Pack<Real> difference = logits[0] - logits[1];
            for (int view = 0; view < 2; ++view) {
                const Pack<Real> weight = where(counts, exp<Real>(logits[view] - shift[view]), Pack<Real>{});
                total[view].add(weight);
                weighted[view].add(weight * difference);
            }
        }
        for (int view = 0; view < 2; ++view) {
            const State<Real> sum = total[view].total();
            merge(std::log(sum) + shift[view], weighted[view].total() / sum, to.state[view], to.state[view + 2]);
        }
        return true;
    }

    DML_HD Range slope(const Row<Real>& row, const Sloped<Real>& of) const {
        const Real *const statistics = of.statistics, *const gradient = of.gradient;
        const Pack<Real> rate = scale_ * gradient[2], rate2 = scale_ * gradient[3];
        for (Index j = 0; j < row.count; j += lanes<Real>) {
            const Pack<Real> logit = score_at(row, j, 0) * scale_, logit2 = score_at(row, j, 1) * scale_;
            const Pack<Real> p = exp<Real>(logit - statistics[0]) * rate;
            const Pack<Real> p2 = exp<Real>(logit2 - statistics[1]) * rate2;
            Pack<Real> slope = p + p2, slope2 = -slope;
            if (!detach_) {
                const Pack<Real> difference = logit - logit2;
                slope += p * (difference - statistics[2]);
                slope2 += p2 * (difference - statistics[3]);
            }
            add_slope(row, of, j, slope, 0);
            add_slope(row, of, j, slope2, 1);
        }
        return {0, row.count};
    }

    DML_HD static void empty(State<Real>* state) {
        state[0] = state[1] = -std::numeric_limits<State<Real>>::infinity();
        state[2] = state[3] = 0;
    }

    DML_HD static void merge_states(const State<Real>* from, State<Real>* state) {
        for (int view = 0; view < 2; ++view) {
            if (from[view] == -std::numeric_limits<State<Real>>::infinity()) continue;
            merge(from[view], from[view + 2], state[view], state[view + 2]);
        }
    }

  private:
    DML_HD static void merge(State<Real> log_z, State<Real> mean, State<Real>& state_log_z, State<Real>& state_mean) {
        const State<Real> both = add_logs(state_log_z, log_z);
        state_mean = std::exp(state_log_z - both) * state_mean + std::exp(log_z - both) * mean;
        state_log_z = both;
    }

    Pack<Real> scale_;
    bool detach_;
};

}  // namespace dml::DML_ISA

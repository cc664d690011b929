// dmlkernels/statistics/divergence.py
#pragma once

#include "cpu/row.hpp"
#include "cpu/tile.hpp"

namespace dml::DML_ISA {

template <class Real>
class Divergence {
  public:
    static constexpr int column_numbers = 0;

    explicit Divergence(const cpu::Term& term)
        : scale_(broadcast(static_cast<Real>(term.parameters[0]))), detach_(term.parameters[1] != 0) {}

    DML_INLINE bool fold(const Row<Real>& row, const Folded<Real>& to) const {
        const Real* const scores[2] = {row.scores, row.scores + row.stride};
        const Pack<Real> lowest = broadcast(-std::numeric_limits<Real>::infinity());
        Pack<Real> highest[2] = {lowest, lowest};
        for (std::int64_t j = 0; j < row.count; j += lanes<Real>) {
            const Bits<Real> counts = load_labels<Real>(row.labels + j) != no_label<Real>;
            for (int view = 0; view < 2; ++view) {
                highest[view] = larger(where(counts, load(scores[view] + j) * scale_, lowest), highest[view]);
            }
        }
        Real shift[2];
        for (int view = 0; view < 2; ++view) {
            shift[view] = largest_lane<Real>(highest[view]);
            // All NaN: any finite shift lets them through.
            if (shift[view] == -std::numeric_limits<Real>::infinity()) shift[view] = 0;
        }
        Sum<Real> total[2], weighted[2];
        for (std::int64_t j = 0; j < row.count; j += lanes<Real>) {
            const Bits<Real> counts = load_labels<Real>(row.labels + j) != no_label<Real>;
            const Pack<Real> logits[2] = {load(scores[0] + j) * scale_, load(scores[1] + j) * scale_};
            const Pack<Real> difference = logits[0] - logits[1];
            for (int view = 0; view < 2; ++view) {
                const Pack<Real> weight = where(counts, exp<Real>(logits[view] - shift[view]), Pack<Real>{});
                total[view].add(weight);
                weighted[view].add(weight * difference);
            }
        }
        for (int view = 0; view < 2; ++view) {
            const double sum = total[view].total();
            merge(std::log(sum) + shift[view], weighted[view].total() / sum, to.state[view], to.state[view + 2]);
        }
        return true;
    }

    DML_INLINE Range slope(const Row<Real>& row, const Sloped<Real>& of) const {
        const Real *const statistics = of.statistics, *const gradient = of.gradient;
        Real *const out = of.slopes, *const out2 = of.slopes + of.slopes_stride;
        const Pack<Real> rate = scale_ * gradient[2], rate2 = scale_ * gradient[3];
        for (std::int64_t j = 0; j < row.count; j += lanes<Real>) {
            const Pack<Real> logit = load(row.scores + j) * scale_, logit2 = load(row.scores + row.stride + j) * scale_;
            const Pack<Real> p = exp<Real>(logit - statistics[0]) * rate;
            const Pack<Real> p2 = exp<Real>(logit2 - statistics[1]) * rate2;
            Pack<Real> slope = p + p2, slope2 = -slope;
            if (!detach_) {
                const Pack<Real> difference = logit - logit2;
                slope += p * (difference - statistics[2]);
                slope2 += p2 * (difference - statistics[3]);
            }
            store(out + j, load(out + j) + slope);
            store(out2 + j, load(out2 + j) + slope2);
        }
        return {0, row.count};
    }

  private:
    DML_INLINE static void merge(double log_z, double mean, double& state_log_z, double& state_mean) {
        const double both = add_logs(state_log_z, log_z);
        state_mean = std::exp(state_log_z - both) * state_mean + std::exp(log_z - both) * mean;
        state_log_z = both;
    }

    Pack<Real> scale_;
    bool detach_;
};

}  // namespace dml::DML_ISA

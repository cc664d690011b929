// Logits of circle loss, their derivatives, and what Circle and RowCircle compute alike.
#pragma once

#include "statistics/log_sums.hpp"

namespace dml::DML_ISA {

template <class Real>
struct Paced {
    Pack<Real> scale, margin;
    bool detach;  // the weights max(score + margin, 0) are held fixed

    // The logit of a positive score s is that of a negative score 1 - s.
    DML_HD static Pack<Real> counted(Bits<Real> positive, Pack<Real> score) {
        return where(positive, 1 - score, score);
    }

    // max(score + margin, 0); NaN for NaN.
    DML_HD Pack<Real> weight_of(Pack<Real> score) const {
        const Pack<Real> weight = score + margin;
        return where(weight < 0, Pack<Real>{}, weight);
    }

    DML_HD Pack<Real> logit_of(Pack<Real> score) const { return weight_of(score) * (score - margin) * scale; }

    DML_HD Pack<Real> rate_of(Pack<Real> score) const {
        const Pack<Real> weight = weight_of(score);
        return scale * (detach ? weight : where(weight == 0, Pack<Real>{}, 2 * score));
    }

    DML_HD Shifts<Real> shifts(const Row<Real>& row, const Folded<Real>& to) const {
        return shifts_of(row, to, [&](Index j, Bits<Real> positive, Bits<Real>) {
            return logit_of(counted(positive, score_at(row, j)));
        });
    }

    DML_HD Range slope(const Row<Real>& row, const Sloped<Real>& of) const {
        const Shifts<Real> lse{finite_shift(of.statistics[0]), finite_shift(of.statistics[1])};
        const Pack<Real> positive_rate = broadcast(-of.gradient[0]), negative_rate = broadcast(of.gradient[1]);
        for (Index j = 0; j < row.count; j += lanes<Real>) {
            const auto [positive, negative] = pair_kinds(row, j);
            const Pack<Real> score = counted(positive, score_at(row, j));
            const Pack<Real> weight = exp<Real>(logit_of(score) - lse.of(positive));
            const Pack<Real> slope = weight * rate_of(score) * where(positive, positive_rate, negative_rate);
            add_slope(row, of, j, where(positive | negative, slope, Pack<Real>{}));
        }
        return {0, row.count};
    }

    // Derivative of the logit by the margin.
    DML_HD Pack<Real> margin_rate_of(Pack<Real> score) const {
        const Pack<Real> weight = weight_of(score);
        return -scale * (detach ? weight : where(weight == 0, Pack<Real>{}, 2 * margin));
    }
};

}  // namespace dml::DML_ISA

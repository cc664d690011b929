// Logits of circle loss, and their derivatives.
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

    // Derivative of the logit by the margin.
    DML_HD Pack<Real> margin_rate_of(Pack<Real> score) const {
        const Pack<Real> weight = weight_of(score);
        return -scale * (detach ? weight : where(weight == 0, Pack<Real>{}, 2 * margin));
    }
};

}  // namespace dml::DML_ISA

// Functions of statistics that are log-sum-exps.
#pragma once

#include "statistics/vocabulary.hpp"

namespace dml::DML_ISA {

// The maximum, or 0 instead of the -inf of an empty set: safe to subtract.
template <class Real>
DML_HD Real finite_shift(Real maximum) {
    return maximum == -std::numeric_limits<Real>::infinity() ? Real(0) : maximum;
}

// An upper bound of all logits: of the new ones, and of those in the state.
template <class Real>
DML_HD Real shift_for(Real highest, State<Real> state) {
    return finite_shift(larger(static_cast<Real>(state), highest));
}

// Upper bounds of the logits of positives and of negatives, those in the state included.
template <class Real>
struct Shifts {
    Real positive, negative;

    DML_HD Pack<Real> of(Bits<Real> is_positive) const {
        return where(is_positive, broadcast(positive), broadcast(negative));
    }
};

// logit_at(j, positive, negative) is the logit of column j.
template <class Real, class LogitAt>
DML_HD Shifts<Real> shifts_of(const Row<Real>& row, const Folded<Real>& to, const LogitAt& logit_at) {
    const Pack<Real> lowest = broadcast(-std::numeric_limits<Real>::infinity());
    Pack<Real> positive_highest = lowest, negative_highest = lowest;
    for (Index j = 0; j < row.count; j += lanes<Real>) {
        const auto [positive, negative] = pair_kinds(row, j);
        const Pack<Real> logit = logit_at(j, positive, negative);
        positive_highest = larger(where(positive, logit, lowest), positive_highest);
        negative_highest = larger(where(negative, logit, lowest), negative_highest);
    }
    return {shift_for(largest_lane<Real>(positive_highest), to.state[0]),
            shift_for(largest_lane<Real>(negative_highest), to.state[1])};
}

// state = log(e^state + sum * e^shift)
template <class Real>
DML_HD void add_sum(State<Real> sum, State<Real> shift, State<Real>& state) {
    if (sum != 0) state = shift + std::log(std::exp(state - shift) + sum);
}

// add_sum to state[0], the sum being that of weights, and to means with these weights: state[2], state[4], ...
template <class Real, int means>
DML_HD void add_means(State<Real> sum, State<Real> shift, const State<Real> (&weighted)[means], State<Real>* state) {
    if (sum == 0) return;
    const State<Real> before = std::exp(state[0] - shift), both = before + sum;
    for (int k = 0; k < means; ++k) state[2 * k + 2] = (before * state[2 * k + 2] + weighted[k]) / both;
    state[0] = shift + std::log(both);
}

// Merges states of positives and negatives, each as add_means leaves it.
template <class Real, int means>
DML_HD void merge_means(const State<Real>* from, State<Real>* state) {
    for (int kind = 0; kind < 2; ++kind, ++from, ++state) {
        const State<Real> shift = finite_shift(larger(state[0], from[0])), sum = std::exp(from[0] - shift);
        State<Real> weighted[means];
        for (int k = 0; k < means; ++k) weighted[k] = sum * from[2 * k + 2];
        add_means<Real>(sum, shift, weighted, state);
    }
}

}  // namespace dml::DML_ISA

// dmlkernels/statistics/field.py
#pragma once

#include "statistics/vocabulary.hpp"

namespace dml::DML_ISA {

template <class Real>
class Field {
  public:
    static constexpr int column_values = 1, width = 1, views = 1;
    static constexpr bool pools = false;

    explicit Field(const Term& term)
        : Field(term.parameters[0], term.parameters[1], term.parameters[2], term.parameters[3], term.parameters[4]) {}

    Field(double alpha, double delta_att, double delta_rep, double d_min, double unit_depth)
        : energy_(-alpha / 2), force_(-alpha / 2 - 1), hills_end_(static_cast<Real>(delta_rep * delta_rep)) {
        const bool unit = unit_depth != 0;
        const double well = delta_att > d_min ? delta_att : d_min, hill = d_min < delta_rep ? d_min : delta_rep;
        positive_ = ends(well * well, std::numeric_limits<double>::infinity(), unit ? delta_att : 1, -1, alpha);
        negative_ = ends(hill * hill, delta_rep * delta_rep, unit ? delta_rep : 1, 1, alpha);
        rest_ = static_cast<State<Real>>(unit ? 1 : std::pow(delta_rep, -alpha));
    }

    // Adds the energies to the state of the row and to the sums of the columns, unless null.
    DML_HD bool fold(const Row<Real>& row, const Folded<Real>& to) const {
        Real* const columns = to.columns;
        bool has_grad = false;
        for_stretches(row, [&](Index begin, Index end, bool hot, State<Real> count) {
            has_grad |= hot;
            if (!hot) {
                if (to.state != nullptr) *to.state += rest_ * count;
                if (columns != nullptr) {
                    const Pack<Real> rest = broadcast(static_cast<Real>(rest_));
                    for (Index j = begin; j < end; j += lanes<Real>) {
                        store(columns + j, load(columns + j) + where(pair_kinds(row, j).negative, rest, Pack<Real>{}));
                    }
                }
                return;
            }
            Sum<Real> sum;
            for (Index j = begin; j < end; j += lanes<Real>) {
                const auto [positive, negative] = pair_kinds(row, j);
                const Pack<Real> distance = squared_distance(score_at(row, j));
                const Pack<Real> clamped =
                    clamp(distance, where(positive, positive_.low, negative_.low), where(positive, positive_.high, negative_.high));
                Pack<Real> energy = energy_(clamped * where(positive, positive_.scale, negative_.scale));
                energy *= where(positive, positive_.sign, negative_.sign);
                energy = where(positive | negative, energy, Pack<Real>{});
                sum.add(energy);
                if (columns != nullptr) store(columns + j, load(columns + j) + energy);
            }
            if (to.state != nullptr) *to.state += sum.total();
        });
        return has_grad;
    }

    // Slopes times the sum of the gradients of row and columns, without those that are null.
    DML_HD Range slope(const Row<Real>& row, const Sloped<Real>& of) const {
        Range has_grad;
        const Pack<Real> of_row = broadcast(of.gradient == nullptr ? Real(0) : of.gradient[0]);
        for_stretches(row, [&](Index begin, Index end, bool hot, State<Real>) {
            if (!hot) return;
            has_grad.join(begin, end);
            for (Index j = begin; j < end; j += lanes<Real>) {
                const auto [positive, negative] = pair_kinds(row, j);
                const Pack<Real> distance = squared_distance(score_at(row, j));
                const Pack<Real> low = where(positive, positive_.low, negative_.low), high = where(positive, positive_.high, negative_.high);
                const Bits<Real> flat = (distance <= low) | (distance >= high);  // false for NaN: the slope is NaN
                Pack<Real> slope = force_(clamp(distance, low, high) * where(positive, positive_.scale, negative_.scale));
                slope *= where(positive, positive_.rate, negative_.rate);
                slope = where(positive | negative, where(flat, Pack<Real>{}, slope), Pack<Real>{});
                Pack<Real> both = of_row;
                if (of.columns != nullptr) both += load(of.columns + j);
                add_slope(row, of, j, slope * both);
            }
        });
        return has_grad;
    }

    DML_HD static void columns_slope(const Real*, const Real* gradient, Real* out, Index) {
        out[0] = gradient[0];
    }

    DML_HD static void merge_columns(const Real* columns, Index, State<Real>* state) { state[0] += columns[0]; }

    DML_HD static void empty(State<Real>* state) { *state = 0; }
    DML_HD static void merge_states(const State<Real>* from, State<Real>* state) { *state += *from; }

  private:
    // One potential, sign * (d / unit)^-alpha: the squared distances between which it varies, 1 / unit^2, and the
    // factor of its slope. Distances are divided by the unit before the power, since unit^alpha may be out of range of
    // Real.
    struct Ends {
        Pack<Real> low, high, scale, sign, rate;
    };

    DML_HD static Ends ends(double low, double high, double unit, double sign, double alpha) {
        const double scale = 1 / (unit * unit);
        return {broadcast(static_cast<Real>(low)), broadcast(static_cast<Real>(high)),
                broadcast(static_cast<Real>(scale)), broadcast(static_cast<Real>(sign)),
                broadcast(static_cast<Real>(alpha * sign * scale))};
    }

    DML_HD static Pack<Real> squared_distance(Pack<Real> score) { return 2 - 2 * score; }

    // Calls body for short stretches of the row. Most are not hot: they have no positive, and no negative within reach
    // of its potential, so that nothing need be computed.
    template <class Body>
    DML_HD void for_stretches(const Row<Real>& row, const Body& body) const {
        constexpr Index length = 8 * lanes<Real>;
        for (Index begin = 0; begin < row.count; begin += length) {
            const Index end = begin + length < row.count ? begin + length : row.count;
            Bits<Real> hot{};
            Sum<Real> count;
            for (Index j = begin; j < end; j += lanes<Real>) {
                const auto [positive, negative] = pair_kinds(row, j);
                const Pack<Real> distance = squared_distance(score_at(row, j));
                hot |= positive | (negative & ((distance < hills_end_) | (distance != distance)));  // NaN is hot
                count.add(negative, broadcast(Real(1)));
            }
            body(begin, end, any<Real>(hot), count.total());
        }
    }

    Power<Real> energy_, force_;
    Real hills_end_;
    Ends positive_, negative_;
    State<Real> rest_;
};

}  // namespace dml::DML_ISA

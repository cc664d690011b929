#include "cpu/formulas.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/labels.hpp"
#include "cpu/memory.hpp"
#include "cpu/parallel.hpp"

namespace dml::cpu {
namespace {

constexpr std::int64_t most_parts = 64, rows_of_part = 1024;  // sums do not depend on the number of threads

// Calls body(part, begin, end) for ranges that cover the rows.
template <class Body>
void for_rows(const Formula& formula, const Body& body) {
    const std::int64_t parts = std::clamp<std::int64_t>(formula.rows / rows_of_part, 1, most_parts);
    parallel_parts(formula.rows, parts, formula.threads, body);
}

// log(1 + e^x) without overflow, and its derivative.
struct Softplus {
    double value, slope;

    explicit Softplus(double x) {
        const double small = std::exp(-std::abs(x));
        value = std::max(x, 0.0) + std::log1p(small);  // NaN if x is
        slope = (x >= 0 ? 1 : small) / (1 + small);
    }
};

// What a row adds to the loss: one term, whose slopes are by two statistics, or two with a slope each.
struct Terms {
    static constexpr int most = 2;
    bool has[most] = {true, true};
    double value[most] = {};
    double slope[most] = {};
    double of_value = 0;  // slope by the row's value
};

Terms cross_entropy(double positive, double derivative, double negative) {
    const Softplus found(negative - positive);
    return {{true, true}, {found.value}, {-found.slope * derivative, found.slope}};
}

// Of an angle from 0 to pi, and the derivative by its cosine. As everywhere that is held near the ends, within the
// rounding of the statistics. Several proxies of a class have a cosine above 1 together: there the sine stays 0.
struct Sine {
    double value, slope;

    Sine(double cosine, double rounding) {
        const double squared = (1 - cosine) * (1 + cosine);
        const double inverse = 1 / std::sqrt(std::max(squared, rounding));
        value = std::max(squared, 0.0) * inverse;
        slope = -2 * cosine * (squared >= rounding ? inverse / 2 : squared < 0 ? 0 : inverse);
    }
};

// A cosine with a margin added to its angle, or beyond theta = pi - margin less an offset; its derivatives by cosine and
// margin, of which the offset has one, too.
struct Bent {
    double value, of_cosine, of_margin;

    Bent(double cosine, double cosine_of, double sine_of, double offset, double of_offset, double rounding) {
        if (cosine > -cosine_of) {
            const Sine sine(cosine, rounding);
            value = cosine * cosine_of - sine.value * sine_of;
            of_cosine = cosine_of - sine.slope * sine_of;
            of_margin = -cosine * sine_of - sine.value * cosine_of;
        } else {
            value = cosine - offset;
            of_cosine = 1;
            of_margin = -of_offset;
        }
    }
};

// ArcFace's logit of the positives in place of theirs.
Terms angle(double cosine, double negative, const std::array<double, 9>& numbers, double rounding) {
    const Bent bent(cosine, numbers[1], numbers[2], numbers[3], 0, rounding);
    return cross_entropy(numbers[0] * bent.value, bent.of_cosine, negative);
}

// AdaFace's, whose margins go with a quality that is held fixed.
Terms turned(double cosine, double negative, double quality, const std::array<double, 9>& numbers, double rounding) {
    const double scale = numbers[0], margin = numbers[1], end = numbers[2], limit = numbers[3];  // of the angle
    const double angle = -margin * quality, cosine_of = std::cos(angle), sine_of = std::sin(angle);
    const Sine sine(cosine, rounding);
    double value = cosine * cosine_of - sine.value * sine_of, derivative = cosine_of - sine.slope * sine_of;
    const bool low = angle < end && cosine > std::cos(end - angle);
    if (low || (angle > -end && cosine < -std::cos(end + angle))) {
        value = low ? limit : -limit;
        derivative = 0;
    }
    return cross_entropy(scale * (value - margin * (1 + quality)), derivative, negative);
}

// MagFace's, whose margin goes with the norm, and a regulariser of that.
Terms magnified(double cosine, double negative, double given, const std::array<double, 9>& numbers, double rounding) {
    const double scale = numbers[0], lower = numbers[1], upper = numbers[2];
    const double margin = numbers[3], rate = numbers[4], weight = numbers[5];
    const double norm = given < lower ? lower : given > upper ? upper : given;  // NaN if given is
    const double angle = margin + rate * (norm - lower), cosine_of = std::cos(angle), sine_of = std::sin(angle);
    const bool paper = angle * sine_of >= 1 - cosine_of;
    const Bent bent(cosine, cosine_of, sine_of, paper ? angle * sine_of : 1 - cosine_of,
                    sine_of + (paper ? angle * cosine_of : 0), rounding);
    Terms terms = cross_entropy(scale * bent.value, bent.of_cosine, negative);
    terms.value[0] += weight * (norm / (upper * upper) + 1 / norm);
    if (given >= lower && given <= upper) {
        const double of_regulariser = weight * (1 / (upper * upper) - 1 / (norm * norm));
        terms.of_value = of_regulariser - terms.slope[1] * scale * bent.of_margin * rate;
    }
    return terms;
}

// Pull of a proxy's positives, if it has any, and push of its negatives.
Terms anchor(double positive, double negative, double margin) {
    const bool has = positive != -std::numeric_limits<double>::infinity();
    const Softplus pull((has ? positive : 0) + margin), push(negative + margin);
    return {{has, true}, {pull.value, push.value}, {pull.slope, push.slope}};
}

Terms joint(double positive, double negative) {
    const Softplus found(positive + negative);
    return {{true, true}, {found.value}, {found.slope, found.slope}};
}

// Of one row.
template <class Real>
Terms terms_of(const Formula& formula, const Real* statistics, double value) {
    const auto& numbers = formula.numbers;
    const double first = statistics[0], second = formula.width > 1 ? statistics[1] : 0;
    constexpr double rounding = std::numeric_limits<Real>::epsilon();
    const auto cosine = [&] { return statistics[0] / static_cast<Real>(numbers[0]); };
    switch (formula.kind) {
        case FormulaKind::cross_entropy: return cross_entropy(first - numbers[0], 1, second);
        case FormulaKind::angle: return angle(cosine(), second, numbers, rounding);
        case FormulaKind::turned: return turned(cosine(), second, value, numbers, rounding);
        case FormulaKind::magnified: return magnified(cosine(), second, value, numbers, rounding);
        case FormulaKind::anchor: return anchor(first, second, numbers[0]);
        case FormulaKind::joint: return joint(first, second);
        case FormulaKind::difference: return {{true, true}, {second - first}, {-1, 1}};
        default: {  // last
            const double last = statistics[formula.width - 1];
            return {{true, true}, {last * numbers[0]}, {numbers[0]}};
        }
    }
}

template <class Real>
class Rows {
  public:
    explicit Rows(const Formula& formula)
        : formula_(formula), statistics_(address<const Real>(formula.statistics)),
          labels_(address<const std::int64_t>(formula.labels)), weights_(address<const Real>(formula.weights)),
          values_(address<const Real>(formula.values)) {}

    void evaluate() const {
        Sums of_parts[most_parts];
        for_rows(formula_, [&](std::int64_t part, std::int64_t begin, std::int64_t end) {
            Sums sums;
            for (std::int64_t i = begin; i < end; ++i) {
                if (!counts(i)) continue;
                const Terms terms = terms_of(formula_, statistics_ + i * formula_.width, value(i));
                for (int k = 0; k < count_; ++k) {
                    if (!terms.has[k]) continue;
                    sums.value[k] += terms.value[k] * weight(i);
                    sums.weight[k] += weight(i);
                }
            }
            of_parts[part] = sums;
        });
        double loss = 0;
        for (int k = 0; k < count_; ++k) {
            double value = 0, total = 0;
            for (const Sums& sums : of_parts) {
                value += sums.value[k];
                total += sums.weight[k];
            }
            address<double>(formula_.state)[k] = formula_.mean ? total : 1;
            loss += formula_.mean ? value / total : value;
        }
        *address<Real>(formula_.loss) = static_cast<Real>(loss);
    }

    void slopes() const {
        const double gradient = *address<Real>(formula_.loss_gradient);
        const double* const totals = address<double>(formula_.state);
        const std::int64_t width = formula_.width, first = formula_.kind == FormulaKind::last ? width - 1 : 0;
        Real* const of_values = address<Real>(formula_.of_values);
        for_rows(formula_, [&](std::int64_t, std::int64_t begin, std::int64_t end) {
            for (std::int64_t i = begin; i < end; ++i) {
                Real* const out = address<Real>(formula_.gradient) + i * width;
                std::fill_n(out, width, Real(0));
                if (of_values != nullptr) of_values[i] = 0;
                if (!counts(i)) continue;
                const Terms terms = terms_of(formula_, statistics_ + i * width, value(i));
                if (of_values != nullptr) {
                    of_values[i] = static_cast<Real>(terms.of_value * weight(i) * (gradient / totals[0]));
                }
                for (std::int64_t k = 0; k < std::min<std::int64_t>(width - first, Terms::most); ++k) {
                    const std::int64_t term = count_ == 1 ? 0 : k;
                    if (!terms.has[term]) continue;
                    out[first + k] = static_cast<Real>(terms.slope[k] * weight(i) * (gradient / totals[term]));
                }
            }
        });
    }

  private:
    struct Sums {
        double value[Terms::most] = {}, weight[Terms::most] = {};
    };

    bool counts(std::int64_t i) const { return labels_ == nullptr || labels_[i] != ignored; }
    double weight(std::int64_t i) const { return weights_ == nullptr ? 1 : weights_[i]; }
    double value(std::int64_t i) const { return values_ == nullptr ? 0 : values_[i]; }

    const Formula& formula_;
    const int count_ = formula_.kind == FormulaKind::anchor ? 2 : 1;  // of terms
    const Real* const statistics_;
    const std::int64_t* const labels_;
    const Real* const weights_;
    const Real* const values_;
};

enum class Form { none, inverse, neg, neg_log };

Form form_of(FormulaKind kind) {
    switch (kind) {
        case FormulaKind::decidability_inverse: case FormulaKind::fused_inverse: return Form::inverse;
        case FormulaKind::decidability_neg: case FormulaKind::fused_neg: return Form::neg;
        case FormulaKind::decidability_neg_log: case FormulaKind::fused_neg_log: return Form::neg_log;
        default: return Form::none;
    }
}

// The decidability of the moments of all rows: count, mean and squared deviation of the genuine scores, then of the
// impostors. The state is pooled mean, shift and rate of either kind.
template <class Real>
class Decidability {
  public:
    explicit Decidability(const Formula& formula)
        : formula_(formula), form_(form_of(formula.kind)), moments_(address<const Real>(formula.statistics)),
          state_(address<double>(formula.state)) {}

    void evaluate() const { *address<Real>(formula_.loss) = static_cast<Real>(find(1)); }

    // The loss; the state is for a weight times the loss.
    double find(double weight) const {
        std::fill_n(state_, 6, 0.0);
        if (form_ == Form::none) return 0;
        const auto& numbers = formula_.numbers;
        const double temperature = numbers[0], correction = numbers[1], min_gap = numbers[2], eps = numbers[3];
        const Pool genuine = pool(0), impostors = pool(3);
        const double less = correction * numbers[4];  // how often a pair was counted
        const double gap = (genuine.mean - impostors.mean) / temperature;
        const double spread = (genuine.squares / (genuine.count - less) + impostors.squares / (impostors.count - less)) /
                              (temperature * temperature);
        double of_gap = 0, of_spread = 0;
        const double loss = decide(gap, spread, min_gap, eps, of_gap, of_spread);
        of_gap *= weight / temperature;
        of_spread *= weight / (temperature * temperature);
        const double state[] = {genuine.mean,   of_gap / genuine.count,    of_spread / (genuine.count - less),
                                impostors.mean, -of_gap / impostors.count, of_spread / (impostors.count - less)};
        std::copy_n(state, 6, state_);
        return loss;
    }

    // Counts have no gradient: nothing reads it.
    void slopes() const {
        const double gradient = *address<Real>(formula_.loss_gradient);
        for (std::int64_t i = 0; i < formula_.rows; ++i) {
            for (int kind = 0; kind < 6; kind += 3) {
                const Real* const moments = moments_ + i * formula_.width + kind;
                Real* const out = address<Real>(formula_.gradient) + i * formula_.width + kind;
                const double mean = state_[kind], shift = state_[kind + 1] * gradient, rate = state_[kind + 2] * gradient;
                const double step = static_cast<double>(moments[1]) - mean;
                out[0] = 0;
                out[1] = static_cast<Real>(static_cast<double>(moments[0]) * (shift + 2 * rate * step));
                out[2] = static_cast<Real>(rate);
            }
        }
    }

  private:
    struct Pool {
        double count = 0, mean = 0, squares = 0;
    };

    Pool pool(int kind) const {
        Pool all;
        double sum = 0;
        for (std::int64_t i = 0; i < formula_.rows; ++i) {
            const Real* const moments = moments_ + i * formula_.width + kind;
            all.count += moments[0];
            sum += static_cast<double>(moments[0]) * static_cast<double>(moments[1]);
        }
        all.mean = sum / all.count;
        for (std::int64_t i = 0; i < formula_.rows; ++i) {
            const Real* const moments = moments_ + i * formula_.width + kind;
            const double step = static_cast<double>(moments[1]) - all.mean;
            all.squares += static_cast<double>(moments[2]) + static_cast<double>(moments[0]) * step * step;
        }
        return all;
    }

    // The loss, and its derivatives by gap and spread.
    double decide(double gap, double spread, double min_gap, double eps, double& of_gap, double& of_spread) const {
        if (form_ == Form::neg_log) {
            const double above = std::max(gap, min_gap);  // NaN if gap is
            of_gap = -1 / above;
            of_spread = 0.5 / (spread + eps);
            return std::log(spread + eps) / 2 - std::log(above) - (gap - above) / min_gap;
        }
        const double half = spread / 2 + eps, root = std::sqrt(half);
        if (form_ == Form::neg) {
            of_gap = -1 / root;
            of_spread = gap / (4 * half * root);
            return -gap / root;
        }
        of_gap = -root / (gap * gap);
        of_spread = 1 / (4 * root * gap);
        return root / gap;
    }

    const Formula& formula_;
    const Form form_;
    const Real* const moments_;
    double* const state_;
};

// Decidability, potential field and ODBA penalty together; moments, energy of the field and squared cosines of a row. The
// state is that of decidability, then what field and ODBA energies are multiplied by.
template <class Real>
class Fused {
  public:
    explicit Fused(const Formula& formula)
        : formula_(formula), decidability_(formula), statistics_(address<const Real>(formula.statistics)),
          state_(address<double>(formula.state)), samples_(static_cast<std::int64_t>(formula.numbers[8])) {}

    void evaluate() const {
        const double of_decidability = formula_.numbers[5], of_field = formula_.numbers[6], of_odba = formula_.numbers[7];
        const auto* const labels = address<const std::int64_t>(formula_.labels);
        double field = 0, odba = 0, points = 0, samples = 0;  // those that are not ignored
        for (std::int64_t i = 0; i < formula_.rows; ++i) {
            if (labels != nullptr && labels[i] == ignored) continue;
            const Real* const row = statistics_ + i * formula_.width;
            field += row[6];
            points += 1;
            if (i >= samples_) continue;
            odba += row[7];
            samples += 1;
        }
        if (!formula_.mean) points = 1;
        const double parts[] = {decidability_.find(of_decidability), field / points, of_odba == 0 ? 0 : odba / samples};
        for (int k = 0; k < 3; ++k) address<Real>(formula_.parts)[k] = static_cast<Real>(parts[k]);
        state_[6] = of_field / points;
        state_[7] = of_odba == 0 ? 0 : of_odba / samples;
        const double loss = of_decidability * parts[0] + of_field * parts[1] + of_odba * parts[2];
        *address<Real>(formula_.loss) = static_cast<Real>(loss);
    }

    void slopes() const {
        const double gradient = *address<Real>(formula_.loss_gradient);
        decidability_.slopes();
        for (std::int64_t i = 0; i < formula_.rows; ++i) {
            Real* const out = address<Real>(formula_.gradient) + i * formula_.width;
            out[6] = static_cast<Real>(state_[6] * gradient);
            out[7] = static_cast<Real>(i < samples_ ? state_[7] * gradient : 0);
        }
    }

  private:
    const Formula& formula_;
    const Decidability<Real> decidability_;
    const Real* const statistics_;
    double* const state_;
    const std::int64_t samples_;
};

template <class Real, class Body>
void with_formula(const Formula& formula, const Body& body) {
    switch (formula.kind) {
        case FormulaKind::decidability_inverse:
        case FormulaKind::decidability_neg:
        case FormulaKind::decidability_neg_log: return body(Decidability<Real>(formula));
        case FormulaKind::fused:
        case FormulaKind::fused_inverse:
        case FormulaKind::fused_neg:
        case FormulaKind::fused_neg_log: return body(Fused<Real>(formula));
        default: return body(Rows<Real>(formula));
    }
}

}  // namespace

void evaluate(const Formula& formula) {
    const auto body = [](const auto& of) { of.evaluate(); };
    formula.wide ? with_formula<double>(formula, body) : with_formula<float>(formula, body);
}

void slopes(const Formula& formula) {
    const auto body = [](const auto& of) { of.slopes(); };
    formula.wide ? with_formula<double>(formula, body) : with_formula<float>(formula, body);
}

}  // namespace dml::cpu

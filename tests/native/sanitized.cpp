// Runs every kernel of the CPU engine on tiles whose memory ends exactly where it must, for the sanitizers to watch; and
// checks a few numbers against the obvious loops. Built and run by .ci/native.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "cpu/formulas.hpp"
#include "cpu/labels.hpp"
#include "cpu/problem.hpp"
#include "cpu/tile.hpp"

using dml::cpu::Formula;
using dml::cpu::FormulaKind;
using dml::cpu::Integer;
using dml::cpu::Kernels;
using dml::cpu::Kind;
using dml::cpu::Problem;
using dml::cpu::Term;
using dml::cpu::Tile;
using dml::cpu::Type;
using dml::cpu::Workspace;

namespace {

std::mt19937 generator(1);

void expect(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "failed: %s\n", what);
    std::exit(1);
}

template <class T>
std::uintptr_t address(std::vector<T>& values) {
    return reinterpret_cast<std::uintptr_t>(values.data());
}

template <class Real>
std::vector<Real> unit_vectors(std::int64_t count, std::int64_t dim) {
    std::normal_distribution<double> normal;
    std::vector<Real> units(static_cast<std::size_t>(count * dim));
    for (std::int64_t i = 0; i < count; ++i) {
        double squares = 0;
        for (std::int64_t k = 0; k < dim; ++k) {
            const double value = normal(generator);
            units[i * dim + k] = static_cast<Real>(value);
            squares += value * value;
        }
        for (std::int64_t k = 0; k < dim; ++k) units[i * dim + k] /= static_cast<Real>(std::sqrt(squares) + 1e-12);
    }
    return units;
}

struct Statistic {
    Kind kind;
    std::array<double, 5> parameters;
    int width, views;
    std::int64_t group;
    double empty;  // of a state
    int row_values = 0;
};

const Statistic statistics[] = {
    {Kind::divergence, {10, 0}, 6, 2, 1, -std::numeric_limits<double>::infinity()},
    {Kind::field, {3, 0.9, 1.2, 0.01, 1}, 1, 1, 1, 0},
    {Kind::logsumexp, {-32, 32}, 2, 1, 1, -std::numeric_limits<double>::infinity()},
    {Kind::moments, {}, 6, 1, 1, 0},
    {Kind::row_logsumexp, {}, 4, 1, 1, -std::numeric_limits<double>::infinity(), 3},
    {Kind::row_circle, {1}, 6, 1, 1, -std::numeric_limits<double>::infinity(), 2},
    {Kind::row_sub_center, {3}, 4, 1, 3, -std::numeric_limits<double>::infinity(), 3},
    {Kind::soft_triple, {20, 0.1, 3}, 2, 1, 3, -std::numeric_limits<double>::infinity()},
    {Kind::square, {}, 1, 1, 1, 0},
    {Kind::circle, {32, 0.25, 1}, 2, 1, 1, -std::numeric_limits<double>::infinity()},
    {Kind::sub_center, {20, 3}, 2, 1, 3, -std::numeric_limits<double>::infinity()},
};

template <class Real>
void run(const Kernels& kernels, const Statistic& statistic, std::int64_t rows, std::int64_t labels, std::int64_t dim,
         int threads, bool both_ends, bool diagonal) {
    const std::int64_t columns = labels * statistic.group;
    auto row_units = unit_vectors<Real>(rows * statistic.views, dim);
    auto column_units = diagonal ? row_units : unit_vectors<Real>(columns, dim);
    std::vector<std::int64_t> row_labels(rows), column_labels(labels);
    for (auto& label : row_labels) label = static_cast<std::int64_t>(generator() % 5);
    for (auto& label : column_labels) label = static_cast<std::int64_t>(generator() % 5);
    if (diagonal) column_labels = row_labels;
    std::vector<Real> weights(labels, Real(0.5)), values(rows * statistic.row_values, Real(0.1));
    std::vector<double> row_states(rows * statistic.width, statistic.empty);
    if (statistic.kind == Kind::divergence || statistic.row_values > 0) {  // means follow the log-sum-exps
        for (std::int64_t i = 0; i < rows; ++i) {
            std::fill_n(&row_states[i * statistic.width + 2], statistic.width - 2, 0);
        }
    }
    std::vector<double> column_states(columns * statistic.width, statistic.empty);
    std::vector<Real> gradient(rows * statistic.width, Real(1)), column_gradient(columns * statistic.width, Real(1));
    std::vector<Real> of_rows(row_units.size()), of_columns(column_units.size());

    Tile tile;
    tile.wide = sizeof(Real) == sizeof(double);
    tile.dim = dim;
    tile.views = statistic.views;
    tile.group = statistic.group;
    tile.diagonal = diagonal;
    tile.width = statistic.width;
    tile.threads = threads;
    Term term;
    term.kind = statistic.kind;
    term.parameters = statistic.parameters;
    term.from_columns = both_ends;
    tile.terms = &term;
    tile.term_count = 1;
    tile.rows.units = address(row_units);
    tile.rows.size = rows;
    tile.rows.view_stride = rows * dim;
    tile.rows.labels = address(row_labels);
    tile.rows.states = address(row_states);
    tile.row_values = statistic.row_values;
    tile.rows.row_values = address(values);
    tile.rows.gradient = address(gradient);
    tile.rows.of_units = address(of_rows);
    tile.columns.units = address(column_units);
    tile.columns.size = columns;
    tile.columns.labels = address(column_labels);
    tile.columns.weights = address(weights);
    tile.columns.states = diagonal ? address(row_states) : address(column_states);
    tile.columns.gradient = diagonal ? address(gradient) : address(column_gradient);
    tile.columns.of_units = diagonal ? address(of_rows) : address(of_columns);

    Workspace workspace;
    kernels.fold(tile, workspace);
    std::vector<Real> row_statistics(row_states.begin(), row_states.end());
    std::vector<Real> column_statistics(column_states.begin(), column_states.end());
    tile.rows.statistics = address(row_statistics);
    tile.columns.statistics = diagonal ? address(row_statistics) : address(column_statistics);
    kernels.slope(tile, workspace);
    for (const Real value : of_rows) expect(std::isfinite(value), "finite gradients of rows");
    for (const Real value : of_columns) expect(std::isfinite(value), "finite gradients of columns");

    if (statistic.kind != Kind::moments || diagonal) return;
    for (std::int64_t i = 0; i < rows; ++i) {
        double sum = 0, count = 0;
        for (std::int64_t j = 0; j < columns; ++j) {
            if (row_labels[i] == column_labels[j]) continue;
            for (std::int64_t k = 0; k < dim; ++k) sum += row_units[i * dim + k] * column_units[j * dim + k];
            count += 1;
        }
        expect(row_states[i * 6 + 3] == count, "count of a row");
        if (count > 0) expect(std::abs(row_states[i * 6 + 4] - sum / count) < 1e-5, "mean of a row");
    }
}

constexpr std::int64_t ignored = std::numeric_limits<std::int64_t>::min();

// Where the parts of a problem end, and what its rows meet.
struct Layout {
    bool columns, within;
    bool segments = false, wide_labels = false, halves = false;
    std::int64_t block_rows = 40, part_columns = 1;
};

// The same through a whole problem, of more than a tile if it is large: every fourth row is ignored, and so is every third
// label of the columns.
template <class Real>
void run_problem(const Kernels& kernels, const Statistic& statistic, std::int64_t rows, std::int64_t labels,
                 std::int64_t dim, const Layout& layout) {
    const std::int64_t columns = layout.columns ? labels * statistic.group : 0, stride = dim + 3;
    std::vector<Real> row_values = unit_vectors<Real>(rows * statistic.views, stride);
    row_values.resize(row_values.size() - 3);
    auto column_values = unit_vectors<Real>(columns, dim);
    std::vector<std::uint16_t> halves(columns * dim, 0x3c01), of_halves(columns * dim);
    const std::int64_t spacing = layout.wide_labels ? std::int64_t{1} << 40 : 1;
    std::vector<std::int64_t> row_labels(rows), column_labels(layout.columns ? labels : 0);
    for (std::int64_t i = 0; i < rows; ++i) {
        row_labels[i] = i % 4 == 3 ? ignored : static_cast<std::int64_t>(generator() % 5) * spacing;
    }
    for (std::size_t j = 0; j < column_labels.size(); ++j) {
        column_labels[j] = j % 3 == 2 ? ignored : static_cast<std::int64_t>(j % 5) * spacing;
    }
    std::vector<Real> weights(columns, Real(0.5)), values(rows * statistic.row_values, Real(0.1));
    std::vector<double> empty(statistic.width, statistic.empty);
    if (statistic.kind == Kind::divergence || statistic.row_values > 0) std::fill_n(&empty[2], statistic.width - 2, 0);
    const Real unset = std::numeric_limits<Real>::quiet_NaN();
    std::vector<Real> statistics(rows * statistic.width, unset), gradient(rows * statistic.width, Real(1));
    std::vector<Real> of_rows(rows * statistic.views * dim, unset), of_columns(columns * dim, unset);

    Problem problem;
    problem.wide = sizeof(Real) == sizeof(double);
    problem.dim = dim;
    problem.views = statistic.views;
    problem.group = statistic.group;
    problem.width = statistic.width;
    problem.threads = 2;
    problem.within = layout.within;
    problem.symmetric = layout.within && statistic.kind != Kind::logsumexp;
    problem.block_rows = layout.block_rows;
    problem.block_labels = 64;
    problem.part_columns = layout.part_columns;
    const dml::cpu::Pause pause = [] {};
    problem.rows.type = problem.columns.type = problem.wide ? Type::float64 : Type::float32;
    problem.rows.values = address(row_values);
    problem.rows.size = rows;
    problem.rows.stride = stride;
    problem.rows.view_stride = rows * stride;
    if (layout.segments) problem.rows.boundaries = {rows / 2, rows / 2};
    const bool labelled = statistic.kind != Kind::square && statistic.kind != Kind::divergence;
    if (labelled) problem.rows.labels = address(row_labels);
    problem.row_values = statistic.row_values;
    problem.rows.row_values = address(values);
    problem.rows.gradient = address(of_rows);
    problem.columns.size = columns;
    problem.columns.stride = dim;
    problem.columns.values = address(column_values);
    problem.columns.weights = address(weights);
    problem.columns.gradient = address(of_columns);
    if (layout.halves) {
        problem.columns.type = Type::float16;
        problem.columns.values = address(halves);
        problem.columns.gradient = address(of_halves);
    }
    if (labelled) problem.columns.labels = address(column_labels);
    if (layout.segments) problem.columns.boundaries = {columns / statistic.group / 3};
    Term term;
    term.kind = statistic.kind;
    term.parameters = statistic.parameters;
    const std::size_t row_segments = problem.rows.boundaries.size() + 1;
    const std::size_t column_segments = problem.columns.boundaries.size() + 1;
    for (std::size_t i = 0; i < row_segments; ++i) {
        term.from_columns = problem.symmetric;
        for (std::size_t j = 0; j < row_segments && layout.within; ++j) problem.terms.push_back({term});
        term.from_columns = false;
        for (std::size_t j = 0; j < column_segments; ++j) problem.terms.push_back({term});
    }
    std::vector<Real> saved((rows + 2) * (rows + 2), Real(1));
    problem.saved = address(saved);
    problem.empty = address(empty);
    problem.statistics = address(statistics);
    problem.gradient = address(gradient);
    dml::cpu::forward(problem, kernels, pause);
    dml::cpu::backward(problem, kernels, pause);
    for (const Real value : of_rows) expect(std::isfinite(value), "finite gradients of a problem's rows");
    for (const Real value : of_columns) {
        expect(layout.halves || std::isfinite(value), "finite gradients of a problem's columns");
    }
    for (const std::uint16_t half : of_halves) expect((half & 0x7c00) != 0x7c00, "finite gradients in half precision");
    for (std::int64_t i = 3; labelled && i < rows; i += 4) {
        for (std::int64_t k = 0; k < statistic.width; ++k) {
            expect(statistics[i * statistic.width + k] == 0, "zeros for an ignored row");
        }
        for (std::int64_t k = 0; k < dim; ++k) expect(of_rows[i * dim + k] == 0, "no gradient of an ignored row");
    }
}

template <class Real>
void run_spread(const Kernels& kernels, std::int64_t classes, std::int64_t group, std::int64_t dim) {
    const std::int64_t stride = dim + 1;
    auto values = unit_vectors<Real>(classes * group, stride);
    values.pop_back();
    std::vector<Real> of_values(classes * group * dim, std::numeric_limits<Real>::quiet_NaN());
    const Real gradient = 2;
    dml::cpu::Centers centers;
    centers.wide = sizeof(Real) == sizeof(double);
    centers.classes = classes;
    centers.group = group;
    centers.dim = dim;
    centers.stride = stride;
    centers.values = address(values);
    centers.slack = 1e-5;
    centers.gradient = reinterpret_cast<std::uintptr_t>(&gradient);
    centers.of_values = address(of_values);
    centers.threads = 2;
    const double most = 2.01 * static_cast<double>(classes * group * (group - 1)) / 2;
    dml::cpu::Workspace workspace;
    const double sum = kernels.spread(centers, workspace);
    expect(0 <= sum && sum <= most, "a sum of distances");
    kernels.spread_backward(centers, workspace);
    for (const Real value : of_values) expect(std::isfinite(value), "finite gradients of centres");
}

template <class Real>
void run_formula(FormulaKind kind, std::int64_t width, std::int64_t rows, bool has_values = false) {
    std::vector<Real> statistics(rows * width), weights(rows, Real(0.5)), of_statistics(rows * width, Real(NAN));
    std::vector<Real> values(rows, Real(0.25)), of_values(rows, Real(NAN));
    std::vector<std::int64_t> labels(rows);
    for (std::int64_t i = 0; i < rows; ++i) {
        labels[i] = i % 3 == 2 ? ignored : i;
        for (std::int64_t k = 0; k < width; ++k) statistics[i * width + k] = static_cast<Real>(1 + k + i % 3);
    }
    Real loss = static_cast<Real>(NAN), gradient = 1;
    double state[6] = {};
    Formula formula;
    formula.kind = kind;
    formula.numbers = {16, 0, 0.5, 0.1, 1};
    formula.wide = sizeof(Real) == 8;
    formula.rows = rows;
    formula.width = width;
    formula.threads = 3;
    formula.statistics = address(statistics);
    formula.labels = address(labels);
    formula.weights = address(weights);
    formula.loss = reinterpret_cast<std::uintptr_t>(&loss);
    formula.state = reinterpret_cast<std::uintptr_t>(state);
    formula.loss_gradient = reinterpret_cast<std::uintptr_t>(&gradient);
    formula.gradient = address(of_statistics);
    if (has_values) {
        formula.values = address(values);
        formula.of_values = address(of_values);
    }
    dml::cpu::evaluate(formula);
    expect(std::isfinite(loss), "a loss");
    dml::cpu::slopes(formula);
    for (const Real value : of_statistics) expect(std::isfinite(value), "finite gradients of statistics");
    for (const Real value : of_values) expect(!has_values || std::isfinite(value), "finite gradients of values");
}

template <class Real>
void run_formulas() {
    for (const std::int64_t rows : {1, 7, 5000}) {
        for (const FormulaKind kind : {FormulaKind::anchor, FormulaKind::angle, FormulaKind::cross_entropy,
                                       FormulaKind::difference, FormulaKind::joint}) {
            run_formula<Real>(kind, 2, rows);
        }
        for (const FormulaKind kind : {FormulaKind::magnified, FormulaKind::turned}) {
            run_formula<Real>(kind, 2, rows, true);
        }
        run_formula<Real>(FormulaKind::last, 1, rows);
        for (const FormulaKind kind : {FormulaKind::decidability_inverse, FormulaKind::decidability_neg,
                                       FormulaKind::decidability_neg_log}) {
            run_formula<Real>(kind, 6, rows);
        }
    }
}

template <class Label>
void run_labels(Integer type) {
    std::vector<Label> labels = {3, 0, 4, 3};
    std::vector<std::int64_t> out(labels.size());
    expect(dml::cpu::resolve_labels(type, address(labels), 4, 4, 4, address(out)), "usable labels");
    expect(out[0] == 3 && out[2] == ignored, "resolved labels");
    expect(!dml::cpu::resolve_labels(type, address(labels), 4, 0, 4, address(out)), "a label of no class");
}

template <class Real>
void run_all(const Kernels& kernels) {
    for (const auto& [classes, group, dim] : {std::array<std::int64_t, 3>{1, 2, 1}, {7, 3, 17}, {130, 10, 64}}) {
        run_spread<Real>(kernels, classes, group, dim);
    }
    const std::int64_t sizes[][3] = {{1, 1, 1}, {5, 7, 3}, {13, 33, 17}, {25, 540, 31}, {70, 90, 130}};
    for (const Statistic& statistic : statistics) {
        const bool pairs = statistic.kind == Kind::field || statistic.kind == Kind::moments;
        for (const auto& [rows, labels, dim] : sizes) {
            for (const int threads : {1, 3}) {
                run<Real>(kernels, statistic, rows, labels, dim, threads, false, false);
                if (pairs) run<Real>(kernels, statistic, rows, labels, dim, threads, true, false);
                if (pairs) run<Real>(kernels, statistic, rows, rows, dim, threads, true, true);
                if (statistic.kind == Kind::logsumexp) {
                    run<Real>(kernels, statistic, rows, rows, dim, threads, false, true);
                }
            }
            const Layout alone{true, false}, shared{true, false, false, false, false, 40, 1 << 20};
            const Layout segments{true, false, true, true}, halves{true, false, false, false, true};
            for (const Layout& layout : {alone, shared, segments, halves}) {
                run_problem<Real>(kernels, statistic, rows, labels, dim, layout);
            }
            if (!pairs && statistic.kind != Kind::logsumexp) continue;
            run_problem<Real>(kernels, statistic, rows, labels, dim, {false, true});
            run_problem<Real>(kernels, statistic, rows, labels, dim, {true, true, true, true, true, 9});
        }
    }
}

}  // namespace

int main() {
    run_formulas<float>();
    run_formulas<double>();
    run_labels<std::int8_t>(Integer::int8);
    run_labels<std::int16_t>(Integer::int16);
    run_labels<std::int32_t>(Integer::int32);
    run_labels<std::int64_t>(Integer::int64);
    run_labels<std::uint8_t>(Integer::uint8);
    for (const Kernels& kernels : dml::cpu::kernels()) {
        run_all<float>(kernels);
        run_all<double>(kernels);
        std::printf("%s: clean\n", kernels.name);
    }
}

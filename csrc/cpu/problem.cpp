#include "cpu/problem.hpp"

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "cpu/operand.hpp"
#include "cpu/parallel.hpp"

namespace dml::cpu {
namespace {

constexpr std::int64_t memory_floor = 1 << 20;  // values that the parts' gradients may take however small the problem

std::uintptr_t after(std::uintptr_t where, std::int64_t bytes) { return where == 0 ? 0 : where + bytes; }

// Those of the labels [begin, end), each the label of `group` vectors.
template <class Real>
Vectors labelled(const Vectors& all, std::int64_t begin, std::int64_t end, std::int64_t group, std::int64_t dim) {
    Vectors some = all;
    const std::int64_t first = begin * group;
    some.size = (end - begin) * group;
    some.values = after(all.values, first * all.stride * sizeof(Real));
    some.labels = after(all.labels, begin * sizeof(std::int64_t));
    some.weights = after(all.weights, first * sizeof(Real));
    some.gradient = after(all.gradient, first * dim * sizeof(Real));
    return some;
}

enum class Way { forward, backward };

struct Cut {
    std::int64_t parts = 1;
    std::int64_t block_labels;  // of a tile's columns
};

// Columns are cut into parts that the threads work off apart, so that they need not wait for each other; each part has
// states and a gradient of all rows, which are put together in the end. Where that does not pay there is one part, and the
// threads share every tile. Forward takes little memory, and two parts a thread even out threads that are slow or late;
// backward has one, in tiles that together take no more than one that the threads share, unless they would be tiny.
// The cut depends on the shape and the number of threads alone, and so does the result.
Cut cut(const Problem& problem, Way way) {
    const std::int64_t threads = problem.tile.threads, columns = problem.columns.size;
    const Cut shared{1, problem.block_labels};
    if (problem.within || threads == 1) return shared;
    const std::int64_t gradient = std::max<std::int64_t>(problem.tile.views * problem.rows.size * problem.tile.dim, 1);
    const std::int64_t memory = std::max(memory_floor, columns * problem.tile.dim / 4);
    const std::int64_t most = std::min(columns / problem.part_columns, memory / gradient);
    if (most < threads) return shared;
    if (way == Way::forward) return {std::min<std::int64_t>(most / threads, 2) * threads, problem.block_labels};
    const std::int64_t least = std::max<std::int64_t>(problem.part_columns / problem.tile.group, 1);
    return {threads, std::max(problem.block_labels / threads, least)};
}

template <class Real>
class Solver {
  public:
    Solver(const Problem& problem, Way way, const Kernels& kernels, const Pause& pause)
        : problem_(problem), kernels_(kernels), pause_(pause), cut_(cut(problem, way)),
          rows_(problem.tile, problem.tile.views, 1) {
        rows_.take(problem.rows, -1);
        row_values_ = chosen_rows(problem.rows.row_values, problem.tile.row_values);
    }

    bool forward() {
        if (!rows_.labels_fit()) return false;
        const std::int64_t width = problem_.tile.width, count = rows_.size() * width;
        std::vector<double> states(cut_.parts * count);
        for (std::int64_t k = 0; k < cut_.parts * count; ++k) states[k] = address<double>(problem_.empty)[k % width];
        for_parts([&](std::int64_t part, Tile& tile, std::int64_t begin, std::int64_t end) {
            Workspace workspace;
            for_tiles(tile, begin, end, part, false, [&](std::int64_t row) {
                tile.rows.states = reinterpret_cast<std::uintptr_t>(states.data() + part * count + row * width);
                if (problem_.within) tile.columns.states = tile.rows.states;
                kernels_.fold(tile, workspace);
            });
        });
        for (std::int64_t part = 1; part < cut_.parts; ++part) {
            kernels_.merge(problem_.tile, states.data() + part * count, states.data(), rows_.size());
        }
        Real* const statistics = address<Real>(problem_.statistics);
        std::fill_n(statistics, problem_.rows.size * width, Real(0));
        for (std::int64_t i = 0; i < rows_.size(); ++i) {
            for (std::int64_t k = 0; k < width; ++k) {
                statistics[rows_.chosen()[i] * width + k] = static_cast<Real>(states[i * width + k]);
            }
        }
        return true;
    }

    bool backward() {
        if (!rows_.labels_fit()) return false;
        const std::int64_t width = problem_.tile.width;
        const auto statistics = chosen_rows(problem_.statistics, width), gradient = chosen_rows(problem_.gradient, width);
        rows_.allot_gradient(cut_.parts);
        for_parts([&](std::int64_t part, Tile& tile, std::int64_t begin, std::int64_t end) {
            Workspace workspace;
            rows_.start_gradient(part);
            for_tiles(tile, begin, end, part, true, [&](std::int64_t row) {
                tile.rows.statistics = reinterpret_cast<std::uintptr_t>(statistics.data() + row * width);
                tile.rows.gradient = reinterpret_cast<std::uintptr_t>(gradient.data() + row * width);
                if (problem_.within) {
                    tile.columns.statistics = tile.rows.statistics;
                    tile.columns.gradient = tile.rows.gradient;
                }
                kernels_.slope(tile, workspace);
            });
        });
        rows_.finish_gradient();
        return true;
    }

  private:
    // Calls body(part, tile, begin, end) for every part: the labels [begin, end) of the columns.
    template <class Body>
    void for_parts(const Body& body) {
        const std::int64_t labels = problem_.columns.size / problem_.tile.group;
        run_parts(cut_.parts, problem_.tile.threads, [&](std::int64_t part) {
            Tile tile = problem_.tile;
            if (cut_.parts > 1) tile.threads = 1;
            tile.diagonal = problem_.within;
            try {
                body(part, tile, labels * part / cut_.parts, labels * (part + 1) / cut_.parts);
            } catch (...) {
                stop_ = true;
                throw;
            }
        });
    }

    // Calls body(first row) with every tile of a part described but for what belongs to one direction.
    template <class Body>
    void for_tiles(Tile& tile, std::int64_t begin, std::int64_t end, std::int64_t part, bool gradients,
                   const Body& body) {
        if (problem_.within) {
            rows_.show(tile.rows, 0, rows_.size());
            tile.columns = tile.rows;
            if (rows_.size() > 0) body(0);
            return;
        }
        const std::int64_t group = tile.group;
        Operand<Real> columns(tile, 1, group);
        for (; begin < end; begin += cut_.block_labels) {
            const std::int64_t block_end = std::min(begin + cut_.block_labels, end);
            columns.take(labelled<Real>(problem_.columns, begin, block_end, group, tile.dim),
                         problem_.implicit_labels ? begin : -1);
            if (gradients) columns.allot_gradient(1);
            if (gradients) columns.start_gradient(0);
            columns.show(tile.columns, 0, columns.size());
            for (std::int64_t row = 0; row < rows_.size() && columns.size() > 0; row += problem_.block_rows) {
                rows_.show(tile.rows, row, std::min(row + problem_.block_rows, rows_.size()), part);
                tile.rows.row_values = reinterpret_cast<std::uintptr_t>(row_values_.data() + row * tile.row_values);
                body(row);
                if (stop_) return;
                if (std::this_thread::get_id() == caller_) pause_();
            }
            if (gradients) columns.finish_gradient();
        }
    }

    std::vector<Real> chosen_rows(std::uintptr_t values, std::int64_t width) const {
        std::vector<Real> chosen(rows_.size() * width);
        for (std::int64_t i = 0; i < rows_.size(); ++i) {
            std::copy_n(address<Real>(values) + rows_.chosen()[i] * width, width, chosen.data() + i * width);
        }
        return chosen;
    }

    const Problem& problem_;
    const Kernels& kernels_;
    const Pause& pause_;
    const Cut cut_;
    const std::thread::id caller_ = std::this_thread::get_id();
    std::atomic<bool> stop_{false};  // a part has failed, or was told to end
    Operand<Real> rows_;
    std::vector<Real> row_values_;
};

}  // namespace

bool forward(const Problem& problem, const Kernels& kernels, const Pause& pause) {
    return problem.tile.wide ? Solver<double>(problem, Way::forward, kernels, pause).forward()
                             : Solver<float>(problem, Way::forward, kernels, pause).forward();
}

bool backward(const Problem& problem, const Kernels& kernels, const Pause& pause) {
    return problem.tile.wide ? Solver<double>(problem, Way::backward, kernels, pause).backward()
                             : Solver<float>(problem, Way::backward, kernels, pause).backward();
}

}  // namespace dml::cpu

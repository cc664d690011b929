#include "cpu/problem.hpp"

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "cpu/operand.hpp"
#include "cpu/parallel.hpp"

namespace dml::cpu {
namespace {

constexpr std::int64_t memory_floor = 1 << 20;  // values that the gradients of parts may take in a problem of any size

std::uintptr_t after(std::uintptr_t where, std::int64_t bytes) { return where == 0 ? 0 : where + bytes; }

// The columns of the labels [begin, end), without segments.
template <class Real>
Vectors labelled(const Vectors& all, std::int64_t begin, std::int64_t end, std::int64_t group, std::int64_t dim) {
    Vectors some;
    const std::int64_t first = begin * group, bytes = bytes_of(all.type);
    some.type = all.type;
    some.size = (end - begin) * group;
    some.stride = all.stride;
    some.values = after(all.values, first * all.stride * bytes);
    some.labels = after(all.labels, begin * sizeof(std::int64_t));
    some.weights = after(all.weights, first * sizeof(Real));
    some.gradient = after(all.gradient, first * dim * bytes);
    return some;
}

enum class Way { forward, backward };

struct Cut {
    std::int64_t parts = 1;
    std::int64_t block_labels;  // of a tile, at most
};

// Splits the columns into parts. Each part is the work of one thread, which waits for no other, and has states and a
// gradient of all rows; these are merged at the end. If the parts would be small or need too much memory, there is one
// part and all threads work on each tile. Forward needs little memory, and has two parts a thread where columns allow,
// for load balance. Backward has one part a thread, and smaller tiles, so that all threads together take the memory of
// one shared tile. The result depends on the split, and the split on shapes and the number of threads only.
Cut cut(const Problem& problem, Way way) {
    const std::int64_t threads = problem.threads, columns = problem.columns.size;
    const Cut shared{1, problem.block_labels};
    if (problem.within || threads == 1) return shared;
    const std::int64_t gradient = std::max<std::int64_t>(problem.views * problem.rows.size * problem.dim, 1);
    const std::int64_t memory = std::max(memory_floor, columns * problem.dim / 4);
    const std::int64_t most = std::min(columns / problem.part_columns, memory / gradient);
    if (most < threads) return shared;
    if (way == Way::forward) return {std::min<std::int64_t>(most / threads, 2) * threads, problem.block_labels};
    const std::int64_t least = std::max<std::int64_t>(problem.part_columns / problem.group, 1);
    return {threads, std::min(problem.block_labels, std::max(problem.block_labels / threads, least))};
}

template <class Real>
class Solver {
  public:
    Solver(const Problem& problem, Way way, const Kernels& kernels, const Pause& pause)
        : problem_(problem), way_(way), kernels_(kernels), pause_(pause), cut_(cut(problem, way)), ids_(problem.rows),
          rows_(problem, problem.views, 1) {
        // Sorting by class puts the positive pairs of rows with rows into few tiles.
        const bool several_blocks = problem.rows.size > problem.block_rows || !problem.rows.boundaries.empty();
        rows_.take(problem.rows, ids_, -1, problem.within && several_blocks);
        blocks_ = rows_.blocks(problem.block_rows);
        row_values_ = chosen_rows(problem.rows.row_values, problem.row_values);
    }

    void forward() {
        const std::int64_t width = problem_.width, count = rows_.size() * width;
        states_.resize(cut_.parts * count);
        for (std::int64_t k = 0; k < cut_.parts * count; ++k) states_[k] = address<double>(problem_.empty)[k % width];
        run_parts();
        const std::vector<Term> terms = all_terms();
        Tile tile = this->tile();
        show_terms(tile, terms);
        for (std::int64_t part = 1; part < cut_.parts; ++part) {
            kernels_.merge(tile, states_.data() + part * count, states_.data(), rows_.size());
        }
        Real* const statistics = address<Real>(problem_.statistics);
        std::fill_n(statistics, problem_.rows.size * width, Real(0));
        for (std::int64_t i = 0; i < rows_.size(); ++i) {
            for (std::int64_t k = 0; k < width; ++k) {
                statistics[rows_.chosen()[i] * width + k] = static_cast<Real>(states_[i * width + k]);
            }
        }
    }

    void backward() {
        statistics_ = chosen_rows(problem_.statistics, problem_.width);
        gradient_ = chosen_rows(problem_.gradient, problem_.width);
        rows_.allot_gradient(cut_.parts);
        run_parts();
        rows_.finish_gradient();
    }

  private:
    // Runs every part: a range of the columns, and the tiles of rows with rows, of which there is one part only.
    void run_parts() {
        const std::int64_t labels = problem_.columns.size / problem_.group;
        cpu::run_parts(cut_.parts, problem_.threads, [&](std::int64_t part) {
            try {
                Tile tile = this->tile();
                Workspace workspace;
                if (way_ == Way::backward) rows_.start_gradient(part);
                if (problem_.within) run_within(tile, workspace);
                run_columns(tile, workspace, part, labels * part / cut_.parts, labels * (part + 1) / cut_.parts);
            } catch (...) {
                stop_ = true;
                throw;
            }
        });
    }

    // Runs the tiles of rows with rows on and above the diagonal, and those below it too unless a pair counts for both
    // ends.
    void run_within(Tile& tile, Workspace& workspace) {
        const bool forward = way_ == Way::forward;
        if (!forward && problem_.rows.gradient == 0) return;
        for (std::size_t i = 0; i < blocks_.size(); ++i) {
            for (std::size_t j = i; j < blocks_.size(); ++j) {
                Real* const saved = problem_.saved == 0 ? nullptr : address<Real>(problem_.saved) + i * blocks_.size() + j;
                if (!forward && saved != nullptr && *saved == 0) continue;
                bool has_grad = run_blocks(tile, workspace, i, j);
                if (i != j && !problem_.symmetric) has_grad |= run_blocks(tile, workspace, j, i);
                if (forward && saved != nullptr) *saved = has_grad;
            }
        }
    }

    bool run_blocks(Tile& tile, Workspace& workspace, std::size_t i, std::size_t j) {
        show_terms(tile, terms(blocks_[i].segment, blocks_[j].segment));
        show(tile.rows, blocks_[i], 0);
        show(tile.columns, blocks_[j], 0);
        tile.diagonal = i == j;
        return run(tile, workspace);
    }

    // Runs the tiles of all rows with the columns of the labels [begin, end).
    void run_columns(Tile& tile, Workspace& workspace, std::int64_t part, std::int64_t begin, std::int64_t end) {
        const auto& boundaries = problem_.columns.boundaries;
        const std::size_t row_segments = problem_.rows.boundaries.size() + 1;
        Operand<Real> columns(tile, 1, problem_.group);
        tile.diagonal = false;
        for (std::int64_t block_end; begin < end; begin = block_end) {
            const auto boundary = std::upper_bound(boundaries.begin(), boundaries.end(), begin);
            const auto segment = (problem_.within ? row_segments : 0) + (boundary - boundaries.begin());
            block_end = std::min(begin + cut_.block_labels, boundary == boundaries.end() ? end : std::min(end, *boundary));
            columns.take(labelled<Real>(problem_.columns, begin, block_end, problem_.group, problem_.dim), ids_,
                         problem_.implicit_labels ? begin : -1, false);
            if (way_ == Way::backward) {
                columns.allot_gradient(1);
                columns.start_gradient(0);
            }
            tile.columns = {};
            columns.show(tile.columns, 0, columns.size());
            for (const Block& block : blocks_) {
                show_terms(tile, terms(block.segment, segment));
                show(tile.rows, block, part);
                run(tile, workspace);
                if (stop_) return;
            }
            if (way_ == Way::backward) columns.finish_gradient();
        }
    }

    // Folds the tile, or adds its part to the gradients. Returns whether any slope may be non-zero.
    bool run(const Tile& tile, Workspace& workspace) const {
        if (tile.term_count == 0 || tile.columns.size == 0) return false;
        bool has_grad = true;
        if (way_ == Way::forward) {
            has_grad = kernels_.fold(tile, workspace);
        } else {
            kernels_.slope(tile, workspace);
        }
        if (std::this_thread::get_id() == caller_) pause_();
        return has_grad;
    }

    Tile tile() const {
        Tile tile;
        static_cast<Shape&>(tile) = problem_;
        if (cut_.parts > 1) tile.threads = 1;
        return tile;
    }

    const std::vector<Term>& terms(std::size_t row_segment, std::size_t met_segment) const {
        return problem_.terms[row_segment * (problem_.terms.size() / (problem_.rows.boundaries.size() + 1)) + met_segment];
    }

    // The distinct terms of all pairs of segments.
    std::vector<Term> all_terms() const {
        std::vector<Term> all;
        for (const std::vector<Term>& terms : problem_.terms) {
            for (const Term& term : terms) {
                const auto same = [&](const Term& known) { return known.first == term.first; };
                if (std::none_of(all.begin(), all.end(), same)) all.push_back(term);
            }
        }
        return all;
    }

    static void show_terms(Tile& tile, const std::vector<Term>& terms) {
        tile.terms = terms.data();
        tile.term_count = static_cast<int>(terms.size());
    }

    void show(Side& side, const Block& block, std::int64_t part) {
        const std::int64_t first = block.begin * problem_.width;
        rows_.show(side, block.begin, block.end, part);
        side.row_values = reinterpret_cast<std::uintptr_t>(row_values_.data() + block.begin * problem_.row_values);
        side.states = reinterpret_cast<std::uintptr_t>(states_.data() + part * rows_.size() * problem_.width + first);
        side.statistics = reinterpret_cast<std::uintptr_t>(statistics_.data() + first);
        side.gradient = reinterpret_cast<std::uintptr_t>(gradient_.data() + first);
    }

    std::vector<Real> chosen_rows(std::uintptr_t values, std::int64_t width) const {
        std::vector<Real> chosen(rows_.size() * width);
        for (std::int64_t i = 0; i < rows_.size(); ++i) {
            std::copy_n(address<Real>(values) + rows_.chosen()[i] * width, width, chosen.data() + i * width);
        }
        return chosen;
    }

    const Problem& problem_;
    const Way way_;
    const Kernels& kernels_;
    const Pause& pause_;
    const Cut cut_;
    const std::thread::id caller_ = std::this_thread::get_id();
    std::atomic<bool> stop_{false};  // a part has thrown
    const LabelIds ids_;
    Operand<Real> rows_;
    std::vector<Block> blocks_;  // of rows
    std::vector<Real> row_values_, statistics_, gradient_;
    std::vector<double> states_;  // of each part
};

}  // namespace

void forward(const Problem& problem, const Kernels& kernels, const Pause& pause) {
    problem.wide ? Solver<double>(problem, Way::forward, kernels, pause).forward()
                 : Solver<float>(problem, Way::forward, kernels, pause).forward();
}

void backward(const Problem& problem, const Kernels& kernels, const Pause& pause) {
    problem.wide ? Solver<double>(problem, Way::backward, kernels, pause).backward()
                 : Solver<float>(problem, Way::backward, kernels, pause).backward();
}

}  // namespace dml::cpu

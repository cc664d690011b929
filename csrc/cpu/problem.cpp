#include "cpu/problem.hpp"

#include <algorithm>
#include <limits>
#include <memory>
#include <vector>

#include "cpu/norms.hpp"

namespace dml::cpu {
namespace {

constexpr std::int64_t ignored = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t lowest_label = std::numeric_limits<std::int32_t>::min() + std::int64_t{2};
constexpr std::int64_t highest_label = std::numeric_limits<std::int32_t>::max();

template <class T>
T* address(std::uintptr_t where) {
    return reinterpret_cast<T*>(where);
}

std::uintptr_t after(std::uintptr_t where, std::int64_t bytes) { return where == 0 ? 0 : where + bytes; }

// Those of the labels [begin, end), each the label of `group` vectors.
template <class Real>
Vectors part(const Vectors& all, std::int64_t begin, std::int64_t end, std::int64_t group, std::int64_t dim) {
    Vectors some = all;
    const std::int64_t first = begin * group;
    some.size = (end - begin) * group;
    some.numbers = after(all.numbers, first * all.stride * sizeof(Real));
    some.labels = after(all.labels, begin * sizeof(std::int64_t));
    some.weights = after(all.weights, first * sizeof(Real));
    some.gradient = after(all.gradient, first * dim * sizeof(Real));
    return some;
}

// The vectors that count, normalised, in the order of a tile: member k of every group before member k + 1 of any.
template <class Real>
class Operand {
  public:
    // Without labels, a label is its place plus `numbered_from`, unless that is negative.
    Operand(const Vectors& from, const Tile& tile, int views, std::int64_t group, std::int64_t numbered_from)
        : from_(from), dim_(tile.dim), views_(views), threads_(tile.threads) {
        choose(group, numbered_from);
        units_.reset(new Real[views_ * size() * dim_]);
        inverse_.reset(new Real[views_ * size()]);
        for (std::int64_t view = 0; view < views_; ++view) {
            Real* const units = units_.get() + view * size() * dim_;
            const Real* numbers = address<Real>(from.numbers) + view * from.view_stride;
            std::int64_t stride = from.stride;
            if (!in_place_) {
                for (std::int64_t i = 0; i < size(); ++i) {
                    std::copy_n(numbers + chosen_[i] * stride, dim_, units + i * dim_);
                }
                numbers = units;
                stride = dim_;
            }
            normalise(numbers, units, inverse_.get() + view * size(), size(), dim_, stride, threads_);
        }
    }

    std::int64_t size() const { return static_cast<std::int64_t>(chosen_.size()); }
    const std::vector<std::int64_t>& chosen() const { return chosen_; }

    bool labels_fit() const {
        return std::all_of(labels_.begin(), labels_.end(),
                           [](std::int64_t label) { return lowest_label <= label && label <= highest_label; });
    }

    // Describe the vectors [begin, end): all of them, or some of one that is not in groups.
    void show(Side& side, std::int64_t begin, std::int64_t end) const {
        side.units = reinterpret_cast<std::uintptr_t>(units_.get() + begin * dim_);
        side.size = end - begin;
        side.view_stride = size() * dim_;
        side.labels = labels_.empty() ? 0 : reinterpret_cast<std::uintptr_t>(labels_.data() + begin);
        side.weights = from_.weights;
        side.of_units = of_units_ == nullptr ? 0 : reinterpret_cast<std::uintptr_t>(of_units_ + begin * dim_);
    }

    // Room for the gradient of the unit vectors, zeros: where it is to stay, if no vector is left out or moved.
    void start_gradient() {
        if (from_.gradient == 0) return;
        const std::int64_t count = views_ * size() * dim_;
        of_units_ = address<Real>(from_.gradient);
        if (!in_place_) {
            moved_.reset(new Real[count]);
            of_units_ = moved_.get();
        }
        std::fill_n(of_units_, count, Real(0));
    }

    void finish_gradient() const {
        if (of_units_ == nullptr) return;
        normalisation_backward(units_.get(), inverse_.get(), of_units_, views_ * size(), dim_, threads_);
        if (in_place_) return;
        std::fill_n(address<Real>(from_.gradient), views_ * from_.size * dim_, Real(0));
        for (std::int64_t view = 0; view < views_; ++view) {
            for (std::int64_t i = 0; i < size(); ++i) {
                std::copy_n(of_units_ + (view * size() + i) * dim_, dim_,
                            address<Real>(from_.gradient) + (view * from_.size + chosen_[i]) * dim_);
            }
        }
    }

  private:
    void choose(std::int64_t group, std::int64_t numbered_from) {
        const std::int64_t groups = from_.size / group;
        const auto* const labels = address<const std::int64_t>(from_.labels);
        std::vector<std::int64_t> kept;
        kept.reserve(groups);
        for (std::int64_t j = 0; j < groups; ++j) {
            if (labels != nullptr && labels[j] == ignored) continue;
            kept.push_back(j);
            if (labels != nullptr) {
                labels_.push_back(labels[j]);
            } else if (numbered_from >= 0) {
                labels_.push_back(numbered_from + j);
            }
        }
        chosen_.reserve(kept.size() * group);
        for (std::int64_t k = 0; k < group; ++k) {
            for (const std::int64_t j : kept) chosen_.push_back(j * group + k);
        }
        in_place_ = group == 1 && size() == from_.size;
    }

    const Vectors from_;
    const std::int64_t dim_, views_;
    const int threads_;
    bool in_place_ = false;
    std::vector<std::int64_t> chosen_, labels_;
    std::unique_ptr<Real[]> units_, inverse_, moved_;
    Real* of_units_ = nullptr;
};

template <class Real>
class Solver {
  public:
    Solver(const Problem& problem, const Kernels& kernels, const Pause& pause)
        : problem_(problem), kernels_(kernels), pause_(pause), tile_(problem.tile),
          rows_(problem.rows, problem.tile, problem.tile.views, 1, -1) {}

    bool forward() {
        if (!rows_.labels_fit()) return false;
        const std::int64_t width = tile_.width;
        std::vector<double> states(rows_.size() * width);
        for (std::size_t k = 0; k < states.size(); ++k) states[k] = address<double>(problem_.empty)[k % width];
        for_tiles(false, [&](std::int64_t row) {
            tile_.rows.states = reinterpret_cast<std::uintptr_t>(states.data() + row * width);
            if (problem_.within) tile_.columns.states = tile_.rows.states;
            kernels_.fold(tile_, workspace_);
        });
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
        const std::int64_t width = tile_.width;
        const auto statistics = chosen_rows(problem_.statistics), gradient = chosen_rows(problem_.gradient);
        rows_.start_gradient();
        for_tiles(true, [&](std::int64_t row) {
            tile_.rows.statistics = reinterpret_cast<std::uintptr_t>(statistics.data() + row * width);
            tile_.rows.gradient = reinterpret_cast<std::uintptr_t>(gradient.data() + row * width);
            if (problem_.within) {
                tile_.columns.statistics = tile_.rows.statistics;
                tile_.columns.gradient = tile_.rows.gradient;
            }
            kernels_.slope(tile_, workspace_);
        });
        rows_.finish_gradient();
        return true;
    }

  private:
    // Calls body(first row) with every tile described but for what belongs to one direction.
    template <class Body>
    void for_tiles(bool gradients, const Body& body) {
        tile_.diagonal = problem_.within;
        if (problem_.within) {
            rows_.show(tile_.rows, 0, rows_.size());
            tile_.columns = tile_.rows;
            if (rows_.size() > 0) body(0);
            return;
        }
        const std::int64_t group = tile_.group, labels = problem_.columns.size / group;
        for (std::int64_t begin = 0; begin < labels; begin += problem_.block_labels) {
            const std::int64_t end = std::min(begin + problem_.block_labels, labels);
            Operand<Real> columns(part<Real>(problem_.columns, begin, end, group, tile_.dim), tile_, 1, group,
                                  problem_.numbered ? begin : -1);
            if (gradients) columns.start_gradient();
            columns.show(tile_.columns, 0, columns.size());
            for (std::int64_t row = 0; row < rows_.size() && columns.size() > 0; row += problem_.block_rows) {
                rows_.show(tile_.rows, row, std::min(row + problem_.block_rows, rows_.size()));
                body(row);
                pause_();
            }
            if (gradients) columns.finish_gradient();
        }
    }

    std::vector<Real> chosen_rows(std::uintptr_t values) const {
        const std::int64_t width = tile_.width;
        std::vector<Real> chosen(rows_.size() * width);
        for (std::int64_t i = 0; i < rows_.size(); ++i) {
            std::copy_n(address<Real>(values) + rows_.chosen()[i] * width, width, chosen.data() + i * width);
        }
        return chosen;
    }

    const Problem& problem_;
    const Kernels& kernels_;
    const Pause& pause_;
    Tile tile_;
    Operand<Real> rows_;
    Workspace workspace_;
};

}  // namespace

bool forward(const Problem& problem, const Kernels& kernels, const Pause& pause) {
    return problem.tile.wide ? Solver<double>(problem, kernels, pause).forward()
                             : Solver<float>(problem, kernels, pause).forward();
}

bool backward(const Problem& problem, const Kernels& kernels, const Pause& pause) {
    return problem.tile.wide ? Solver<double>(problem, kernels, pause).backward()
                             : Solver<float>(problem, kernels, pause).backward();
}

}  // namespace dml::cpu

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

// The vectors that count, normalised, in the order of a tile: member k of every group before member k + 1 of any.
template <class Real>
class Operand {
  public:
    Operand(const Vectors& from, const Tile& tile, std::int64_t group, bool numbered)
        : from_(from), dim_(tile.dim), views_(tile.views), threads_(tile.threads) {
        choose(group, numbered);
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

    void show(Side& side) const {
        side.units = reinterpret_cast<std::uintptr_t>(units_.get());
        side.size = size();
        side.view_stride = size() * dim_;
        side.labels = labels_.empty() ? 0 : reinterpret_cast<std::uintptr_t>(labels_.data());
        side.weights = from_.weights;
    }

    // Room for the gradient of the unit vectors, zeros: where it is to stay, if no vector is left out or moved.
    std::uintptr_t start_gradient() {
        if (from_.gradient == 0) return 0;
        const std::int64_t count = views_ * size() * dim_;
        of_units_ = address<Real>(from_.gradient);
        if (!in_place_) {
            moved_.reset(new Real[count]);
            of_units_ = moved_.get();
        }
        std::fill_n(of_units_, count, Real(0));
        return reinterpret_cast<std::uintptr_t>(of_units_);
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
    void choose(std::int64_t group, bool numbered) {
        const std::int64_t groups = from_.size / group;
        const auto* const labels = address<const std::int64_t>(from_.labels);
        std::vector<std::int64_t> kept;
        kept.reserve(groups);
        for (std::int64_t j = 0; j < groups; ++j) {
            if (labels != nullptr && labels[j] == ignored) continue;
            kept.push_back(j);
            if (labels != nullptr || numbered) labels_.push_back(labels != nullptr ? labels[j] : j);
        }
        chosen_.reserve(kept.size() * group);
        for (std::int64_t k = 0; k < group; ++k) {
            for (const std::int64_t j : kept) chosen_.push_back(j * group + k);
        }
        in_place_ = group == 1 && size() == from_.size;
    }

    const Vectors& from_;
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
    explicit Solver(const Problem& problem)
        : problem_(problem), tile_(problem.tile), rows_(problem.rows, problem.tile, 1, false) {
        rows_.show(tile_.rows);
        tile_.diagonal = problem.within;
        if (problem.within) {
            rows_.show(tile_.columns);
            return;
        }
        Tile columns = problem.tile;
        columns.views = 1;
        columns_ = std::make_unique<Operand<Real>>(problem.columns, columns, problem.tile.group, problem.numbered);
        columns_->show(tile_.columns);
    }

    bool forward(const Kernels& kernels) {
        if (!rows_.labels_fit()) return false;
        const std::int64_t width = tile_.width;
        std::vector<double> states(rows_.size() * width);
        for (std::size_t k = 0; k < states.size(); ++k) states[k] = address<double>(problem_.empty)[k % width];
        tile_.rows.states = reinterpret_cast<std::uintptr_t>(states.data());
        if (problem_.within) tile_.columns.states = tile_.rows.states;
        if (tile_.rows.size > 0 && tile_.columns.size > 0) kernels.fold(tile_, workspace_);
        Real* const statistics = address<Real>(problem_.statistics);
        std::fill_n(statistics, problem_.rows.size * width, Real(0));
        for (std::int64_t i = 0; i < rows_.size(); ++i) {
            for (std::int64_t k = 0; k < width; ++k) {
                statistics[rows_.chosen()[i] * width + k] = static_cast<Real>(states[i * width + k]);
            }
        }
        return true;
    }

    bool backward(const Kernels& kernels) {
        if (!rows_.labels_fit()) return false;
        const auto statistics = chosen_rows(problem_.statistics), gradient = chosen_rows(problem_.gradient);
        tile_.rows.statistics = reinterpret_cast<std::uintptr_t>(statistics.data());
        tile_.rows.gradient = reinterpret_cast<std::uintptr_t>(gradient.data());
        tile_.rows.of_units = rows_.start_gradient();
        if (problem_.within) {
            tile_.columns.statistics = tile_.rows.statistics;
            tile_.columns.gradient = tile_.rows.gradient;
            tile_.columns.of_units = tile_.rows.of_units;
        } else {
            tile_.columns.of_units = columns_->start_gradient();
        }
        if (tile_.rows.size > 0 && tile_.columns.size > 0) kernels.slope(tile_, workspace_);
        rows_.finish_gradient();
        if (columns_) columns_->finish_gradient();
        return true;
    }

  private:
    std::vector<Real> chosen_rows(std::uintptr_t values) const {
        const std::int64_t width = tile_.width;
        std::vector<Real> chosen(rows_.size() * width);
        for (std::int64_t i = 0; i < rows_.size(); ++i) {
            std::copy_n(address<Real>(values) + rows_.chosen()[i] * width, width, chosen.data() + i * width);
        }
        return chosen;
    }

    const Problem& problem_;
    Tile tile_;
    Operand<Real> rows_;
    std::unique_ptr<Operand<Real>> columns_;
    Workspace workspace_;
};

}  // namespace

bool forward(const Problem& problem, const Kernels& kernels) {
    return problem.tile.wide ? Solver<double>(problem).forward(kernels) : Solver<float>(problem).forward(kernels);
}

bool backward(const Problem& problem, const Kernels& kernels) {
    return problem.tile.wide ? Solver<double>(problem).backward(kernels) : Solver<float>(problem).backward(kernels);
}

}  // namespace dml::cpu

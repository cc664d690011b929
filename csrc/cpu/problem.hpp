// A whole problem, tile after tile, each way in one call: where a tile is little work, calls and copies are what costs.
#pragma once

#include <cstdint>
#include <functional>

#include "cpu/tile.hpp"

namespace dml::cpu {

// Vectors as the caller has them. Zero stands for "none" in every address.
struct Vectors {
    std::uintptr_t values = 0;  // (views, size, dim), those of a vector adjacent
    std::int64_t size = 0;
    std::int64_t stride = 0;  // from vector to vector
    std::int64_t view_stride = 0;
    std::uintptr_t labels = 0;   // int64, one for each group of vectors
    std::uintptr_t weights = 0;  // one for each vector
    std::uintptr_t row_values = 0;  // (size, tile.row_values), of rows
    std::uintptr_t gradient = 0;  // written; (views, size, dim), adjacent
};

struct Problem {
    Tile tile;  // all that is not said of rows and columns
    Vectors rows, columns;
    bool implicit_labels = false;  // columns without labels have their place as label
    bool within = false;    // rows meet each other, in one tile; there are no columns
    std::int64_t block_rows = 0, block_labels = 0;  // of a tile: its rows, and the labels of its columns
    std::int64_t part_columns = 1;  // at least, for a thread's own part; fewer are sooner done by all threads together
    std::uintptr_t empty = 0;       // double (width): the state of a row before any column
    std::uintptr_t statistics = 0;  // (rows, width), zeros for ignored rows; forward writes it
    std::uintptr_t gradient = 0;    // of the statistics; backward reads it
};

// Both do nothing and return false if a label of a row does not fit the engine's 32 bits. They call `pause` between tiles,
// which may throw to end the work.
using Pause = std::function<void()>;
bool forward(const Problem& problem, const Kernels& kernels, const Pause& pause);
bool backward(const Problem& problem, const Kernels& kernels, const Pause& pause);

}  // namespace dml::cpu

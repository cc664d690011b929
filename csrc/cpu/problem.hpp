// A whole problem that is one tile, each way in one call: of so little work, calls and copies are what costs.
#pragma once

#include <cstdint>

#include "cpu/tile.hpp"

namespace dml::cpu {

// Vectors as the caller has them. Zero stands for "none" in every address.
struct Vectors {
    std::uintptr_t numbers = 0;  // (views, size, dim), those of a vector adjacent
    std::int64_t size = 0;
    std::int64_t stride = 0;  // from vector to vector
    std::int64_t view_stride = 0;
    std::uintptr_t labels = 0;   // int64, one for each group of vectors
    std::uintptr_t weights = 0;  // one for each vector
    std::uintptr_t gradient = 0;  // written; (views, size, dim), adjacent
};

struct Problem {
    Tile tile;  // all that is not said of rows and columns
    Vectors rows, columns;
    bool numbered = false;  // columns without labels have their place as label
    bool within = false;    // rows meet each other; there are no columns
    std::uintptr_t empty = 0;       // double (width): the state of a row before any column
    std::uintptr_t statistics = 0;  // (rows, width), zeros for ignored rows; forward writes it
    std::uintptr_t gradient = 0;    // of the statistics; backward reads it
};

// Both do nothing and return false if a label of a row does not fit the engine's 32 bits.
bool forward(const Problem& problem, const Kernels& kernels);
bool backward(const Problem& problem, const Kernels& kernels);

}  // namespace dml::cpu

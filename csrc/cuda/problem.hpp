// What Python hands to the CUDA engine: addresses and sizes. Every statistic, reciprocal norm and weight is float, or
// double if the vectors are.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <string>

namespace dml::cuda {

enum class Type { float16, bfloat16, float32, float64 };
enum class Kind { circle, divergence, field, fused, logsumexp, moments, row_logsumexp, soft_triple, square, sub_center };

// Rows or columns. Those before `border` are points, the others columns; each kind has its own memory. Zero stands for
// "none" in every address.
struct Vectors {
    std::uintptr_t points = 0, columns = 0;  // the values of a vector are adjacent
    std::int64_t border = 0, count = 0;
    std::int64_t point_stride = 0, column_stride = 0, view_stride = 0;
    std::uintptr_t order = 0;          // int64: where in memory the point of each place is; 0: there
    std::uintptr_t point_labels = 0;   // int64; 0: all have label 0
    std::uintptr_t column_labels = 0;  // int64, one for each group of columns; 0: numbered from 0
    std::uintptr_t point_norms = 0, column_norms = 0;  // reciprocals, (view, point) and (column)
    std::uintptr_t weights = 0;        // of columns
    std::int64_t segments[2] = {std::numeric_limits<std::int64_t>::max(), std::numeric_limits<std::int64_t>::max()};
};

enum class Role { rows, columns, both };  // of the owner in its pairs

// A launch's work on one side: blocks that own vectors and stream the others.
struct Job {
    Vectors owned, streamed;
    Role role = Role::rows;
    bool diagonal = false;         // equal places are the same point, which does not meet itself
    std::int64_t per_block = 1;    // places that a block owns
    std::int64_t blocks = 0, slices = 1, num_splits = 1;
    std::uintptr_t out = 0;        // statistics or the gradient, by place in memory
    std::uintptr_t partial = 0;    // (split, ...) the same of each split, if there are several
};

struct Problem {
    Kind kind = Kind::moments;
    Type type = Type::float32;
    std::array<double, 5> parameters{};
    std::int64_t dim = 0;
    int group = 1;                 // columns of a label
    bool aligned = false;          // vectors may be read 16 bytes at a time
    bool find_norms = false;       // norms are not known yet: they are found where they are needed, and written
    std::uintptr_t statistics = 0, gradient = 0;  // (rows, width)
    std::uintptr_t row_values = 0;  // (rows, row_value_count)
    int row_value_count = 0;
    std::uintptr_t stream = 0;
    Job jobs[2];
};

// Tile sizes that the number of splits follows from.
struct Sizes {
    int places;  // of vectors in a tile
    int slice;   // of a gradient's values in a block
};
Sizes sizes(Type type);

// Why the driver cannot run what this was built with, or nothing.
std::string driver_error();

void norms(Type type, std::uintptr_t vectors, std::int64_t count, std::int64_t dim, std::int64_t stride,
           std::uintptr_t out, std::uintptr_t stream);
void forward(const Problem& problem);   // jobs[0], and the merge of its splits
void backward(const Problem& problem);  // both jobs in one launch, then each one's splits added up

}  // namespace dml::cuda

// Arguments of the CUDA engine: addresses and sizes. Statistics, reciprocal norms and weights are float, or double if
// the vectors are double.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <string>

#include "statistics/kinds.hpp"

namespace dml::cuda {

enum class Type { float16, bfloat16, float32, float64 };

// Those of the CPU engine, and one of samples, proxies and atoms together, which that computes as three.
#define DML_CUDA_STATISTICS(X) DML_STATISTICS(X) X(fused, Fused)
#define DML_KIND(kind, Class) kind,
enum class Kind { DML_CUDA_STATISTICS(DML_KIND) };
#undef DML_KIND

// Rows or columns. Places before `border` are points, the others columns, in separate memory. An address of 0 means
// that there is none.
struct Vectors {
    std::uintptr_t points = 0, columns = 0;  // the values of a vector are contiguous
    std::int64_t border = 0, count = 0;
    std::int64_t point_stride = 0, column_stride = 0, view_stride = 0;
    std::uintptr_t order = 0;          // int64: index in memory of the point at each place; 0: the place
    std::uintptr_t point_labels = 0;   // int64; 0: all labels are 0
    std::uintptr_t column_labels = 0;  // int64, one for each group of columns; 0: group j has label j
    std::uintptr_t point_norms = 0, column_norms = 0;  // reciprocals, (view, point) and (column)
    std::uintptr_t weights = 0;        // of columns
    std::int64_t segments[2] = {std::numeric_limits<std::int64_t>::max(), std::numeric_limits<std::int64_t>::max()};
};

enum class Role { rows, columns, both };  // of the owned vectors in their pairs

// The work of a launch on one side: each block owns vectors and streams the others.
struct Job {
    Vectors owned, streamed;
    Role role = Role::rows;
    bool diagonal = false;         // equal places are the same point, which is not paired with itself
    std::int64_t per_block = 1;    // places that a block owns
    std::int64_t blocks = 0, slices = 1, num_splits = 1;
    std::uintptr_t out = 0;        // statistics or gradient, in the order of memory
    std::uintptr_t partial = 0;    // (split, ...), the same for each split, if there are several
};

struct Problem {
    Kind kind = Kind::moments;
    Type type = Type::float32;
    std::array<double, 5> parameters{};
    std::int64_t dim = 0;
    int group = 1;                 // columns for each label
    bool aligned = false;          // vectors can be read 16 bytes at a time
    bool find_norms = false;       // the kernel computes the norms, and writes them
    std::uintptr_t statistics = 0, gradient = 0;  // (rows, width)
    std::uintptr_t row_values = 0;  // (rows, row_value_count)
    int row_value_count = 0;
    std::uintptr_t stream = 0;
    Job jobs[2];
};

// Tile sizes, from which the number of splits is computed.
struct Sizes {
    int places;  // vectors of one side of a tile
    int slice;   // values of a gradient that a block accumulates
};
Sizes sizes(Type type);

// The error if the driver is too old for this build, else empty.
std::string driver_error();

void norms(Type type, std::uintptr_t vectors, std::int64_t count, std::int64_t dim, std::int64_t stride,
           std::uintptr_t out, std::uintptr_t stream);
void forward(const Problem& problem);   // jobs[0], then the merge of its splits
void backward(const Problem& problem);  // both jobs in one launch, then the sum of the splits of each

}  // namespace dml::cuda

// Chooses the kernels of a statistic, and functions for all statistics.
#include "cuda/run.cuh"

namespace dml::cuda {

// Each is compiled in a file of its own.
#define DML_DECLARE(kind, Class)       \
    template <class Real> class Class; \
    extern template struct Run<Class>;
DML_CUDA_STATISTICS(DML_DECLARE)
#undef DML_DECLARE

namespace {

// Calls body with the Run of a kind.
template <class Body>
void with_kind(Kind kind, const Body& body) {
#define DML_CASE(kind, Class) \
    case Kind::kind: return body(Run<Class>{});
    switch (kind) { DML_CUDA_STATISTICS(DML_CASE) }
#undef DML_CASE
}

}  // namespace

Sizes sizes(Type type) {
    Sizes found{};
    with_type(type, [&](auto zero) { found = {tile<decltype(zero)>, slice<decltype(zero)>}; });
    return found;
}

std::string driver_error() {
    int count = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    return error == cudaSuccess ? "" : cudaGetErrorString(error);
}

void norms(Type type, std::uintptr_t vectors, std::int64_t count, std::int64_t dim, std::int64_t stride,
           std::uintptr_t out, std::uintptr_t stream) {
    with_type(type, [&](auto zero) {
        using T = decltype(zero);
        launch(norms_kernel<T>, blocks_for(count, warps), 0, stream, reinterpret_cast<const T*>(vectors), count, dim,
               stride, reinterpret_cast<RealOf<T>*>(out));
    });
}

void forward(const Problem& problem) {
    with_kind(problem.kind, [&](auto run) { run.forward(problem); });
}

void backward(const Problem& problem) {
    with_kind(problem.kind, [&](auto run) { run.backward(problem); });
}

}  // namespace dml::cuda

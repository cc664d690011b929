// Chooses the kernels of a statistic, and functions for all statistics.
#include "cuda/run.cuh"

namespace dml::cuda {

template <class Real> class Circle;
template <class Real> class Divergence;
template <class Real> class Field;
template <class Real> class Fused;
template <class Real> class LogSumExp;
template <class Real> class Moments;
template <class Real> class RowCircle;
template <class Real> class RowLogSumExp;
template <class Real> class RowSubCenter;
template <class Real> class SoftTriple;
template <class Real> class Square;
template <class Real> class SubCenter;

extern template struct Run<Circle>;
extern template struct Run<Divergence>;
extern template struct Run<Field>;
extern template struct Run<Fused>;
extern template struct Run<LogSumExp>;
extern template struct Run<Moments>;
extern template struct Run<RowCircle>;
extern template struct Run<RowLogSumExp>;
extern template struct Run<RowSubCenter>;
extern template struct Run<SoftTriple>;
extern template struct Run<Square>;
extern template struct Run<SubCenter>;

namespace {

// Calls body with the Run of a kind.
template <class Body>
void with_kind(Kind kind, const Body& body) {
    switch (kind) {
        case Kind::circle: return body(Run<Circle>{});
        case Kind::divergence: return body(Run<Divergence>{});
        case Kind::field: return body(Run<Field>{});
        case Kind::fused: return body(Run<Fused>{});
        case Kind::logsumexp: return body(Run<LogSumExp>{});
        case Kind::moments: return body(Run<Moments>{});
        case Kind::row_circle: return body(Run<RowCircle>{});
        case Kind::row_logsumexp: return body(Run<RowLogSumExp>{});
        case Kind::row_sub_center: return body(Run<RowSubCenter>{});
        case Kind::soft_triple: return body(Run<SoftTriple>{});
        case Kind::square: return body(Run<Square>{});
        case Kind::sub_center: return body(Run<SubCenter>{});
    }
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

// Launches the kernels of a statistic.
#pragma once

#include <stdexcept>
#include <string>

#include "cuda/kernels.cuh"

namespace dml::cuda {

inline void check(cudaError_t error) {
    if (error != cudaSuccess) throw std::runtime_error(std::string("CUDA: ") + cudaGetErrorString(error));
}

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), std::int64_t blocks, std::size_t shared_bytes, std::uintptr_t stream,
            const Arguments&... arguments) {
    if (blocks == 0) return;
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(static_cast<unsigned>(blocks));
    config.blockDim = dim3(threads);
    config.dynamicSmemBytes = shared_bytes;
    config.stream = reinterpret_cast<cudaStream_t>(stream);
    check(cudaLaunchKernelEx(&config, kernel, arguments...));
}

inline std::int64_t blocks_for(std::int64_t size, std::int64_t each) { return (size + each - 1) / each; }

// Calls body with a zero of the type.
template <class Body>
void with_type(Type type, const Body& body) {
    switch (type) {
        case Type::float16: return body(__half{});
        case Type::bfloat16: return body(__nv_bfloat16{});
        case Type::float32: return body(float{});
        case Type::float64: return body(double{});
    }
}

template <class Statistic>
Statistic statistic_of(const Problem& problem) {
    return Statistic(Term{problem.parameters[0], problem.parameters[1], problem.parameters[2], problem.parameters[3],
                          problem.parameters[4]});
}

template <template <class> class Statistic>
struct Run {
    static void forward(const Problem& problem);
    static void backward(const Problem& problem);
};

template <template <class> class Statistic>
void Run<Statistic>::forward(const Problem& problem) {
    with_type(problem.type, [&](auto zero) {
        using T = decltype(zero);
        const Job& job = problem.jobs[0];
        launch(forward_kernel<T, Statistic>, job.blocks * job.num_splits, sizeof(Memory<T>), problem.stream, problem,
               statistic_of<Statistic<RealOf<T>>>(problem));
        if (job.num_splits == 1) return;
        launch(merge_kernel<T, Statistic>, blocks_for(job.owned.count, threads), 0, problem.stream, problem);
    });
}

template <template <class> class Statistic>
void Run<Statistic>::backward(const Problem& problem) {
    with_type(problem.type, [&](auto zero) {
        using T = decltype(zero);
        std::int64_t blocks = 0;
        for (const Job& job : problem.jobs) blocks += job.blocks * job.slices * job.num_splits;
        launch(backward_kernel<T, Statistic>, blocks, sizeof(Memory<T>), problem.stream, problem,
               statistic_of<Statistic<RealOf<T>>>(problem));
        for (int which = 0; which < 2; ++which) {
            const Job& job = problem.jobs[which];
            if (job.num_splits == 1) continue;
            const bool rows_are_owned = job.role != Role::columns;
            const int views = rows_are_owned ? Statistic<float>::views : 1, group = rows_are_owned ? 1 : problem.group;
            launch(combine_kernel<T>, blocks_for(job.owned.count * views, warps), 0, problem.stream, problem, which,
                   views, group);
        }
    });
}

}  // namespace dml::cuda

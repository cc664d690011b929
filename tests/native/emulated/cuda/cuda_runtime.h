// CUDA enough to run this package's kernels on a CPU, for tests: the threads of a block are fibers that run one after the
// other, each until it has to wait for others. In ascending, descending or shuffled order: where a barrier is missing,
// one of them gives something else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <mutex>
#include <string>

#define __global__
#define __device__
#define __host__
#define __shared__
#define __grid_constant__
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
    dim3(unsigned x = 1) : x(x) {}
};

extern dim3 threadIdx, blockIdx;

namespace emulation {

constexpr unsigned warp = 32;

// Where a thread waits: all that wait together must be at the same place.
struct Site {
    const char* file;
    int line;
};

void wait_for_block(Site site);
void wait_for_warp(Site site);
[[noreturn]] void fail(const std::string& message);

// Memory through which a warp's lanes see each other's numbers, and all threads' votes.
std::uint64_t* exchange();

std::mutex& device();  // runs one launch at a time
void run_block(unsigned threads, const std::function<void()>& body);
void begin_launch(unsigned threads, std::size_t shared_bytes);
unsigned block_at(unsigned turn, unsigned blocks);

template <class T>
T shuffle_xor(T value, int distance, Site site) {
    static_assert(sizeof(T) <= sizeof(std::uint64_t));
    std::memcpy(exchange() + threadIdx.x, &value, sizeof(T));
    wait_for_warp(site);
    T found;
    std::memcpy(&found, exchange() + (threadIdx.x ^ static_cast<unsigned>(distance)), sizeof(T));
    wait_for_warp(site);
    return found;
}

inline int vote_or(bool vote, Site site) {
    exchange()[threadIdx.x] = vote;
    wait_for_block(site);
    bool any = false;
    for (unsigned thread = 0; thread < 256; ++thread) any |= exchange()[thread] != 0;
    wait_for_block(site);
    return any;
}

}  // namespace emulation

#define EMULATION_SITE (emulation::Site{__FILE__, __LINE__})
#define __syncthreads() emulation::wait_for_block(EMULATION_SITE)
#define __syncthreads_or(vote) emulation::vote_or(vote, EMULATION_SITE)
#define __syncwarp() emulation::wait_for_warp(EMULATION_SITE)
#define __shfl_xor_sync(mask, value, distance) emulation::shuffle_xor(value, distance, EMULATION_SITE)

using cudaStream_t = void*;
enum cudaError_t { cudaSuccess, cudaErrorInvalidValue };

struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    std::size_t dynamicSmemBytes = 0;
    cudaStream_t stream = nullptr;
};

inline cudaError_t cudaGetDeviceCount(int* count) {
    *count = 1;
    return cudaSuccess;
}

inline const char* cudaGetErrorString(cudaError_t) { return "invalid value"; }

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...), Arguments&&... arguments) {
    if (config->gridDim.x == 0 || config->dynamicSmemBytes > 48 * 1024) return cudaErrorInvalidValue;
    const std::lock_guard<std::mutex> alone(emulation::device());
    emulation::begin_launch(config->blockDim.x, config->dynamicSmemBytes);
    for (unsigned turn = 0; turn < config->gridDim.x; ++turn) {
        blockIdx = dim3(emulation::block_at(turn, config->gridDim.x));
        emulation::run_block(config->blockDim.x, [&] { kernel(arguments...); });
    }
    return cudaSuccess;
}

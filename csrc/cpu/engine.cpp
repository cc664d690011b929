#include "cpu/tile.hpp"

namespace dml {

namespace baseline {
extern const cpu::Kernels kernels;
}
#if defined(DML_X86_KERNELS)
namespace avx2 {
extern const cpu::Kernels kernels;
}
namespace avx512 {
extern const cpu::Kernels kernels;
}
#endif

namespace cpu {

const std::vector<Kernels>& kernels() {
    static const std::vector<Kernels> runnable = [] {
        std::vector<Kernels> found;
#if defined(DML_X86_KERNELS)
        __builtin_cpu_init();
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
            __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw")) {
            found.push_back(avx512::kernels);
        }
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found.push_back(avx2::kernels);
#endif
        found.push_back(baseline::kernels);
        return found;
    }();
    return runnable;
}

void* Workspace::room(Use use, std::int64_t bytes) { return memory_[use].room(static_cast<std::size_t>(bytes)); }

}  // namespace cpu
}  // namespace dml

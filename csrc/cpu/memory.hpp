// Memory for the length of a call, and that of the caller.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dml::cpu {

// What lies at an address that Python gave.
template <class T>
T* address(std::uintptr_t where) {
    return reinterpret_cast<T*>(where);
}

// A block that begins at a cache line, of undefined contents. A few MiB of those that have ended stay with their thread
// for its next calls: the C library may give them back to the system, and then each 4 KiB costs a page fault again. A
// small batch was measured to take 1.7 times as long in the processes where it did.
class Memory {
  public:
    Memory() = default;
    Memory(const Memory&) = delete;
    ~Memory();

    void* start() const { return start_; }

    // Makes the block hold so many bytes; its contents are lost if it has to grow.
    void* room(std::size_t bytes);

  private:
    void end();

    void* start_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace dml::cpu

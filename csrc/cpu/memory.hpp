// Memory for the length of a call.
#pragma once

#include <cstddef>

namespace dml::cpu {

// A block that begins at a cache line, of undefined contents. A few MiB of those that have ended stay with their thread
// for its next calls: the C library may give them back to the system, and then each 4 KiB costs a page fault again. A
// small batch was measured to take 1.7 times as long in the processes where it did.
class Memory {
  public:
    Memory() = default;
    explicit Memory(std::size_t bytes);
    Memory(Memory&& other) noexcept;
    Memory& operator=(Memory&& other) noexcept;
    ~Memory();

    void* start() const { return start_; }
    std::size_t size() const { return size_; }

    // Makes the block hold so many bytes; its contents are lost if it has to grow.
    void* room(std::size_t bytes);

  private:
    void* start_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace dml::cpu

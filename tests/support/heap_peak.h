// How much memory something takes. Its library replaces the operators new and delete of the whole program, so that only
// the tests that measure link it.
#pragma once

#include <cstddef>

namespace cascade::test {

// Counts what the thread that made it allocates with operator new, however that is freed; mapped files and other
// threads do not count. One at a time in a thread. A request that the machine cannot meet ends the program.
class HeapPeak {
 public:
  HeapPeak();
  HeapPeak(const HeapPeak&) = delete;
  HeapPeak& operator=(const HeapPeak&) = delete;

  // The most bytes that were held at once since then, beyond those that were held already.
  size_t bytes() const;

 private:
  const ptrdiff_t before_;
};

}  // namespace cascade::test

// Fibers: stacks that one thread changes between.
#pragma once

#include <cstddef>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace cascade::kernels::cuda::emulator {

struct Fiber {
#if defined(__x86_64__)
  void* stack_pointer = nullptr;
#else
  ucontext_t context;
#endif
  // For the address sanitizer.
  const void* bottom = nullptr;
  size_t size = 0;
  void* fake_stack = nullptr;
};

// Goes on in `to`; returns when something switches back to `from`, never if it `ends`.
void Switch(Fiber& from, Fiber& to, bool ends);

// Stacks with a guard page each.
class FiberStacks {
 public:
  explicit FiberStacks(int count);
  // `fiber` begins `run`, which does not return, on stack `index` when it is switched to.
  void Start(int index, Fiber& fiber, void (*run)());

 private:
  unsigned char* memory_;
};

}  // namespace cascade::kernels::cuda::emulator

#include "tests/support/cuda_emulator/fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#if defined(__SANITIZE_ADDRESS__)
#define CASCADE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CASCADE_ASAN 1
#endif
#endif

#ifdef CASCADE_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if defined(__x86_64__)
// Saves what a call preserves, and the stack pointer in *from; takes them from the stack at `to`.
extern "C" void cascade_switch_stack(void** from, void* to);
asm(R"(
.text
.p2align 4
.globl cascade_switch_stack
.type cascade_switch_stack, @function
cascade_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size cascade_switch_stack, .-cascade_switch_stack
)");
#endif

namespace cascade::kernels::cuda::emulator {
namespace {

#ifdef CASCADE_ASAN
constexpr size_t kStackBytes = 256 << 10;  // red zones
#else
constexpr size_t kStackBytes = 64 << 10;
#endif
constexpr size_t kGuardBytes = 4096;

void (*entry)() = nullptr;
Fiber* origin = nullptr;  // whom the last switch left

// What a fiber does first.
void Begin() {
#ifdef CASCADE_ASAN
  const void* bottom;
  size_t size;
  __sanitizer_finish_switch_fiber(nullptr, &bottom, &size);
  if (origin->bottom == nullptr) origin->bottom = bottom, origin->size = size;
#endif
  entry();
  std::abort();
}

}  // namespace

void Switch(Fiber& from, Fiber& to, bool ends) {
  origin = &from;
#ifdef CASCADE_ASAN
  __sanitizer_start_switch_fiber(ends ? nullptr : &from.fake_stack, to.bottom, to.size);
#endif
#if defined(__x86_64__)
  cascade_switch_stack(&from.stack_pointer, to.stack_pointer);
#else
  swapcontext(&from.context, &to.context);
#endif
#ifdef CASCADE_ASAN
  __sanitizer_finish_switch_fiber(from.fake_stack, nullptr, nullptr);
#endif
}

FiberStacks::FiberStacks(int count) {
  void* const memory =
      mmap(nullptr, count * kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    std::perror("stacks of the CUDA emulator");
    std::abort();
  }
  memory_ = static_cast<unsigned char*>(memory);
  for (int i = 0; i < count; ++i) mprotect(memory_ + i * kStackBytes, kGuardBytes, PROT_NONE);
}

void FiberStacks::Start(int index, Fiber& fiber, void (*run)()) {
  entry = run;
  unsigned char* const bottom = memory_ + index * kStackBytes + kGuardBytes;
  fiber.bottom = bottom;
  fiber.size = kStackBytes - kGuardBytes;
  fiber.fake_stack = nullptr;
#ifdef CASCADE_ASAN
  // Of the frames in which the fiber before ended.
  ASAN_UNPOISON_MEMORY_REGION(bottom + fiber.size - 8192, 8192);
#endif
#if defined(__x86_64__)
  // Six registers, where to return to, and one word so that the stack is aligned as behind a call.
  void** const top = reinterpret_cast<void**>(bottom + fiber.size);
  top[-1] = nullptr;
  top[-2] = reinterpret_cast<void*>(&Begin);
  for (int i = 3; i <= 8; ++i) top[-i] = nullptr;
  fiber.stack_pointer = top - 8;
#else
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = bottom;
  fiber.context.uc_stack.ss_size = fiber.size;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, &Begin, 0);
#endif
}

}  // namespace cascade::kernels::cuda::emulator

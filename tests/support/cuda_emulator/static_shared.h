// The `__shared__` arrays of this program's kernels: the sections that the macro of cuda_runtime.h puts them in.
#pragma once

#include <string>

namespace cascade::kernels::cuda::emulator {

void PoisonStaticShared(unsigned char byte);
bool IsStaticShared(const void* address);

// The symbol of a function of this program, demangled; "?" when it has none that is seen from outside.
std::string NameOfFunction(const void* function);

}  // namespace cascade::kernels::cuda::emulator

// cascade-server with the emulated CUDA device. CASCADE_EMULATED_DEVICES, _MAJOR (compute capability) and _MEMORY (MiB)
// say what device there is; SIGUSR1 breaks it for good.
#include <pthread.h>
#include <signal.h>

#include <cstdlib>
#include <string>
#include <thread>

#include "server/program.h"
#include "tests/support/cuda_emulator/cuda_runtime.h"
#include "tests/support/cuda_emulator/emulator.h"

namespace {

namespace emulator = cascade::kernels::cuda::emulator;

int FromEnvironment(const char* name, int otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : std::atoi(value);
}

}  // namespace

int main(int argc, char** argv) {
  emulator::Device& device = emulator::device();
  device.count = FromEnvironment("CASCADE_EMULATED_DEVICES", device.count);
  device.major = FromEnvironment("CASCADE_EMULATED_MAJOR", device.major);
  if (const int mib = FromEnvironment("CASCADE_EMULATED_MEMORY", 0); mib > 0)
    device.memory_bytes = static_cast<size_t>(mib) << 20;
  // The server's own signals are not for this thread.
  sigset_t all, broken;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  sigemptyset(&broken);
  sigaddset(&broken, SIGUSR1);
  std::thread([broken] {
    int signal = 0;
    sigwait(&broken, &signal);
    emulator::FailAfter(1, cudaErrorLaunchFailure, /*sticky=*/true);
  }).detach();
  sigdelset(&all, SIGUSR1);
  pthread_sigmask(SIG_UNBLOCK, &all, nullptr);
  return cascade::RunServerProgram(argc, argv);
}

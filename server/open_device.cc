#include "server/open_device.h"

#include <spdlog/spdlog.h>

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/cpu_backend.h"
#include "kernels/cuda_backend.h"

namespace cascade {
namespace {

std::string Text(const absl::Status& status) { return {status.message().data(), status.message().size()}; }

absl::Status DeviceError(const ServerConfig& config, const absl::Status& status) {
  return ExitError(ExitCode::kDevice, absl::StrCat("--device ", config.device, ": ", Text(status)));
}

absl::StatusOr<OpenedDevice> OpenCpu(const ServerConfig& config) {
  auto device = ConfigureDevice(config, Device::kCpu);
  if (!device.ok()) return device.status();
  auto backend = kernels::CreateCpuBackend({static_cast<int>(config.threads), device->activations});
  if (!backend.ok()) return DeviceError(config, backend.status());
  return OpenedDevice{*std::move(backend), *std::move(device)};
}

}  // namespace

absl::StatusOr<OpenedDevice> OpenDevice(const ServerConfig& config) {
  if (config.device == "cpu") return OpenCpu(config);
  auto device = ConfigureDevice(config, Device::kCuda);
  const bool chosen = config.device == "cuda";
  if (chosen && !device.ok()) return device.status();
  auto backend = kernels::CreateCudaBackend({.compute = device.ok() ? device->compute : kernels::DType::kBF16,
                                             .deterministic = config.deterministic,
                                             .score_kernel = kernels::ScoreKernelOf(config.score_kernel),
                                             .certificate_limit = static_cast<float>(config.score_certificate_limit)});
  if (backend.ok() && !device.ok()) return device.status();
  if (backend.ok()) return OpenedDevice{*std::move(backend), *std::move(device)};
  // A device that is there and fails is not passed over: somebody pays for it.
  const bool missing = absl::IsUnimplemented(backend.status()) || absl::IsFailedPrecondition(backend.status());
  if (chosen || !missing) return DeviceError(config, backend.status());
  if (!absl::IsUnimplemented(backend.status())) spdlog::warn("--device auto: CPU; {}", Text(backend.status()));
  return OpenCpu(config);
}

}  // namespace cascade

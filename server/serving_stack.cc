#include "server/serving_stack.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/model/random_model.h"
#include "kernels/base/check.h"
#include "server/capacity.h"
#include "server/chat_template_choice.h"
#include "server/convert.h"
#include "server/load_progress.h"
#include "server/open_device.h"
#include "server/version.h"

namespace cascade {
namespace {

constexpr double kMiB = 1024.0 * 1024.0;

std::string Text(const absl::Status& status) { return {status.message().data(), status.message().size()}; }

// kModel for what the file says, kConfig for what the operator chose, kDevice for what the machine has not.
// Of a device, not of a file: files are refused with other codes.
bool IsDeviceError(const absl::Status& status) {
  return absl::IsResourceExhausted(status) || absl::IsInternal(status) || absl::IsUnavailable(status);
}

absl::Status ModelError(const absl::Status& status) {
  const ExitCode code = IsDeviceError(status) ? ExitCode::kDevice : ExitCode::kModel;
  return ExitError(code, absl::StrCat("the model cannot be loaded: ", Text(status)));
}

absl::Status CacheError(const absl::Status& status) {
  const bool device = IsDeviceError(status) || absl::IsDataLoss(status);
  const ExitCode code = device ? ExitCode::kDevice : ExitCode::kConfig;
  return ExitError(code, absl::StrCat("the caches cannot be made: ", Text(status)));
}

absl::StatusOr<std::unique_ptr<Llama>> LoadModel(const ModelSource& source, int max_rows, kernels::Backend& backend) {
  LoadProgress progress(source.config().weight_bytes, Clock::Real());
  auto model = Llama::Load(source, max_rows, backend, [&](int64_t bytes) {
    if (const auto line = progress.Update(bytes); line.has_value()) spdlog::info("{}", *line);
  });
  if (!model.ok()) return ModelError(model.status());
  return model;
}

int64_t HostCacheMemory(const ServerConfig& config) {
  return config.cache_memory_bytes > 0 ? config.cache_memory_bytes : AvailableMemoryBytes() / 4;
}

// Called when weights and activations are in the device's memory.
absl::StatusOr<int> CountDeviceSlots(const ServerConfig& config, const DeviceConfig& device,
                                     const kernels::CacheShape& shape, int64_t model_bytes, kernels::Backend& backend) {
  const auto room = backend.CacheMemory(shape, device.max_num_batched_tokens, config.gpu_memory_utilization);
  if (!room.ok()) return CacheError(room.status());
  CASCADE_CHECK(room->has_value());
  return PlanDeviceSlots({**room, config.gpu_memory_utilization, model_bytes}, config.cache_memory_bytes,
                         backend.CacheBytesPerSlot(shape), config.max_num_sessions);
}

EngineOptions ToEngineOptions(const ServerConfig& config, const DeviceConfig& device, const ModelConfig& model,
                              const CascadeGeometry& geometry, int num_slots, size_t bytes_per_slot) {
  EngineOptions options;
  options.geometry = geometry;
  options.num_slots = num_slots;
  options.cache_bytes_per_slot = bytes_per_slot;
  options.num_layers = model.num_layers;
  options.num_kv_heads = model.num_kv_heads;
  options.max_num_seqs = std::min(device.max_num_seqs, num_slots);
  options.max_num_batched_tokens = device.max_num_batched_tokens;
  options.max_num_queued_requests = static_cast<int>(config.max_num_queued_reqs);
  options.default_max_tokens = config.default_max_tokens;
  options.max_prompt_bytes = config.max_prompt_bytes;
  options.session_ttl = std::chrono::seconds(config.session_ttl);
  return options;
}

v1::ServerInfo MakeInfo(const ServerConfig& config, const DeviceConfig& device, const ModelConfig& model,
                        const EngineOptions& options, const ServingStack& stack) {
  v1::ServerInfo info;
  info.set_version(kVersion);
  info.set_model(config.served_model_name.empty() ? model.name : config.served_model_name);
  info.set_architecture(model.architecture);
  info.set_parameters(model.parameters);
  info.set_vocabulary_size(model.vocabulary);
  info.set_num_layers(model.num_layers);
  info.set_num_kv_heads(model.num_kv_heads);
  info.set_max_position_embeddings(model.max_positions);
  info.set_device(stack.backend->Description());
  info.set_dtype(device.dtype);
  info.set_kv_cache_dtype(device.kv_cache_dtype());
  *info.mutable_geometry() = ToWire(options.geometry);
  info.set_session_bytes(static_cast<int64_t>(options.cache_bytes_per_slot));
  info.set_model_bytes(model.weight_bytes);
  info.set_max_num_sessions(options.num_slots - 1);
  info.set_max_num_seqs(options.max_num_seqs);
  info.set_max_num_batched_tokens(options.max_num_batched_tokens);
  info.set_default_max_tokens(options.default_max_tokens);
  info.set_max_prompt_bytes(options.max_prompt_bytes);
  info.set_has_chat_template(stack.chat_template != nullptr);
  info.set_sessions_take_messages(stack.chat_template != nullptr && stack.chat_template->sessions().ok());
  return info;
}

void LogStack(const v1::ServerInfo& info, const CascadeGeometry& geometry) {
  spdlog::info("model: {}, {:.1f} M parameters, {:.1f} MiB of weights, context {}", info.model(),
               static_cast<double>(info.parameters()) / 1e6, static_cast<double>(info.model_bytes()) / kMiB,
               info.max_position_embeddings());
  spdlog::info("device: {}", info.device());
  spdlog::info("cache: {}, {} keys and values", geometry.ToString(), info.kv_cache_dtype());
  spdlog::info("sessions: {} fit, {:.1f} MiB each; {} run together", info.max_num_sessions(),
               static_cast<double>(info.session_bytes()) / kMiB, info.max_num_seqs());
}

}  // namespace

absl::StatusOr<std::unique_ptr<ServingStack>> BuildServingStack(const ServerConfig& config,
                                                                std::function<void(absl::Status)> on_device_fault) {
  auto stack = std::make_unique<ServingStack>();

  auto device = OpenDevice(config);
  if (!device.ok()) return device.status();
  stack->backend = std::move(device->backend);
  const bool cuda = device->config.device == Device::kCuda;

  // The weights are copied in another layout, so the file is unmapped at the end of this function.
  const auto source = OpenModel(config.model, cuda ? RandomWeights::kOnDevice : RandomWeights::kInHost);
  if (!source.ok()) return ExitError(ExitCode::kModel, absl::StrCat("--model: ", Text(source.status())));
  const ModelConfig& model_config = (*source)->config();
  if (IsRandomModel(config.model)) spdlog::warn("random weights: answers are noise");

  auto tokenizer = CreateTokenizer((*source)->vocabulary());
  if (!tokenizer.ok()) {
    return ExitError(ExitCode::kModel, absl::StrCat("--model: ", config.model, ": ", Text(tokenizer.status())));
  }
  stack->tokenizer = *std::move(tokenizer);
  auto chat_template =
      OpenChatTemplate(config.chat_template, (*source)->chat_template(), *stack->tokenizer, Clock::Real());
  if (!chat_template.ok()) return chat_template.status();
  stack->chat_template = *std::move(chat_template);

  const auto geometry = MakeModelGeometry(config.geometry, model_config);
  if (!geometry.ok()) return ExitError(ExitCode::kConfig, Text(geometry.status()));
  const kernels::CacheShape shape = MakeCacheShape(model_config, *geometry, device->config.kv_type);
  const size_t slot_bytes = stack->backend->CacheBytesPerSlot(shape);
  // Host memory is planned before the weights, which take long; device memory after them, by what they leave.
  absl::StatusOr<int> num_slots = 0;
  if (!cuda) num_slots = PlanSlots(HostCacheMemory(config), slot_bytes, config.max_num_sessions);
  if (!num_slots.ok()) return num_slots.status();

  auto model = LoadModel(**source, device->config.max_num_batched_tokens, *stack->backend);
  if (!model.ok()) return model.status();
  stack->model = *std::move(model);
  if (cuda) {
    num_slots = CountDeviceSlots(config, device->config, shape, model_config.weight_bytes, *stack->backend);
  }
  if (!num_slots.ok()) return num_slots.status();
  if (absl::Status status = stack->model->CreateCaches(*geometry, device->config.kv_type, *num_slots); !status.ok()) {
    return CacheError(status);
  }

  EngineOptions options = ToEngineOptions(config, device->config, model_config, *geometry, *num_slots, slot_bytes);
  options.on_device_fault = std::move(on_device_fault);
  stack->model->SetEndIds(stack->tokenizer->end_ids());
  if (absl::Status status = stack->model->WarmUp(*geometry, options.max_num_seqs, stack->tokenizer->vocabulary_size());
      !status.ok()) {
    return ExitError(ExitCode::kDevice, absl::StrCat("the first steps failed: ", Text(status)));
  }
  auto engine = Engine::Create(options, *stack->model, *stack->tokenizer, stack->chat_template.get(), Clock::Real(),
                               RandomSource::System());
  if (!engine.ok()) return ExitError(ExitCode::kConfig, Text(engine.status()));
  stack->engine = *std::move(engine);
  stack->info = MakeInfo(config, device->config, model_config, options, *stack);
  LogStack(stack->info, *geometry);
  return stack;
}

}  // namespace cascade

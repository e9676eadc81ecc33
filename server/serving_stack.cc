#include "server/serving_stack.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/cache/cache_image.h"
#include "engine/model/random_model.h"
#include "kernels/base/check.h"
#include "server/capacity.h"
#include "server/chat_template_choice.h"
#include "server/convert.h"
#include "server/fingerprint.h"
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

absl::Status DataDirError(const absl::Status& status) {
  return ExitError(ExitCode::kConfig, absl::StrCat("--data-dir: ", Text(status)));
}

// Called when the caches are made.
absl::StatusOr<std::unique_ptr<Vault>> OpenVault(const ServerConfig& config, const ModelSource& source,
                                                 const kernels::CacheShape& shape, const CascadeGeometry& geometry,
                                                 const Model& model, Directory& directory) {
  const absl::StatusOr<Digest> fingerprint = ModelFingerprint(source, IsRandomModel(config.model));
  if (!fingerprint.ok()) return ModelError(fingerprint.status());
  VaultOptions options;
  options.model = *fingerprint;
  options.geometry = GeometryFingerprint(shape, geometry, model.SlotLayout());
  options.cache_bytes = model.SlotBytes(kernels::SlotPart::kAll);
  options.keep_turn_starts = static_cast<size_t>(config.rewind_turns);
  options.retain_all = config.journal_retain != "images";
  auto vault = Vault::Open(directory, options, RandomSource::System());
  if (!vault.ok()) return DataDirError(vault.status());
  return vault;
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

// What sessions outside the slots may take. On the CPU slots are host memory already.
int64_t ParkedCacheMemory(const ServerConfig& config, const DeviceConfig& device) {
  return config.host_cache_bytes.value_or(device.device == Device::kCuda ? AvailableMemoryBytes() / 4 : 0);
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
  options.max_num_sessions = static_cast<int>(config.max_num_sessions);
  options.host_cache_bytes = ParkedCacheMemory(config, device);
  options.durability = config.SessionDurability();
  options.rewind_turns = static_cast<int>(config.rewind_turns);
  options.prefix_caching = config.enable_prefix_caching;
  return options;
}

// Without a data folder there are no more than memory holds.
int32_t SessionsAtMost(const EngineOptions& options) {
  return options.vault != nullptr
             ? options.max_num_sessions
             : std::min(options.max_num_sessions,
                        CountMemorySessions(options.num_slots, options.host_cache_bytes, options.cache_bytes_per_slot));
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
  info.set_max_num_sessions(SessionsAtMost(options));
  info.set_max_num_seqs(options.max_num_seqs);
  info.set_max_num_batched_tokens(options.max_num_batched_tokens);
  info.set_default_max_tokens(options.default_max_tokens);
  info.set_max_prompt_bytes(options.max_prompt_bytes);
  info.set_has_chat_template(stack.chat_template != nullptr);
  info.set_sessions_take_messages(stack.chat_template != nullptr && stack.chat_template->sessions().ok());
  info.set_has_data_dir(stack.vault != nullptr);
  info.set_default_durability(ToWire(options.durability));
  info.set_image_bytes(static_cast<int64_t>(ImageBytes(stack.model->SlotBytes(kernels::SlotPart::kAll))));
  info.set_rewind_turns(options.rewind_turns);
  return info;
}

void LogStack(const v1::ServerInfo& info, const EngineOptions& options) {
  spdlog::info("model: {}, {:.1f} M parameters, {:.1f} MiB of weights, context {}", info.model(),
               static_cast<double>(info.parameters()) / 1e6, static_cast<double>(info.model_bytes()) / kMiB,
               info.max_position_embeddings());
  spdlog::info("device: {}", info.device());
  spdlog::info("cache: {}, {} keys and values", options.geometry.ToString(), info.kv_cache_dtype());
  spdlog::info("sessions: {} fit in the caches, {} at most, {:.1f} MiB each; {} run together", options.num_slots - 1,
               info.max_num_sessions(), static_cast<double>(info.session_bytes()) / kMiB, info.max_num_seqs());
}

void LogDamage(const std::string& session, const absl::Status& damage) {
  spdlog::error("session {}..: set aside, its files stay in the data folder: {}", session,
                std::string(damage.message()));
}

void LogImageDamage(const std::string& session, const std::string& damage) {
  spdlog::warn("session {}..: an image was passed over: {}", session, damage);
}

void LogVault(const Vault& vault) {
  spdlog::info("sessions: {} found in the data folder", vault.found().size());
  if (vault.leftovers() > 0) spdlog::info("data folder: {} leftovers put in order", vault.leftovers());
}

}  // namespace

absl::StatusOr<std::unique_ptr<ServingStack>> BuildServingStack(const ServerConfig& config,
                                                                std::function<void(absl::Status)> on_device_fault) {
  auto stack = std::make_unique<ServingStack>();

  // Before all that takes long: a bad folder is told at once.
  if (!config.data_dir.empty()) {
    auto directory = Directory::Open(config.data_dir);
    if (!directory.ok()) return DataDirError(directory.status());
    stack->directory = *std::move(directory);
  }

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
  options.on_damaged_session = LogDamage;
  options.on_damaged_image = LogImageDamage;
  if (stack->directory != nullptr) {
    auto vault = OpenVault(config, **source, shape, *geometry, *stack->model, *stack->directory);
    if (!vault.ok()) return vault.status();
    stack->vault = *std::move(vault);
    options.vault = stack->vault.get();
    LogVault(*stack->vault);
  }
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
  LogStack(stack->info, options);
  return stack;
}

}  // namespace cascade

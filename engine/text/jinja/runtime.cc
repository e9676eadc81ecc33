#include "engine/text/jinja/runtime.h"

#include <algorithm>
#include <limits>
#include <string>

#include "engine/text/jinja/comparison.h"

namespace cascade::jinja {
namespace {

// What a value costs beside its bytes: its owner, counters and the allocator's own.
constexpr size_t kValueBytes = 128;
constexpr int64_t kMost = std::numeric_limits<int64_t>::max();

}  // namespace

Runtime::Runtime(const Limits& limits, std::time_t now)
    : work_left_(std::min(limits.steps, kMost / kWorkPerStep) * kWorkPerStep),
      max_text_bytes_(limits.output_bytes),
      now_(now),
      memory_{0, limits.memory_bytes} {}

Runtime::~Runtime() {
  // A namespace may hold itself, or another that holds it.
  for (const std::shared_ptr<Namespace>& space : namespaces_) space->entries.clear();
}

Value Runtime::Set(absl::StatusCode code, std::string_view message) {
  if (ok()) status_ = absl::Status(code, absl::string_view(message.data(), message.size()));
  return {};
}

Value Runtime::Fail(std::string_view message) {
  return Set(absl::StatusCode::kInvalidArgument, "chat template, " + ToString(place_) + ": " + std::string(message));
}

Value Runtime::Unsupported(std::string_view message) {
  return Set(absl::StatusCode::kUnimplemented,
             "chat template, " + ToString(place_) + ": " + std::string(message) + " is not supported");
}

Value Runtime::OverLimit(std::string_view message) {
  return Set(absl::StatusCode::kResourceExhausted, "chat template, " + ToString(place_) + ": " + std::string(message));
}

Value Runtime::Raise(std::string_view message) {
  return Set(absl::StatusCode::kInvalidArgument, "chat template: " + std::string(message));
}

bool Runtime::Spend(int64_t work) {
  if (!ok()) return false;
  if (work > work_left_) {
    OverLimit("it takes too many steps");
    return false;
  }
  work_left_ -= work;
  return true;
}

bool Runtime::Step(int64_t steps) { return Spend(std::min(steps, kMost / kWorkPerStep) * kWorkPerStep); }

bool Runtime::Work(size_t bytes) {
  return Spend(kWorkPerCall + static_cast<int64_t>(std::min(bytes, static_cast<size_t>(kMost / 2))));
}

bool Runtime::Enter() {
  if (!ok()) return false;
  if (nesting_ == kMaxNesting) {
    OverLimit("it is nested too deeply");
    return false;
  }
  ++nesting_;
  return true;
}

bool Runtime::RoomForText(size_t bytes) {
  if (!ok()) return false;
  if (bytes <= max_text_bytes_) return true;
  OverLimit("a text of more than " + std::to_string(max_text_bytes_) + " bytes");
  return false;
}

bool Runtime::RoomInMemory(size_t bytes) {
  if (!ok()) return false;
  if (bytes <= memory_.limit && memory_.used <= memory_.limit - bytes) return true;
  OverLimit("its values need more than " + std::to_string(memory_.limit) + " bytes of memory");
  return false;
}

Charge Runtime::ChargeFor(size_t bytes) {
  if (!RoomInMemory(bytes + kValueBytes)) return {};
  return Charge(&memory_, bytes + kValueBytes);
}

Value Runtime::NewText(Text text) {
  if (!RoomForText(text.footprint()) || !Step() || !Work(text.footprint())) return {};
  auto string = std::make_shared<String>();
  string->charge = ChargeFor(text.footprint());
  if (!ok()) return {};
  string->text = std::move(text);
  return std::shared_ptr<const String>(std::move(string));
}

int Runtime::DepthAbove(const std::vector<Value>& items) {
  int depth = 0;
  for (const Value& item : items) depth = std::max(depth, DepthOf(item));
  if (depth >= kMaxValueDepth) OverLimit("lists and dicts are nested too deeply");
  return depth + 1;
}

Value Runtime::NewSequence(std::vector<Value> items, bool is_tuple) {
  if (!Step(1 + static_cast<int64_t>(items.size() / 8))) return {};
  auto list = std::make_shared<List>();
  list->is_tuple = is_tuple;
  list->depth = DepthAbove(items);
  list->charge = ChargeFor(items.size() * sizeof(Value));
  if (!ok()) return {};
  list->items = std::move(items);
  return std::shared_ptr<const List>(std::move(list));
}

Value Runtime::NewStream(std::vector<Value> items) {
  if (!Step(1 + static_cast<int64_t>(items.size() / 8))) return {};
  auto stream = std::make_shared<Stream>();
  stream->depth = DepthAbove(items);
  stream->charge = ChargeFor(items.size() * sizeof(Value));
  if (!ok()) return {};
  stream->items = std::move(items);
  return stream;
}

Value Runtime::NewDict(std::vector<std::pair<Value, Value>> entries) {
  auto dict = std::make_shared<Dict>();
  for (auto& [key, value] : entries) {
    const size_t known = FindKey(*this, dict->entries, key);
    if (!ok()) return {};
    const int depth = std::max(DepthOf(key), DepthOf(value)) + 1;
    if (depth > kMaxValueDepth) return OverLimit("lists and dicts are nested too deeply");
    dict->depth = std::max(dict->depth, depth);
    if (known < dict->entries.size()) {
      dict->entries[known].second = std::move(value);
    } else {
      dict->entries.emplace_back(std::move(key), std::move(value));
    }
  }
  dict->charge = ChargeFor(dict->entries.size() * 2 * sizeof(Value));
  if (!ok()) return {};
  return std::shared_ptr<const Dict>(std::move(dict));
}

std::shared_ptr<Namespace> Runtime::NewNamespace(std::vector<std::pair<Value, Value>> entries) {
  auto space = std::make_shared<Namespace>();
  space->charge = ChargeFor(entries.size() * 2 * sizeof(Value));
  space->entries = std::move(entries);
  namespaces_.push_back(space);
  return space;
}

bool TextMaker::Append(const Text& text, size_t begin, size_t end) {
  // Spans of the slice are not counted before: at most those of the whole.
  const size_t spans = text.content().empty() ? 0 : sizeof(Text::Span) * (text.content().size());
  const size_t bytes = end - begin + std::min(spans, (end - begin + 1) * sizeof(Text::Span));
  if (!runtime_.RoomForText(text_.footprint() + bytes) || !runtime_.Work(bytes)) return false;
  text_.Append(text, begin, end);
  return true;
}

bool TextMaker::Append(std::string_view text, bool is_content) {
  const size_t bytes = text.size() + (is_content ? sizeof(Text::Span) : 0);
  if (!runtime_.RoomForText(text_.footprint() + bytes) || !runtime_.Work(bytes)) return false;
  text_.Append(text, is_content);
  return true;
}

}  // namespace cascade::jinja

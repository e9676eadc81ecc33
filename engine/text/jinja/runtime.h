// What one rendering may use, what it has used, and its first error.
#pragma once

#include <cstdint>
#include <ctime>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "engine/text/jinja/jinja_template.h"
#include "engine/text/jinja/jinja_value.h"
#include "engine/text/jinja/place.h"

namespace cascade::jinja {

// How deep lists and dicts may be nested in each other.
inline constexpr int kMaxValueDepth = 100;

// How deep the interpreter calls itself: far from the end of a thread's stack, also in a sanitized build.
inline constexpr int kMaxNesting = 1000;

// The first error stays, and everything after it is in vain: functions return an undefined value or false, and those
// that loop or call stop as soon as ok() is false. One thread.
class Runtime {
 public:
  // `now`: what strftime_now tells.
  Runtime(const Limits& limits, std::time_t now);
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  std::time_t now() const { return now_; }

  bool ok() const { return status_.ok(); }
  const absl::Status& status() const { return status_; }
  // Where errors from now on are.
  void At(Place place) { place_ = place; }

  // INVALID_ARGUMENT: what the values do not allow. Never give it a client's text.
  Value Fail(std::string_view message);
  // UNIMPLEMENTED: Python would do it, we do not.
  Value Unsupported(std::string_view message);
  // RESOURCE_EXHAUSTED.
  Value OverLimit(std::string_view message);
  // INVALID_ARGUMENT with the template's own words alone.
  Value Raise(std::string_view message);

  // Counts `steps`; false when there are no more of them or an error is there.
  bool Step(int64_t steps = 1);
  // Counts a part of a step: an operation that copies or compares `bytes`. To be called before it. What takes longer
  // for a byte passes more of them, so that no operation takes more than a few nanoseconds for each byte passed here.
  bool Work(size_t bytes);
  // Counts reading a text of `bytes` code point by code point.
  bool WorkOnCodePoints(size_t bytes) { return Work(bytes * 4); }
  // Counts going through `names` of a scope or a namespace.
  bool WorkOnNames(size_t names) { return Step(1 + static_cast<int64_t>(names / 16)); }
  // Around what calls itself: false, and no Leave, when it is nested too deeply.
  bool Enter();
  void Leave() { --nesting_; }
  // Whether a text of `bytes` may be made.
  bool RoomForText(size_t bytes);
  // Whether values may take `bytes` more.
  bool RoomInMemory(size_t bytes);

  Value NewText(Text text);
  Value NewText(std::string_view text) { return NewText(Text(text)); }
  Value NewList(std::vector<Value> items) { return NewSequence(std::move(items), false); }
  Value NewTuple(std::vector<Value> items) { return NewSequence(std::move(items), true); }
  Value NewStream(std::vector<Value> items);
  // The last of equal keys wins, at the place of the first. Keys must be hashable.
  Value NewDict(std::vector<std::pair<Value, Value>> entries);
  // Lives until the run ends, so that namespaces in namespaces are no long chain of owners.
  std::shared_ptr<Namespace> NewNamespace(std::vector<std::pair<Value, Value>> entries);
  Charge ChargeFor(size_t bytes);

 private:
  static constexpr int64_t kWorkPerStep = 512, kWorkPerCall = 32;

  bool Spend(int64_t work);

  Value NewSequence(std::vector<Value> items, bool is_tuple);
  Value Set(absl::StatusCode code, std::string_view message);
  int DepthAbove(const std::vector<Value>& items);

  absl::Status status_;
  Place place_;
  int64_t work_left_;
  int nesting_ = 0;
  size_t max_text_bytes_;
  const std::time_t now_;
  MemoryBudget memory_;
  std::vector<std::shared_ptr<Namespace>> namespaces_;
};

// Builds a text within the limits of a run.
class TextMaker {
 public:
  explicit TextMaker(Runtime* runtime) : runtime_(*runtime) {}

  bool Append(const Text& text) { return Append(text, 0, text.size()); }
  bool Append(const Text& text, size_t begin, size_t end);
  bool Append(std::string_view text, bool is_content = false);
  const Text& text() const { return text_; }
  size_t size() const { return text_.size(); }
  Value Finish() { return runtime_.NewText(std::move(text_)); }
  Text Take() { return std::move(text_); }

 private:
  Runtime& runtime_;
  Text text_;
};

}  // namespace cascade::jinja

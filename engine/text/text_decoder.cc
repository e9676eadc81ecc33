#include "engine/text/text_decoder.h"

#include <algorithm>
#include <utility>

#include "engine/text/utf8.h"

namespace cascade {
namespace {

// How long a prefix of `text` ends with `next` after one of `matched` bytes.
size_t Advance(const std::string& text, const std::vector<size_t>& border, size_t matched, char next) {
  while (matched > 0 && text[matched] != next) matched = border[matched - 1];
  return text[matched] == next ? matched + 1 : 0;
}

}  // namespace

TextDecoder::TextDecoder(const Tokenizer& tokenizer, std::vector<std::string> stop) : tokenizer_(tokenizer) {
  for (std::string& text : stop) {
    if (text.empty() || FindInvalidUtf8(text) != std::string_view::npos) continue;
    StopString added{std::move(text), {0}};
    for (size_t i = 1; i < added.text.size(); ++i) {
      added.border.push_back(Advance(added.text, added.border, added.border.back(), added.text[i]));
    }
    stop_.push_back(std::move(added));
  }
}

std::string TextDecoder::Append(int32_t id) {
  if (stopped_) return "";
  tail_ += tokenizer_.TokenBytes(id);
  const std::string_view bytes = tail_;
  const size_t incomplete = IncompleteUtf8Suffix(bytes);
  std::string text;
  AppendValidUtf8(bytes.substr(0, bytes.size() - incomplete), &text);
  tail_.erase(0, tail_.size() - incomplete);
  return Print(text);
}

std::string TextDecoder::Finish() {
  if (stopped_) return "";
  std::string text;
  AppendValidUtf8(tail_, &text);
  tail_.clear();
  text = Print(text);  // the replacement character may complete a stop string
  text += std::exchange(pending_, "");
  for (StopString& stop : stop_) stop.matched = 0;
  return text;
}

std::string TextDecoder::Print(std::string_view text) {
  size_t held = 0;
  for (const char byte : text) {
    pending_.push_back(byte);
    held = 0;
    const StopString* complete = nullptr;
    for (StopString& stop : stop_) {
      stop.matched = Advance(stop.text, stop.border, stop.matched, byte);
      held = std::max(held, stop.matched);
      if (stop.matched < stop.text.size()) continue;
      if (complete == nullptr || stop.text.size() > complete->text.size()) complete = &stop;
    }
    if (complete == nullptr) continue;
    stopped_ = true;
    matched_ = complete->text;
    pending_.resize(pending_.size() - matched_.size());
    return std::exchange(pending_, "");
  }
  if (text.empty()) return "";
  // Text and stop strings are whole characters, so the cut is between two.
  std::string printable = pending_.substr(0, pending_.size() - held);
  pending_.erase(0, printable.size());
  return printable;
}

}  // namespace cascade

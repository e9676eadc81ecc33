#include "engine/text/jinja/text.h"

#include <algorithm>

namespace cascade::jinja {

Text::Text(std::string_view text, bool is_content) : bytes_(text) {
  if (is_content) Mark(0, bytes_.size());
}

void Text::Mark(size_t begin, size_t end) {
  if (begin == end) return;
  if (!content_.empty() && content_.back().end == begin) {
    content_.back().end = end;
  } else {
    content_.push_back({begin, end});
  }
}

std::vector<Text::Span>::const_iterator Text::SpanBehind(size_t index) const {
  return std::upper_bound(content_.begin(), content_.end(), index,
                          [](size_t value, const Span& span) { return value < span.end; });
}

bool Text::IsContent(size_t index) const {
  const auto span = SpanBehind(index);
  return span != content_.end() && span->begin <= index;
}

size_t Text::RunEnd(size_t index) const {
  const auto span = SpanBehind(index);
  if (span == content_.end()) return bytes_.size();
  return span->begin <= index ? span->end : span->begin;
}

void Text::Append(const Text& other, size_t begin, size_t end) {
  const size_t offset = bytes_.size();
  bytes_.append(other.bytes_, begin, end - begin);
  if (other.content_.empty()) return;
  for (auto span = other.SpanBehind(begin); span != other.content_.end() && span->begin < end; ++span) {
    Mark(offset + std::max(span->begin, begin) - begin, offset + std::min(span->end, end) - begin);
  }
}

void Text::Append(std::string_view text, bool is_content) {
  const size_t offset = bytes_.size();
  bytes_.append(text);
  if (is_content) Mark(offset, bytes_.size());
}

Text Text::Slice(size_t begin, size_t end) const {
  Text slice;
  slice.Append(*this, begin, end);
  return slice;
}

}  // namespace cascade::jinja

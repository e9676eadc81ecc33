// Text that remembers which of its bytes a client wrote.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace cascade::jinja {

// What the template itself wrote may become control tokens, a message's content never does. Concatenation, slices,
// trims and the other filters keep the marks. They are kept as spans, so that a content of many megabytes costs one.
class Text {
 public:
  struct Span {
    size_t begin, end;  // bytes [begin, end), never empty
  };

  Text() = default;
  explicit Text(std::string_view text, bool is_content = false);

  const std::string& bytes() const { return bytes_; }
  size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }
  // A client's bytes: in order, with a byte of the template between any two.
  const std::vector<Span>& content() const { return content_; }
  bool IsContent(size_t index) const;
  // Where the bytes that are marked as byte `index` is end: the first byte of another kind, or size().
  size_t RunEnd(size_t index) const;

  void Append(const Text& other) { Append(other, 0, other.size()); }
  void Append(const Text& other, size_t begin, size_t end);  // bytes [begin, end) of it
  void Append(std::string_view text, bool is_content = false);
  Text Slice(size_t begin, size_t end) const;  // bytes [begin, end)
  void Reserve(size_t bytes) { bytes_.reserve(bytes); }
  // The bytes that a text of these holds in memory.
  size_t footprint() const { return bytes_.size() + content_.size() * sizeof(Span); }

 private:
  void Mark(size_t begin, size_t end);
  // The first span that ends behind byte `index`.
  std::vector<Span>::const_iterator SpanBehind(size_t index) const;

  std::string bytes_;
  std::vector<Span> content_;
};

}  // namespace cascade::jinja

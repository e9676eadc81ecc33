#include "engine/text/jinja/text_operations.h"

#include <algorithm>
#include <string>
#include <utility>

#include "engine/text/jinja/code_points.h"
#include "engine/text/jinja/iteration.h"
#include "engine/text/jinja/printing.h"

namespace cascade::jinja {
namespace {

constexpr size_t kNone = std::string_view::npos;

struct Piece {
  size_t begin, end;
};

// The pieces of a text, as long as there is room for the values that they will be.
class Pieces {
 public:
  explicit Pieces(Runtime* runtime) : runtime_(*runtime) {}

  bool ok() const { return runtime_.ok(); }
  size_t size() const { return pieces_.size(); }
  void Add(size_t begin, size_t end) {
    if (!runtime_.Work(0)) return;
    if (pieces_.size() % 1024 == 0 && !runtime_.RoomInMemory(pieces_.size() * sizeof(String))) return;
    pieces_.push_back({begin, end});
  }
  void Reverse() { std::reverse(pieces_.begin(), pieces_.end()); }
  const std::vector<Piece>& all() const { return pieces_; }

 private:
  Runtime& runtime_;
  std::vector<Piece> pieces_;
};

Value Slices(Runtime& runtime, const Text& text, const Pieces& pieces) {
  if (!runtime.Step(static_cast<int64_t>(pieces.size())) || !runtime.RoomInMemory(pieces.size() * sizeof(String)))
    return {};
  std::vector<Value> items;
  for (const Piece& piece : pieces.all()) {
    items.push_back(runtime.NewText(text.Slice(piece.begin, piece.end)));
    if (!runtime.ok()) return {};
  }
  return runtime.NewList(std::move(items));
}

Pieces SplitAtSpace(Runtime& runtime, std::string_view bytes, int64_t count) {
  Pieces pieces(&runtime);
  size_t i = 0, end = bytes.size();
  for (StripSpace(bytes, true, false, &i, &end); i < bytes.size() && pieces.ok();) {
    const size_t begin = i;
    if (count >= 0 && static_cast<int64_t>(pieces.size()) == count) {
      pieces.Add(begin, bytes.size());
      break;
    }
    size_t word_end = i;
    while (i < bytes.size()) {
      word_end = i;
      if (IsSpace(NextCodePoint(bytes, &i))) break;
      word_end = i;
    }
    pieces.Add(begin, word_end);
    i = word_end;
    StripSpace(bytes, true, false, &i, &end);
  }
  return pieces;
}

Pieces SplitAtSpaceFromRight(Runtime& runtime, std::string_view bytes, int64_t count) {
  Pieces pieces(&runtime);
  size_t begin = 0, i = bytes.size();
  for (StripSpace(bytes, false, true, &begin, &i); i > 0 && pieces.ok();) {
    const size_t end = i;
    if (count >= 0 && static_cast<int64_t>(pieces.size()) == count) {
      pieces.Add(0, end);
      break;
    }
    size_t word = i;
    while (word > 0) {
      size_t previous = PreviousCodePoint(bytes, word);
      size_t at = previous;
      if (IsSpace(NextCodePoint(bytes, &at))) break;
      word = previous;
    }
    pieces.Add(word, end);
    i = word;
    StripSpace(bytes, false, true, &begin, &i);
  }
  pieces.Reverse();
  return pieces;
}

Pieces SplitAt(Runtime& runtime, std::string_view bytes, std::string_view separator, int64_t count) {
  Pieces pieces(&runtime);
  size_t begin = 0;
  while (pieces.ok() && (count < 0 || static_cast<int64_t>(pieces.size()) < count)) {
    const size_t found = Find(bytes, separator, begin);
    if (found == kNone) break;
    pieces.Add(begin, found);
    begin = found + separator.size();
  }
  pieces.Add(begin, bytes.size());
  return pieces;
}

Pieces SplitAtFromRight(Runtime& runtime, std::string_view bytes, std::string_view separator, int64_t count) {
  Pieces pieces(&runtime);
  size_t end = bytes.size();
  while (pieces.ok() && (count < 0 || static_cast<int64_t>(pieces.size()) < count)) {
    const size_t found = end < separator.size() ? kNone : bytes.rfind(separator, end - separator.size());
    if (found == kNone) break;
    pieces.Add(found + separator.size(), end);
    end = found;
  }
  pieces.Add(0, end);
  pieces.Reverse();
  return pieces;
}

}  // namespace

Value StripText(Runtime& runtime, const Text& text, const Value* characters, bool left, bool right) {
  StripSet set;
  size_t work = 8;  // of one code point
  if (characters != nullptr && !characters->IsNone()) {
    const Text* given = characters->text();
    if (given == nullptr) return runtime.Fail("strip takes a str, not " + std::string(TypeName(*characters)));
    set = StripSet(given->bytes());
    work += given->size() * 4;
  }
  size_t count = 0;
  const auto takes = [&](std::string_view bytes, size_t first, size_t last) {
    // Counted for sixteen code points at a time.
    if (++count % 16 == 1 && !runtime.Work(work * 16)) return false;
    return set.Has(bytes, first, last);
  };
  size_t begin = 0, end = text.size();
  StripWhile(text.bytes(), takes, left, right, &begin, &end);
  if (!runtime.ok()) return {};
  TextMaker maker(&runtime);
  maker.Append(text, begin, end);
  return maker.Finish();
}

Value ReplaceText(Runtime& runtime, const Text& text, const Text& old, const Text& replacement, int64_t count) {
  const std::string& bytes = text.bytes();
  if (!runtime.Work(WorkOfFind(bytes, old.bytes()))) return {};
  TextMaker maker(&runtime);
  size_t begin = 0, from = 0;
  for (int64_t done = 0; (count < 0 || done < count) && runtime.ok(); ++done) {
    // An empty text is found before every code point and at the end.
    const size_t found = from > bytes.size() ? kNone : Find(bytes, old.bytes(), from);
    if (found == kNone) break;
    maker.Append(text, begin, found);
    maker.Append(replacement);
    runtime.Work(0);  // of the search
    begin = found + old.size();
    from = begin;
    if (old.empty() && from == bytes.size()) break;
    if (old.empty()) NextCodePoint(bytes, &from);
  }
  maker.Append(text, begin, bytes.size());
  return maker.Finish();
}

Value SplitText(Runtime& runtime, const Text& text, const Value* separator, int64_t count, bool from_right) {
  const std::string& bytes = text.bytes();
  if (separator == nullptr || separator->IsNone()) {
    if (!runtime.Work(bytes.size() * 8)) return {};
    return Slices(runtime, text,
                  from_right ? SplitAtSpaceFromRight(runtime, bytes, count) : SplitAtSpace(runtime, bytes, count));
  }
  const Text* at = separator->text();
  if (at == nullptr) return runtime.Fail("split takes a str, not " + std::string(TypeName(*separator)));
  if (at->empty()) return runtime.Fail("split takes no empty separator");
  if (!runtime.Work(from_right ? WorkOfFindFromRight(bytes, at->bytes()) : WorkOfFind(bytes, at->bytes()))) return {};
  return Slices(
      runtime, text,
      from_right ? SplitAtFromRight(runtime, bytes, at->bytes(), count) : SplitAt(runtime, bytes, at->bytes(), count));
}

std::vector<Value> SplitLines(Runtime& runtime, const Text& text, bool keep_ends) {
  std::vector<Value> lines;
  const std::string& bytes = text.bytes();
  if (!runtime.Work(bytes.size() * 6)) return lines;
  size_t begin = 0;
  for (size_t i = 0; i < bytes.size() && runtime.Step();) {
    size_t end = i;
    bool ended = false;
    while (i < bytes.size() && !ended) {
      end = i;
      ended = IsLineEnd(NextCodePoint(bytes, &i));
    }
    if (!ended) end = i;
    if (ended && bytes[end] == '\r' && i < bytes.size() && bytes[i] == '\n') ++i;
    lines.push_back(runtime.NewText(text.Slice(begin, keep_ends ? i : end)));
    begin = i;
  }
  return lines;
}

Value JoinTexts(Runtime& runtime, const Text& separator, const Value& items, bool any_kind) {
  TextMaker maker(&runtime);
  ValueIterator iterator(runtime, items);
  bool is_first = true;
  for (Value item; iterator.Next(&item) && runtime.ok();) {
    if (!any_kind && item.text() == nullptr)
      return runtime.Fail("join takes texts, not " + std::string(TypeName(item)));
    if (!is_first) maker.Append(separator);
    is_first = false;
    AppendStr(runtime, item, &maker);
  }
  return maker.Finish();
}

}  // namespace cascade::jinja
